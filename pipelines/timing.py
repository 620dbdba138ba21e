"""Where a pipeline's time goes: t_upstream, t_downstream, their ratio R, and how busy each side is (section 2).

The paper's model of a training run that overlaps both sides: max(t_upstream, e * t_downstream) seconds for each
upstream batch, so that echoing is free up to e = R = t_upstream / t_downstream.
"""

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.echo import CHUNK, has_fixed_shapes
from pipelines.stages import Example, Stages, Transform, as_set, split

Step = Callable[[Any], object]
"""Takes one SGD step on a batch of NumPy arrays and returns when it is done."""

HELD_BATCHES = 4
"""Upstream batches kept in memory to time the stages after the echo point on."""


class PipelineEnded(ValueError):
    """A pipeline ended while it was timed."""


@dataclass(frozen=True)
class Seconds:
    """Seconds a batch, over rounds of equal length: the mean, the fastest and the slowest round."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """What one pipeline's stages take, in seconds a batch.

    `upstream`: the stages before the echo point, for one upstream batch. `downstream`: those after it and the SGD
    step, for one batch of the step; `step`: the step alone. `echo` and `shuffle`: what these two stages add to each
    batch where nothing overlaps; they are part of `downstream` as far as the step does not hide them.
    """

    upstream: Seconds
    downstream: Seconds
    step: Seconds
    echo: float
    shuffle: float

    @property
    def ratio(self) -> float:
        """R = t_upstream / t_downstream."""
        return self.upstream.mean / self.downstream.mean

    @property
    def ratio_range(self) -> tuple[float, float]:
        """R between its extreme rounds."""
        return self.upstream.low / self.downstream.high, self.upstream.high / self.downstream.low


def overlapping(variant: str, echo_factor: float, batch_size: int, shuffle_buffer: int) -> Stages:
    """The stages of a pipeline whose two sides work at the same time, as the paper's model assumes."""
    read_ahead = 2 if variant == "batch" else 2 * max(CHUNK, batch_size)
    return Stages(variant, echo_factor, batch_size, shuffle_buffer, read_ahead=read_ahead)


def model_seconds(upstream: float, downstream: float, echo_factor: float, upstream_batches: float) -> float:
    """Training time by the paper's model (section 2), of seconds a batch on either side."""
    return max(upstream, echo_factor * downstream) * upstream_batches


def measure(
    examples: tf.data.Dataset,
    stages: Stages,
    step: Step,
    *,
    augment: Transform = lambda dataset: dataset,
    run_as: Transform = as_set,
    seed: int = 0,
    seconds: float = 1.0,
    rounds: int = 5,
) -> Timing:
    """Times the stages before the echo point, with nothing behind them, and those after it on data already there.

    Args:
      examples: what the source reads, endlessly.
      stages: the pipeline; `augment` and `run_as` as `stages.split` takes them.
      step: takes a batch and returns when its SGD step is done.
      seed: of the pipeline.
      seconds: length of a round; one round before them, in which buffers fill and code is compiled, does not count.
      rounds: how many.
    """
    upstream = split(stages, seed=seed, augment=augment)[0]
    upstream_seconds = _upstream_seconds(run_as(upstream(examples)), stages, seconds, rounds)
    after = after_echo(examples, stages, augment=augment, seed=seed, run_as=run_as)
    in_turns = dataclasses.replace(stages, read_ahead=0, prefetch=0)

    def drained(**changes: Any) -> float:
        return seconds_per_batch(after(dataclasses.replace(in_turns, **changes)), None, seconds / 2, rounds).mean

    neither = drained(echo_factor=1, shuffle_buffer=0, repeated_batch_buffer=0)
    echoed = drained(shuffle_buffer=0, repeated_batch_buffer=0)
    everything = drained()
    with iterating(after(stages)) as iterator:
        batch = _wanted(iterator)
    return Timing(
        upstream=upstream_seconds,
        downstream=seconds_per_batch(after(stages), step, seconds, rounds),
        step=seconds_per_batch(tf.data.Dataset.from_tensors(batch).cache().repeat(), step, seconds, rounds),
        echo=echoed - neither,
        shuffle=everything - echoed,
    )


def _upstream_seconds(items: tf.data.Dataset, stages: Stages, seconds: float, rounds: int) -> Seconds:
    """Times what passes the echo point, a batch of it; examples of varying shape do not wait in one tensor."""
    if stages.variant == "batch":
        return seconds_per_batch(items, None, seconds, rounds)
    if has_fixed_shapes(items):
        return seconds_per_batch(items.batch(stages.batch_size), None, seconds, rounds)
    return seconds_per_batch(items, None, seconds, rounds, items_a_batch=stages.batch_size)


def downstream_seconds(
    examples: tf.data.Dataset,
    stages: Stages,
    step: Step,
    *,
    augment: Transform = lambda dataset: dataset,
    seed: int = 0,
    seconds: float = 1.0,
    rounds: int = 5,
) -> Seconds:
    """t_downstream alone, as `measure` times it; for a source whose speed is yet to be set."""
    return seconds_per_batch(after_echo(examples, stages, augment=augment, seed=seed)(stages), step, seconds, rounds)


def after_echo(
    examples: tf.data.Dataset, stages: Stages, *, augment: Transform, seed: int, run_as: Transform = as_set
) -> Callable[[Stages], tf.data.Dataset]:
    """Reads a few upstream batches and returns a function that makes the pipeline behind them, endless.

    The function takes the pipeline's settings, which may differ from `stages` in what comes after the echo point.
    """
    upstream = split(stages, seed=seed, augment=augment)[0]
    held = hold(upstream(examples), HELD_BATCHES * (1 if stages.variant == "batch" else stages.batch_size))
    return lambda changed: split(changed, seed=seed, augment=augment, run_as=run_as)[1](held)


def hold(items: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """Reads `count` items now and yields them endlessly from memory."""
    held = items.take(count).cache().repeat()
    with iterating(held) as iterator:
        for _ in range(count + 1):  # TensorFlow keeps what it has read once it has met the end
            _wanted(iterator)
    return held


def seconds_per_batch(
    batches: tf.data.Dataset, step: Step | None, seconds: float, rounds: int, *, items_a_batch: int = 1
) -> Seconds:
    """Times reading batches, `items_a_batch` items of the dataset each, and taking a step on each if there is one.

    Raises:
      PipelineEnded: the dataset ends.
    """
    taken = []
    with iterating(batches) as iterator:
        for number in range(rounds + 1):
            count, started = 0, time.perf_counter()
            while count == 0 or time.perf_counter() - started < seconds:
                for _ in range(items_a_batch):
                    batch = _wanted(iterator)
                if step is not None:
                    step(batch)
                count += 1
            if number:
                taken.append((time.perf_counter() - started, count))
    each = [elapsed / count for elapsed, count in taken]
    mean = sum(elapsed for elapsed, _ in taken) / sum(count for _, count in taken)
    return Seconds(mean, min(each), max(each))


def _wanted(iterator: Iterator[Any]) -> Any:
    try:
        return next(iterator)
    except StopIteration:
        raise PipelineEnded("the pipeline ended while it was timed; make it endless: dataset.repeat()") from None


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


class _Borrowed(Iterator[Any]):
    """An iterator that its context manager can take back."""

    def __init__(self, holder: list[Iterator[Any]]) -> None:
        self._holder = holder

    def __next__(self) -> Any:
        return next(self._holder[0])
