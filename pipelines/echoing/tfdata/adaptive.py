"""Adaptive echoing of a dataset: `echoing.adaptive` for tf.data."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from ..adaptive import Adaptive, Course, Log


class AdaptiveEcho(Adaptive):
    """The stage for a dataset of any structure; its options, and those set behind the stage, stay as they are.

    An item that raises an error costs itself only, and the error keeps its type. `Adaptive` says what the stage gives
    and what it takes.
    """

    def echo(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Puts the stage behind `dataset`, whose items are what is repeated: batches, or chunks of examples.

        Its Python code takes about 0.6 ms an item, so hand it examples as `examples.batch(n)` and unbatch behind it.
        """
        return self.replay(dataset, ())

    def replay(self, dataset: tf.data.Dataset, log: Log) -> tf.data.Dataset:
        """Gives what a stage of the same settings gave when it wrote `log`, then goes on by the clock.

        To resume a run, hand over the dataset from its first item on, and `skip` the items that training has had.
        A log that does not fit is an InvalidArgumentError when the dataset is read.
        """
        return _Stage(self, dataset, log).dataset().with_options(dataset.options())


class _Stage:
    """The dataset's Python side. Items pass through TensorFlow alone, wrapped as `tf.experimental.Optional`."""

    def __init__(self, stage: Adaptive, dataset: tf.data.Dataset, log: Log) -> None:
        self._stage, self._dataset, self._log = stage, dataset, log
        self._spec = tf.OptionalSpec(dataset.element_spec)
        self._iterations: dict[int, _Iteration] = {}
        self._begun = 0

    def dataset(self) -> tf.data.Dataset:
        wrapped = tf.data.Dataset.from_tensors(0).flat_map(lambda _: self._iterate())
        return wrapped.map(lambda item: item.get_value(), synchronous=True)

    def _iterate(self) -> tf.data.Dataset:
        """The items of one iteration, each an Optional."""
        number = _call(self._begin, 0, tf.int64)
        upstream = iter(self._read(number))

        def fresh() -> Any:
            item = upstream.get_next_as_optional()  # waits; what upstream raises, it raises here
            with tf.control_dependencies([tf.py_function(self._note, [number, item, item.has_value()], tf.bool)]):
                return tf.nest.map_structure(tf.identity, item, expand_composites=True)

        def copy() -> Any:
            return tf.py_function(lambda n: self._iterations[int(n)].course.copy(), [number], self._spec)

        decisions = tf.data.Dataset.from_generator(
            self._decide, output_signature=tf.TensorSpec([], tf.bool), args=(number,)
        )
        items = decisions.map(lambda wants_fresh: tf.cond(wants_fresh, fresh, copy), synchronous=True)
        return items.take_while(lambda item: item.has_value())

    def _read(self, number: tf.Tensor) -> tf.data.Dataset:
        """The user's dataset, read ahead; each item that waits has been counted, the end as well."""
        counted = self._dataset.filter(lambda *_: _call(self._arrive, number, tf.bool))
        end = tf.data.Dataset.from_tensors(0).filter(lambda _: _call(self._end, number, tf.bool))
        return counted.concatenate(end.flat_map(lambda _: self._dataset.take(0))).prefetch(self._stage.read_ahead)

    def _begin(self, _: np.ndarray) -> np.int64:
        self._begun += 1
        self._iterations[self._begun] = _Iteration(self._stage.begin(self._log))
        return np.int64(self._begun)

    def _decide(self, number: int) -> Iterator[bool]:
        iteration = self._iterations[int(number)]
        try:
            while True:
                yield iteration.course.wants_fresh(lambda: iteration.waiting > 0)
        finally:
            iteration.course.close()
            del self._iterations[int(number)]

    def _arrive(self, number: np.ndarray) -> np.bool_:
        self._stage.read_items += 1
        return self._end(number)

    def _end(self, number: np.ndarray) -> np.bool_:
        iteration = self._iterations.get(int(number))
        if iteration:  # else the iteration has been left
            iteration.waiting += 1
        return np.bool_(True)

    def _note(self, number: tf.Tensor, item: Any, there: tf.Tensor) -> bool:
        iteration = self._iterations[int(number)]
        if there:
            iteration.waiting -= 1
            iteration.course.fresh(item)
        else:
            iteration.course.end()
        return True


class _Iteration:
    def __init__(self, course: Course[Any]) -> None:
        self.course = course
        self.waiting = 0


def _call(function: Any, argument: Any, dtype: tf.DType) -> tf.Tensor:
    """Calls Python with a number, for a number."""
    return tf.ensure_shape(tf.numpy_function(function, [argument], dtype), [])
