"""Times the two sides of a tf.data pipeline; `echoing.advice.timing` says what is timed."""

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import tensorflow as tf

from ..advice.loaders import HELD_BATCHES
from ..advice.timing import PipelineEnded, Seconds, Step, seconds_per_batch
from .datasets import iterating, numpy_items
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
    batches = behind_echo(examples, stages, split(stages, seed=seed, augment=augment))
    return seconds_per_batch(numpy_items(batches), step, seconds, rounds)


def behind_echo(examples: tf.data.Dataset, stages: Stages, halves: tuple[Transform, Transform]) -> tf.data.Dataset:
    """Reads a few upstream batches and makes of them what follows the echo point, endlessly; `halves` are `split`'s."""
    upstream, downstream = halves
    return downstream(hold(upstream(examples), HELD_BATCHES * (1 if stages.variant == "batch" else stages.batch_size)))


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
