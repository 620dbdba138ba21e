"""Times the two sides of a tf.data pipeline; `echoing.advice.timing` says what is timed."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import tensorflow as tf

from ..advice.loaders import HELD_BATCHES
from ..advice.timing import PipelineEnded, Seconds, Step, seconds_per_batch
from .datasets import as_set, iterating, numpy_items
from .echo import CHUNK, has_fixed_shapes
from .stages import Stages, Transform, split


def overlapping(stages: Stages) -> Stages:
    """The same stages, but those on both sides of the echo point work at the same time, as the model assumes."""
    read_ahead = 2 if stages.variant == "batch" else 2 * max(CHUNK, stages.batch_size)
    return dataclasses.replace(stages, read_ahead=read_ahead)


def upstream_batches(items: tf.data.Dataset, stages: Stages) -> Iterable[Any]:
    """What passes the echo point, a batch of it at a time; examples of varying shape do not wait in one tensor."""
    if stages.variant == "batch":
        return numpy_items(items)
    if has_fixed_shapes(items):
        return numpy_items(items.batch(stages.batch_size))
    return _grouped(items, stages.batch_size)


def _grouped(items: tf.data.Dataset, size: int) -> Iterator[list[Any]]:
    with iterating(items) as iterator:
        while group := list(islice(iterator, size)):
            yield group


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
    """t_downstream alone; for a source whose speed is yet to be set.

    Args:
      examples: what the source reads, endlessly.
      stages: the pipeline; `augment` as `stages.split` takes it.
      step: takes a batch and returns when its SGD step is done.
      seed: of the pipeline.
      seconds: length of a round, of `rounds` that count.
      rounds: see `seconds`.
    """
    batches = after_echo(examples, stages, augment=augment, seed=seed)(stages)
    return seconds_per_batch(numpy_items(batches), step, seconds, rounds)


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
    """Reads `count` items now and yields them endlessly from memory.

    Raises:
      PipelineEnded: there are no items.
    """
    held = items.take(count).cache().repeat()
    with iterating(held) as iterator:
        for _ in range(count + 1):  # TensorFlow keeps what it has read once it has met the end
            if next(iterator, _END) is _END:
                raise PipelineEnded("the pipeline gives no items")
    return held


_END = object()
