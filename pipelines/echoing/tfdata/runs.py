"""Runs of SGD steps with a record of when each side of the pipeline worked."""

import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ..advice.timing import Step
from .datasets import iterating
from .echo import has_fixed_shapes
from .stages import Example


@dataclass(frozen=True)
class Run:
    """A run of `updates` SGD steps.

    `started` is when the first batch was asked for, on the clock of `time.perf_counter`; `steps` [updates, 2] holds
    each step's start and end in seconds since then.
    """

    started: float
    steps: np.ndarray

    @property
    def fill_seconds(self) -> float:
        """Time until the first batch was there, in which the shuffle buffer fills."""
        return float(self.steps[0, 0])

    @property
    def seconds(self) -> float:
        """Time until the last step was done."""
        return float(self.steps[-1, 1])

    @property
    def idle_seconds(self) -> float:
        """Time that the steps waited for batches, after the first one."""
        return float(np.sum(self.steps[1:, 0] - self.steps[:-1, 1]))

    @property
    def utilisation(self) -> float:
        """Share of the time after the first batch in which a step was being taken."""
        return 1 - self.idle_seconds / (self.seconds - self.fill_seconds)


def drive(batches: tf.data.Dataset, step: Step, updates: int) -> Run:
    """Takes `updates` steps and records when each one ran.

    Raises:
      ValueError: the batches end before that.
    """
    steps = np.empty((updates, 2))
    with iterating(batches) as iterator:
        started = time.perf_counter()
        for number in range(updates):
            try:
                batch = next(iterator)
            except StopIteration:
                raise ValueError(f"the pipeline ended after {number} batches, {updates} were wanted") from None
            steps[number, 0] = time.perf_counter() - started
            step(batch)
            steps[number, 1] = time.perf_counter() - started
    return Run(started, steps)


class Watch:
    """Records when a part of a pipeline works: for each chunk of items, when it was asked for and when it was there.

    Between the two, the stages before the watch were busy; from then to the next request they were idle.
    """

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    @property
    def spans(self) -> np.ndarray:
        """[chunks, 2], seconds on the clock of `time.perf_counter`."""
        return np.array(self._spans).reshape(-1, 2)

    def watch(self, items: tf.data.Dataset, chunk: int) -> tf.data.Dataset:
        """Passes items on unchanged, `chunk` at a time, or one by one where their shapes vary."""
        chunk = chunk if has_fixed_shapes(items) else 1

        def note(asked: np.ndarray) -> np.float64:
            self._spans.append((float(asked), time.perf_counter()))
            return np.float64(0)

        def passing(asked: tf.Tensor, chunk_items: Example) -> Example:
            with tf.control_dependencies([tf.numpy_function(note, [asked], tf.float64)]):
                return tf.nest.map_structure(tf.identity, chunk_items)

        clock = tf.data.Dataset.counter().map(lambda _: tf.numpy_function(_now, [], tf.float64))
        return tf.data.Dataset.zip(clock, items.batch(chunk)).map(passing).unbatch()


def _now() -> np.float64:
    return np.float64(time.perf_counter())
