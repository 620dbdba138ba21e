"""Care that every dataset of this package takes: its options, the end of its iterators, the wording of its errors."""

import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf


def in_one_line(error: tf.errors.OpError) -> str:
    """What TensorFlow says of an error in a pipeline, without the names of its nodes."""
    return re.sub(r"\{\{.*?\}\}|\[Op:.*?\]( name:)?", "", error.message).strip().partition("\n")[0].strip()


def as_set(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Keeps TensorFlow from reading ahead and from working in parallel where the settings do not say so."""
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_optimization.inject_prefetch = False
    options.experimental_optimization.map_parallelization = False
    options.experimental_symbolic_checkpoint = False  # a saved iterator holds what its buffers hold
    options.experimental_optimization.map_and_batch_fusion = False  # it makes a batch ahead
    # Untuned, parallel stages use every core of up to 16; the tuner can hold up the end of an iterator for seconds.
    options.autotune.enabled = (os.cpu_count() or 1) > 16
    return dataset.with_options(options)


@contextmanager
def iterating(dataset: tf.data.Dataset) -> Iterator[Iterator[Any]]:
    """Iterates over NumPy items; the threads behind the iterator have ended when the block has.

    A process whose pipeline runs Python in such threads (`slow`, `adaptive`, `from_generator`) would otherwise hang
    at its end.
    """
    holder = [dataset.as_numpy_iterator()]
    try:
        yield _Borrowed(holder)
    except BaseException as error:
        link: BaseException | None = error
        while link is not None:  # the frames of an error hold the iterator as well
            traceback.clear_frames(link.__traceback__)
            link = link.__context__
        raise
    finally:
        holder.clear()


def item_bytes(dataset: tf.data.Dataset, sampled: int = 16) -> float:
    """What an item takes; where sizes vary, the mean of the first `sampled` ones, which are read."""
    specs = tf.nest.flatten(dataset.element_spec)
    if all(spec.shape.is_fully_defined() and spec.dtype != tf.string for spec in specs):
        return float(sum(spec.shape.num_elements() * spec.dtype.size for spec in specs))
    with iterating(dataset.take(sampled)) as items:
        sizes = [sum(map(_value_bytes, tf.nest.flatten(item))) for item in items]
    return sum(sizes) / max(1, len(sizes))


def _value_bytes(value: Any) -> int:
    value = np.asarray(value)
    return sum(map(len, value.flat)) if value.dtype == object else value.nbytes


def numpy_items(dataset: tf.data.Dataset) -> Iterator[Any]:
    """The items as NumPy arrays, from the start; to be closed, as the block of `iterating` has to end."""
    with iterating(dataset) as iterator:
        yield from iterator


class _Borrowed(Iterator[Any]):
    """An iterator that its context manager can take back."""

    def __init__(self, holder: list[Iterator[Any]]) -> None:
        self._holder = holder

    def __next__(self) -> Any:
        return next(self._holder[0])
