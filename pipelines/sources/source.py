"""What a source of examples is, and what the sources share."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.echoing.tfdata.stages import Augment
from pipelines.sources.presence import not_prepared

UNREADABLE = "unreadable image, image of a wrong size or label out of range"


@dataclass(frozen=True)
class Source:
    """A training stream and a fixed validation set.

    `train(seed)` is an endless dataset of examples, re-reading the training set epoch after epoch; `part(seed, k, n)`
    is the k-th of n parts of it, where it can be read without reading the others;
    `validation()` yields each validation example once, always in the same order; `augment` maps (example, seed [2])
    to a training example, None where the data are used as they are; `damaged()` looks for the names of examples that
    cannot be decoded, as slowly as it takes.
    """

    train: Callable[[int], tf.data.Dataset]
    validation: Callable[[], tf.data.Dataset]
    augment: Augment | None = None
    damaged: Callable[[], Iterator[str]] = lambda: iter(())
    part: Callable[[int, int, int], tf.data.Dataset] | None = None

    def training(self, seed: int, part: int = 0, parts: int = 1) -> tf.data.Dataset:
        """The training stream, or one of `parts` parts of it, which have no example in common in an epoch."""
        if parts == 1:
            return self.train(seed)
        return self.part(seed, part, parts) if self.part else self.train(seed).shard(parts, part)


def in_memory(
    train: Mapping[str, np.ndarray], validation: Mapping[str, np.ndarray], shards: int, augment: Augment | None = None
) -> Source:
    """A source of arrays, read like a dataset of `shards` files: whole, one by one, in a new order each epoch.

    The examples that do not fill the last shard are left out.
    """
    parts = {
        name: tf.constant(array[: len(array) // shards * shards].reshape(shards, -1, *array.shape[1:]))
        for name, array in train.items()
    }

    def read(seed: int) -> tf.data.Dataset:
        order = tf.data.Dataset.range(shards).shuffle(shards, seed=seed, reshuffle_each_iteration=True).repeat()
        return order.flat_map(
            lambda part: tf.data.Dataset.from_tensor_slices(
                {name: tf.gather(array, part) for name, array in parts.items()}
            )
        )

    return Source(read, lambda: tf.data.Dataset.from_tensor_slices(dict(validation)), augment)


def tfds_builder(name: str, data_dir: str) -> Any:
    """Opens a dataset that tensorflow-datasets has prepared; never downloads.

    Raises:
      DatasetMissing: it is not in `data_dir`.
    """
    import tensorflow_datasets as tfds  # seconds to import, and the bundled sources do without it

    folder = Path(data_dir).expanduser()
    builder = tfds.builder(name, data_dir=folder)
    if not builder.is_prepared():
        raise not_prepared(name, folder)
    return builder
