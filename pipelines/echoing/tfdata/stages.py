"""The order of the pipeline's stages: which variant echoes where (section 2, Figure 1 of the paper).

    baseline                     read SHUFFLE          augment          batch
    example_before_augmentation  read         ECHO SHUFFLE augment      batch
    example_after_augmentation   read augment ECHO SHUFFLE              batch
    example                      read         ECHO SHUFFLE              batch        (nothing to augment: text)
    batch                        read SHUFFLE          augment          batch ECHO

Every variant holds exactly one buffer of examples, of the same size, so that none has more memory than another:
example echoing moves the baseline's shuffle buffer behind the echo stage, batch echoing leaves it where it was.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import tensorflow as tf

from .datasets import as_set
from .echo import echo, has_fixed_shapes

Example = Mapping[str, tf.Tensor]
Augment = Callable[[Example, tf.Tensor], Example]
Transform = Callable[[tf.data.Dataset], tf.data.Dataset]

NUMBER = "number"
"""Component of examples that are `numbered`."""

AUGMENT_CHUNK = 64
VARIANTS = ("baseline", "batch", "example", "example_after_augmentation", "example_before_augmentation")


@dataclass(frozen=True)
class Stages:
    """One pipeline's settings; sizes in items, 0 for a stage that is absent.

    `shuffle_buffer` counts examples, `repeated_batch_buffer` the batches that batch echoing shuffles its repeated
    batches in (Figure 7; 0 leaves the copies of a batch next to each other), `prefetch` the batches made ahead.
    `read_ahead` counts the items, examples or batches, that wait at the echo point so that the stages before and
    after it work at the same time; without it they take turns, which only costs time.
    """

    variant: str
    echo_factor: float
    batch_size: int
    shuffle_buffer: int
    repeated_batch_buffer: int = 0
    prefetch: int = 2
    read_ahead: int = 0

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {self.variant!r}")
        if self.variant == "baseline" and self.echo_factor != 1:
            raise ValueError(f"echo_factor must be 1 for the baseline, got {self.echo_factor}")
        if self.repeated_batch_buffer and self.variant != "batch":
            raise ValueError(f"repeated_batch_buffer is for the variant batch, got it with {self.variant!r}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {self.batch_size}")
        for name in ("shuffle_buffer", "repeated_batch_buffer", "prefetch", "read_ahead"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")


def numbered(examples: tf.data.Dataset, part: int = 0, parts: int = 1) -> tf.data.Dataset:
    """Gives each example its place in the order of reading, from 0, as a component NUMBER that travels with it.

    The largest number among the batches taken so far, plus one, is how many examples were read to make them; those
    behind it that wait in a shuffle buffer, or are being decoded, are not counted. Of several parts, read at the same
    pace, each has every `parts`-th number.
    """

    def chunk(index: tf.Tensor, chunk: Example) -> Example:
        size = tf.shape(tf.nest.flatten(chunk)[0], tf.int64)[0]
        return {**chunk, NUMBER: (index * AUGMENT_CHUNK + tf.range(size)) * parts + part}

    def one(index: tf.Tensor, example: Example) -> Example:
        return {**example, NUMBER: index * parts + part}

    if has_fixed_shapes(examples):
        return examples.batch(AUGMENT_CHUNK).enumerate().map(chunk).unbatch()
    return examples.enumerate().map(one)


def build(examples: tf.data.Dataset, stages: Stages, *, seed: int, augment: Augment | None = None) -> tf.data.Dataset:
    """Orders shuffle, echo, augmentation and batching as the variant asks; infinite, a function of its seed.

    Args:
      examples: what the source reads, endlessly, undecoded or decoded, one example an item.
      stages: variant, echo factor and sizes.
      seed: of shuffling, fractional echoing and augmentation.
      augment: maps a chunk of examples, each component with a leading dimension, and a stateless seed [2] to
        augmented ones, drawing random numbers for each example. Each item that reaches it, so each copy echoed before
        it, gets draws of its own, a function of `seed` and the item's running index. A chunk is AUGMENT_CHUNK
        examples of one fixed shape, or a single one where shapes vary.

    Returns:
      Batches: the example's structure with a leading dimension of `stages.batch_size`.
    """
    upstream, downstream = split(stages, seed=seed, augment=in_chunks(augment, seed))
    return downstream(upstream(examples))


def in_chunks(augment: Augment | None, seed: int) -> Transform:
    """The stage that augments as `build` describes it."""

    def augmented(dataset: tf.data.Dataset) -> tf.data.Dataset:
        if augment is None:
            return dataset

        def apply(index: tf.Tensor, examples: Example) -> Example:
            numbers = {name: part for name, part in examples.items() if name == NUMBER}
            others = {name: part for name, part in examples.items() if name != NUMBER}
            return {**augment(others, tf.stack([tf.constant(seed, tf.int64), index])), **numbers}

        def apply_to_one(index: tf.Tensor, example: Example) -> Example:
            chunk = tf.nest.map_structure(lambda part: part[None], example)  # a view, where a batch would be a copy
            return tf.nest.map_structure(lambda part: part[0], apply(index, chunk))

        if has_fixed_shapes(dataset):
            return dataset.batch(AUGMENT_CHUNK).enumerate().map(apply).unbatch()
        return dataset.enumerate().map(apply_to_one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return augmented


def split(
    stages: Stages,
    *,
    seed: int,
    augment: Transform,
    run_as: Transform | None = None,
    batched: Transform | None = None,
) -> tuple[Transform, Transform]:
    """The pipeline in two: from examples to the echo point, and from there, the echo included, to batches.

    What passes the echo point is batches for the variant `batch`, else examples. The baseline, which has no echo
    point, is split where reading ends. `run_as` sets the options of the whole, `as_set` by default. `batched` makes
    the batches, of the size that `stages` says by default.
    """
    factor = stages.echo_factor

    def shuffled(dataset: tf.data.Dataset, buffer: int) -> tf.data.Dataset:
        return dataset.shuffle(buffer, seed=seed, reshuffle_each_iteration=False) if buffer else dataset

    in_batches = batched or (lambda dataset: dataset.batch(stages.batch_size, drop_remainder=True))

    def upstream(examples: tf.data.Dataset) -> tf.data.Dataset:
        if stages.variant == "batch":
            return in_batches(augment(shuffled(examples, stages.shuffle_buffer)))
        return augment(examples) if stages.variant == "example_after_augmentation" else examples

    def downstream(items: tf.data.Dataset) -> tf.data.Dataset:
        if stages.read_ahead:
            items = items.prefetch(stages.read_ahead)
        if stages.variant == "batch":
            batches = shuffled(echo(items, factor, seed=seed, chunk=1), stages.repeated_batch_buffer)
        elif stages.variant == "example_after_augmentation":
            batches = in_batches(shuffled(echo(items, factor, seed=seed), stages.shuffle_buffer))
        else:
            batches = in_batches(augment(shuffled(echo(items, factor, seed=seed), stages.shuffle_buffer)))
        return (run_as or as_set)(batches.prefetch(stages.prefetch) if stages.prefetch else batches)

    return upstream, downstream
