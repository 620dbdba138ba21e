"""Where examples come from: bundled data at smoke and small scale, TensorFlow Datasets at paper scale.

A source yields undecoded or decoded examples in reading order; shuffling, echoing, augmentation and batching are
the business of `stages.py`.
"""

import hashlib
import lzma
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import text
from pipelines.stages import Augment

BUNDLED = Path(__file__).parent / "bundled"

# Examples in each split, as tensorflow-datasets lists them once a set is prepared.
SPLIT_SIZES = {"lm1b": {"train": 30_301_028, "test": 306_688}}


class DatasetMissing(FileNotFoundError):
    """A dataset is absent or damaged; the message says which, where it was looked for and what prepares it."""


@dataclass(frozen=True)
class Source:
    """A training stream and a fixed validation set.

    `train(seed)` is an endless dataset of examples, re-reading the training set epoch after epoch;
    `validation()` yields each validation example once, always in the same order; `augment` maps (example, seed [2])
    to a training example, None where the data are used as they are.
    """

    train: Callable[[int], tf.data.Dataset]
    validation: Callable[[], tf.data.Dataset]
    augment: Augment | None = None


def load(settings: Mapping[str, Any]) -> Source:
    """Opens the source that a workload's `config.data` names; the other keys are the source's arguments."""
    arguments = dict(settings)
    name = arguments.pop("source")
    if name not in SOURCES:
        raise ValueError(f"data.source must be one of {', '.join(SOURCES)}, got {name!r}")
    return SOURCES[name](**arguments)


def brown(*, length: int, validation_examples: int, shards: int = 64) -> Source:
    """Bundled stand-in for LM1B: the Brown corpus in windows of `length` bytes, `{"tokens": [length]}` int32.

    Like LM1B's, its training sentences are in a fixed random order. Every 20th document is kept for validation.
    Each epoch reads the `shards` parts of the training text in a new order.
    """
    documents = [document.split("\n") for document in bundled_text("brown.txt").strip().split("\n\n")]
    held_out = [sentence for document in documents[19::20] for sentence in document]
    training = [sentence for i, document in enumerate(documents) if i % 20 != 19 for sentence in document]

    def windows(sentences: list[str]) -> np.ndarray:
        order = np.random.default_rng(0).permutation(len(sentences))
        return text.byte_windows("\n".join(sentences[i] for i in order), length)

    train_windows, validation_windows = windows(training), windows(held_out)
    if not 0 < validation_examples <= len(validation_windows):
        raise ValueError(f"validation_examples must be 1 to {len(validation_windows)}, got {validation_examples}")
    parts = np.stack(np.split(train_windows[: len(train_windows) // shards * shards], shards))

    def train(seed: int) -> tf.data.Dataset:
        order = tf.data.Dataset.range(shards).shuffle(shards, seed=seed, reshuffle_each_iteration=True).repeat()
        return order.flat_map(lambda part: tf.data.Dataset.from_tensor_slices({"tokens": tf.gather(parts, part)}))

    def validation() -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices({"tokens": validation_windows[:validation_examples]})

    return Source(train, validation)


def lm1b(*, data_dir: str, vocab_size: int, length: int, validation_examples: int) -> Source:
    """LM1B through TensorFlow Datasets, one sentence an example: `{"tokens": [length]}` int32 subwords.

    The vocabulary is trained on the training split and both splits are tokenised once, into
    `data_dir/data_echoing/`. Validation: the first sentences of TFDS's test split, which LM1B holds out.
    """
    builder = tfds_builder("lm1b", data_dir)
    splits = {"train": ("train", SPLIT_SIZES["lm1b"]["train"]), "validation": ("test", validation_examples)}
    folder = Path(data_dir).expanduser() / "data_echoing" / f"lm1b-{vocab_size}-{validation_examples}"
    text.prepare_subwords(text.SentenceReader(builder, splits), folder, vocab_size)

    def shards(split: str) -> list[str]:
        return [str(path) for path in folder.glob(f"{split}-*.tfrecord")]

    return Source(
        train=lambda seed: text.read_tokens(shards("train"), length, seed=seed),
        validation=lambda: text.read_tokens(shards("validation"), length, seed=None),
    )


def bundled_text(name: str) -> str:
    """Reads `pipelines/bundled/<name>.xz` and checks it against SHA256SUMS.

    Raises:
      DatasetMissing: the file is absent or not what was bundled.
    """
    path = BUNDLED / f"{name}.xz"
    sums = dict(line.split()[::-1] for line in (BUNDLED / "SHA256SUMS").read_text().splitlines())
    remedy = (
        f"restore it with `git checkout {path.name}` or `python -m pipelines.bundled.build {path.name.split('.')[0]}`"
    )
    try:
        content = lzma.decompress(path.read_bytes())
    except FileNotFoundError as error:
        raise DatasetMissing(f"{path} is missing; {remedy}") from error
    except (lzma.LZMAError, EOFError) as error:
        raise DatasetMissing(f"{path} is damaged ({error}); {remedy}") from error
    if hashlib.sha256(content).hexdigest() != sums[name]:
        raise DatasetMissing(f"{path} is not the bundled file (its hash differs); {remedy}")
    return content.decode("utf-8")


def tfds_builder(name: str, data_dir: str):
    """Opens a dataset that tensorflow-datasets has prepared; never downloads.

    Raises:
      DatasetMissing: it is not in `data_dir`.
    """
    import tensorflow_datasets as tfds  # seconds to import, and the bundled sources do without it

    folder = os.path.expanduser(data_dir)
    builder = tfds.builder(name, data_dir=folder)
    if not builder.is_prepared():
        raise DatasetMissing(
            f"{name} is not prepared in {folder}; run `tfds build {name} --data_dir={folder}` "
            "or name its folder with --config.data.data_dir=FOLDER"
        )
    return builder


SOURCES: Mapping[str, Callable[..., Source]] = {"brown": brown, "lm1b": lm1b}
