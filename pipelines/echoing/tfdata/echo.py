"""The echo stage: repeats each item of a dataset `factor` times (section 2 of the paper).

An item is whatever the dataset yields where the stage is inserted: an example before or after augmentation,
or a whole batch.
"""

import math
import numbers
import operator
from collections.abc import Callable
from typing import Any

import tensorflow as tf

CHUNK = 128
"""Items repeated at a time. More cost less an item, but come in bursts: what follows gets e times as many at once."""

SMALL_BYTES = 2**16
"""Items whose copies take more are not copied in memory; all copies are the item itself."""

WINDOW, WINDOW_BYTES = 16, 2**22
"""Most items, and bytes of them, that are held at a time to be given again and again."""

HANDLES = 64
"""Copies of one item that are laid out at a time; they share the item's memory."""


def echo(dataset: tf.data.Dataset, factor: float, *, seed: int, chunk: int = CHUNK) -> tf.data.Dataset:
    """Repeats each item `factor` times, copies next to each other.

    The paper writes `flat_map(lambda item: Dataset.from_tensors(item).repeat(factor))`. Making a dataset an item
    costs about ten times as much as the copies themselves, so small items of one fixed shape are repeated a chunk at
    a time instead, and large ones are read in turn from a few that are held; the result is the same. All others take
    the paper's form. Copies of large items share one tensor. An item that raises an error costs itself only.
    Cardinality is kept where it is known and `factor` is whole.

    Args:
      dataset: items, any structure that a dataset can have; its options stay as they are.
      factor: copies an item, any real number >= 1. A fraction such as 1.5 gives each item floor(factor) or
        ceil(factor) copies, drawn for each item by itself, `factor` on average. The draws differ from one iteration
        to the next, and between the files of an `interleave` in which the stage stands.
      seed: of the draws for a fractional factor; the same seed gives the same copies, iteration by iteration.
      chunk: most items held at a time, fewer where they are large; 1 hands each item on as soon as it is there.

    Raises:
      ValueError: factor is no finite number >= 1; chunk no whole number >= 1; seed no whole number.
    """
    factor, seed, chunk = _number("factor", factor), _whole("seed", seed), _whole("chunk", chunk)
    if not (math.isfinite(factor) and factor >= 1):
        raise ValueError(f"factor must be a finite number >= 1, got {factor}")
    if chunk < 1:
        raise ValueError(f"chunk must be >= 1, got {chunk}")
    if factor == 1:
        return dataset
    item_bytes = _item_bytes(dataset)
    window = min(chunk, WINDOW, WINDOW_BYTES // max(1, item_bytes))
    if chunk > 1 and item_bytes * factor <= SMALL_BYTES:
        echoed = _echo_chunks(dataset, factor, seed, chunk)
    elif window > 1 and factor in range(HANDLES + 1):
        echoed = _echo_windows(dataset, int(factor), int(window))
    else:
        echoed = _echo_items(dataset, factor, seed)
    return _counted(echoed, dataset, factor)


def has_fixed_shapes(dataset: tf.data.Dataset) -> bool:
    """Whether every item has the same, fully known shapes, so that items can share one tensor."""
    return all(
        isinstance(spec, tf.TensorSpec) and spec.shape.is_fully_defined()
        for spec in tf.nest.flatten(dataset.element_spec)
    )


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return operator.index(value)


def _item_bytes(dataset: tf.data.Dataset) -> float:
    """What an item takes; infinite where nobody knows before it is there."""
    if not has_fixed_shapes(dataset):
        return math.inf
    specs = tf.nest.flatten(dataset.element_spec)
    sizes = [
        0 if spec.dtype in (tf.string, tf.variant) else spec.shape.num_elements() * spec.dtype.size for spec in specs
    ]
    return float(sum(sizes)) if all(sizes) else math.inf  # taking empty tensors from a chunk ends the process


def _echo_items(dataset: tf.data.Dataset, factor: float, seed: int) -> tf.data.Dataset:
    tensors = all(isinstance(spec, tf.TensorSpec) for spec in tf.nest.flatten(dataset.element_spec))

    def repeat(item: Any, draw: tf.Tensor | None = None) -> tf.data.Dataset:
        if not tensors:
            return tf.data.Dataset.from_tensors(item).repeat(_copies(factor, draw))
        handles = tf.data.experimental.from_list([item] * min(math.ceil(factor), HANDLES))  # cheaper, if less general
        return handles if factor in range(HANDLES + 1) else handles.repeat().take(_copies(factor, draw))

    return _beside_draws(dataset, factor, seed, 1).flat_map(repeat)


def _echo_chunks(dataset: tf.data.Dataset, factor: float, seed: int, chunk: int) -> tf.data.Dataset:
    def repeat(items: Any, draws: tf.Tensor | None = None) -> Any:
        size = tf.shape(tf.nest.flatten(items)[0])[0]
        copies = _copies(factor, None if draws is None else draws[:size])
        return tf.nest.map_structure(lambda component: tf.repeat(component, copies, axis=0), items)

    chunks = _beside_draws(_batches(dataset, chunk), factor, seed, chunk)
    return chunks.map(repeat, synchronous=True).unbatch()  # synchronous, or TensorFlow holds more chunks


def _beside_draws(items: tf.data.Dataset, factor: float, seed: int, draws: int) -> tf.data.Dataset:
    """The items as 1-tuples, or beside `draws` random numbers each, in [0, 2**32), where `factor` is a fraction.

    The generator is made outside of the function in which the stage may stand, so that it serves all of its calls:
    each iteration, of each file, goes on where the one before it was in the sequence of seeds.
    """
    if factor == int(factor):
        return tf.data.Dataset.zip((items,))
    with tf.init_scope():
        generator = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip((items, generator.batch(draws) if draws > 1 else generator))


def _copies(factor: float, draws: tf.Tensor | None) -> Any:
    """How often to repeat an item, or each of those that the draws are for, int64."""
    whole = math.floor(factor)
    return whole if draws is None else whole + tf.cast(draws < round((factor - whole) * 2**32), tf.int64)


def _echo_windows(dataset: tf.data.Dataset, factor: int, size: int) -> tf.data.Dataset:
    """Reads each `size` items `factor` times, in turn: one item of each reading, then the next one of each."""

    spec = dataset.element_spec
    types, shapes = zip(*[(part.dtype, part.shape) for part in tf.nest.flatten(spec)], strict=True)

    def in_turn(window: tf.data.Dataset) -> tf.data.Dataset:
        turns = tf.data.Dataset.from_tensor_slices(tf.constant(list(range(factor)) * size, tf.int64))
        # `choose_from_datasets` is this and a rewriting of its input, which takes much longer than the copies.
        chosen = tf.raw_ops.DirectedInterleaveDataset(
            selector_input_dataset=tf.data.experimental.to_variant(turns),
            data_input_datasets=[tf.data.experimental.to_variant(window)] * factor,
            output_types=types,
            output_shapes=shapes,
            stop_on_empty_dataset=True,
        )
        return tf.data.experimental.from_variant(chosen, spec)

    return _windows(dataset, size, in_turn, spec)


def _batches(dataset: tf.data.Dataset, size: int) -> tf.data.Dataset:
    """`dataset.batch(size)`, except that an item that raises an error does not take those before it along."""
    spec = tf.nest.map_structure(lambda spec: tf.TensorSpec([None, *spec.shape], spec.dtype), dataset.element_spec)
    return _windows(dataset, size, lambda window: window.batch(size), spec)


def _windows(
    dataset: tf.data.Dataset, size: int, change: Callable[[tf.data.Dataset], tf.data.Dataset], spec: Any
) -> tf.data.Dataset:
    """What `change` makes of each `size` items, which are held in memory; `spec` is that of its items."""

    def grouped(key: tf.Tensor) -> tf.Tensor:
        # A key that comes from outside is handed on without running a function for each item.
        windows = dataset.group_by_window(lambda *_: key, lambda _, window: change(window), window_size=size)
        return tf.data.experimental.to_variant(windows)

    key = tf.zeros([], tf.int64)
    windows = tf.function(grouped, autograph=False).get_concrete_function(key)(key)
    return tf.data.experimental.from_variant(windows, spec)


def _counted(echoed: tf.data.Dataset, dataset: tf.data.Dataset, factor: float) -> tf.data.Dataset:
    """Says how many items `echoed` has, where that is known; an assertion would fail behind a damaged item."""
    items = tf.get_static_value(dataset.cardinality())  # unknown as well while a function is traced
    endless = items == tf.data.INFINITE_CARDINALITY
    if items is None or items == tf.data.UNKNOWN_CARDINALITY or (factor != int(factor) and not endless):
        return echoed
    # Empty, yet TensorFlow takes it for endless, as it does what follows; so the number taken is the number known.
    nothing = echoed.take(0).filter(lambda *_: True).repeat()
    counted = echoed.concatenate(nothing)
    return counted if endless else counted.take(int(items * factor))
