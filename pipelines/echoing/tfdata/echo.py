"""The echo stage: repeats each item of a dataset `factor` times (section 2 of the paper).

An item is whatever the dataset yields where the stage is inserted: an example before or after augmentation,
or a whole batch.
"""

import math

import tensorflow as tf

CHUNK = 64
"""Items repeated at a time. More cost less an item, but come in bursts: what follows gets e times as many at once."""


def echo(dataset: tf.data.Dataset, factor: float, *, seed: int, chunk: int = CHUNK) -> tf.data.Dataset:
    """Repeats each item `factor` times, copies next to each other.

    The paper writes `flat_map(lambda item: Dataset.from_tensors(item).repeat(factor))`. Making a dataset an item
    costs about ten times as much as the copies themselves, so items of one fixed shape are repeated a chunk at a
    time instead; the result is the same. Items whose shapes vary take the paper's form.

    Args:
      dataset: items, any structure of tensors.
      factor: copies an item, any real number >= 1. A fraction such as 1.5 gives each item floor(factor) or
        ceil(factor) copies, drawn for each item by itself, `factor` on average.
      seed: of the draws for a fractional factor; the same seed gives the same copies.
      chunk: items held at a time; 1 for large items such as batches.

    Raises:
      ValueError: factor below 1, infinite or NaN; chunk below 1.
    """
    if not (math.isfinite(factor) and factor >= 1):
        raise ValueError(f"factor must be a finite number >= 1, got {factor}")
    if chunk < 1:
        raise ValueError(f"chunk must be >= 1, got {chunk}")
    if factor == 1:
        return dataset
    if chunk > 1 and has_fixed_shapes(dataset):
        return _echo_chunks(dataset, factor, seed, chunk)
    return _echo_items(dataset, factor, seed)


def has_fixed_shapes(dataset: tf.data.Dataset) -> bool:
    """Whether every item has the same, fully known shapes, so that items can share one tensor."""
    return all(tf.TensorShape(spec.shape).is_fully_defined() for spec in tf.nest.flatten(dataset.element_spec))


def _copies(items: tf.Tensor, factor: float, seed: int, first: tf.Tensor) -> tf.Tensor:
    """How often to repeat each of `items` items [items], int64; `first` is the running index of the first of them."""
    whole = math.floor(factor)
    extra = tf.random.stateless_uniform([items], seed=tf.stack([tf.constant(seed, tf.int64), first])) < factor - whole
    return whole + tf.cast(extra, tf.int64)


def _echo_items(dataset: tf.data.Dataset, factor: float, seed: int) -> tf.data.Dataset:
    def repeat(index: tf.Tensor, item: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors(item).repeat(_copies(1, factor, seed, index)[0])

    return dataset.enumerate().flat_map(repeat)


def _echo_chunks(dataset: tf.data.Dataset, factor: float, seed: int, chunk: int) -> tf.data.Dataset:
    def repeat(index: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        size = tf.shape(tf.nest.flatten(items)[0])[0]
        copies = _copies(size, factor, seed, index) if factor != int(factor) else int(factor)
        return tf.nest.map_structure(lambda component: tf.repeat(component, copies, axis=0), items)

    return dataset.batch(chunk).enumerate().map(repeat).unbatch()
