"""A slow upstream: a source that delivers as remote storage does, at a set rate, with latency, jitter and stalls.

It sleeps; the cores stay free for the stages behind it and for the SGD step. `remote.py` reads through a real server
instead.
"""

import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipelines.echoing.tfdata.echo import has_fixed_shapes
from pipelines.echoing.tfdata.stages import Example


@dataclass(frozen=True)
class Storage:
    """How a storage delivers: one request after the other, `request_examples` examples each.

    A request takes `latency_seconds + request_examples / examples_per_second`, times a factor drawn for each request
    evenly from 1 - jitter to 1 + jitter, a function of `seed` and the request's number. After every
    `stall_every_seconds` of delivering, the storage stands still for `stall_seconds`. Its client reads ahead by
    `ahead_seconds`: nobody asking for so long costs nothing, which also makes up for delays of a busy machine.
    """

    examples_per_second: float
    request_examples: int = 32
    latency_seconds: float = 0.0
    jitter: float = 0.0
    stall_seconds: float = 0.0
    stall_every_seconds: float = 0.0
    ahead_seconds: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.examples_per_second > 0:  # true for NaN as well
            raise ValueError(f"examples_per_second must be positive, got {self.examples_per_second}")
        if self.request_examples < 1:
            raise ValueError(f"request_examples must be >= 1, got {self.request_examples}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be 0 to 1, got {self.jitter}")
        for name in ("latency_seconds", "stall_seconds", "stall_every_seconds", "ahead_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        if self.stall_seconds and not self.stall_every_seconds:
            raise ValueError("stall_every_seconds must be positive where stall_seconds is")

    @property
    def seconds_per_example(self) -> float:
        """Mean seconds an example, stalls included."""
        delivering = self.latency_seconds / self.request_examples + 1 / self.examples_per_second
        stalls = self.stall_seconds / self.stall_every_seconds if self.stall_seconds else 0.0
        return delivering * (1 + stalls)

    def durations(self, requests: int) -> np.ndarray:
        """Seconds that each of the first `requests` requests takes."""
        generator = np.random.default_rng(self.seed)
        mean = self.latency_seconds + self.request_examples / self.examples_per_second
        seconds = mean * (1 + self.jitter * generator.uniform(-1, 1, requests))
        if self.stall_seconds:
            stalls = np.floor(np.cumsum(seconds) / self.stall_every_seconds)
            seconds += self.stall_seconds * np.diff(stalls, prepend=0)
        return seconds


PLANNED_REQUESTS = 10_000
"""Durations are drawn this many at a time; a longer run meets the same ones again."""


class _Clock:
    """Says until when each request lasts."""

    def __init__(self, storage: Storage) -> None:
        self._durations = storage.durations(PLANNED_REQUESTS)
        self._ahead_seconds = storage.ahead_seconds
        self._requests = 0
        self._due: float | None = None

    def next_due(self, now: float) -> float:
        """When the request made now has been delivered; longer times in which nobody asked are lost."""
        seconds = float(self._durations[self._requests % PLANNED_REQUESTS])
        self._requests += 1
        started = now if self._due is None else max(self._due, now - self._ahead_seconds)
        self._due = started + seconds
        return self._due


def slow(examples: tf.data.Dataset, storage: Storage) -> tf.data.Dataset:
    """Delivers the examples as `storage` would, the time that reading them takes included where it is shorter.

    Iterators that read ahead run the sleeps in threads of theirs: delete them before the process ends, or it hangs (a
    property of TensorFlow).
    """
    clock = _Clock(storage)
    # Examples of varying shape do not share a tensor: each waits by itself for the request that it is part of.
    chunk_size = storage.request_examples if has_fixed_shapes(examples) else 1
    chunks_a_request = storage.request_examples // chunk_size
    due = np.float64(0)

    def ask(chunk_number: np.int64) -> np.float64:
        nonlocal due
        if chunk_number % chunks_a_request == 0:
            due = np.float64(clock.next_due(time.monotonic()))
        return due

    def wait(due: np.float64) -> np.float64:
        time.sleep(max(0.0, float(due) - time.monotonic()))
        return due

    def deliver(due: tf.Tensor, chunk: Example) -> Example:
        with tf.control_dependencies([tf.numpy_function(wait, [due], tf.float64)]):
            return tf.nest.map_structure(tf.identity, chunk)

    asked = tf.data.Dataset.counter().map(lambda number: tf.numpy_function(ask, [number], tf.float64))
    return tf.data.Dataset.zip(asked, examples.batch(chunk_size)).map(deliver).unbatch()
