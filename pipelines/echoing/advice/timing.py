"""Where a pipeline's time goes: t_upstream, t_downstream, their ratio R, and how busy each side is (section 2).

The paper's model of a training run that overlaps both sides: max(t_upstream, e * t_downstream) seconds for each
upstream batch, so that echoing is free up to e = R = t_upstream / t_downstream.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ..tfdata.datasets import as_set, iterating
from ..tfdata.echo import CHUNK, has_fixed_shapes
from ..tfdata.stages import Stages, Transform, split

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


def overlapping(stages: Stages) -> Stages:
    """The same stages, but those on both sides of the echo point work at the same time, as the model assumes."""
    read_ahead = 2 if stages.variant == "batch" else 2 * max(CHUNK, stages.batch_size)
    return dataclasses.replace(stages, read_ahead=read_ahead)


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
