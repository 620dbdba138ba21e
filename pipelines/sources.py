"""Where examples come from: bundled data at smoke and small scale, TensorFlow Datasets at paper scale.

A source yields undecoded or decoded examples in reading order; shuffling, echoing, augmentation and batching are
the business of `stages.py`.
"""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import detection, text
from pipelines import images as image_stages
from pipelines.bundled import load_fashion_mnist, load_text
from pipelines.composites import write_composites
from pipelines.crawl import PageReader
from pipelines.stages import Augment, Example

# Examples in each split, as tensorflow-datasets lists them once a set is prepared.
SPLIT_SIZES = {
    "cifar10": {"train": 50_000},
    "imagenet2012": {"train": 1_281_167},
    "lm1b": {"train": 30_301_028, "test": 306_688},
}


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


def bundled_windows(*, name: str, length: int, validation_examples: int, shards: int = 64) -> Source:
    """A bundled text in windows of `length` bytes, `{"tokens": [length]}` int32: stand-in for LM1B or Common Crawl.

    Like theirs, its training sentences are in a fixed random order. Every 20th document is kept for validation.
    Each epoch reads the `shards` parts of the training text in a new order.
    """
    documents = [document.split("\n") for document in load_text(name).strip().split("\n\n")]
    held_out = [sentence for document in documents[19::20] for sentence in document]
    training = [sentence for i, document in enumerate(documents) if i % 20 != 19 for sentence in document]

    def windows(sentences: list[str]) -> np.ndarray:
        order = np.random.default_rng(0).permutation(len(sentences))
        return text.byte_windows("\n".join(sentences[i] for i in order), length)

    train_windows, validation_windows = windows(training), windows(held_out)
    if not 0 < validation_examples <= len(validation_windows):
        raise ValueError(f"validation_examples must be 1 to {len(validation_windows)}, got {validation_examples}")
    return in_memory({"tokens": train_windows}, {"tokens": validation_windows[:validation_examples]}, shards)


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


def lm1b(*, data_dir: str, vocab_size: int, length: int, validation_examples: int) -> Source:
    """LM1B through TensorFlow Datasets, one sentence an example: `{"tokens": [length]}` int32 subwords.

    The vocabulary is trained on the training split and both splits are tokenised once, into
    `data_dir/data_echoing/`. Validation: the first sentences of TFDS's test split, which LM1B holds out.
    """
    builder = tfds_builder("lm1b", data_dir)
    splits = {"train": ("train", SPLIT_SIZES["lm1b"]["train"]), "validation": ("test", validation_examples)}
    name = f"lm1b-{vocab_size}-{validation_examples}"
    return subwords(text.SentenceReader(builder, splits), data_dir, name, vocab_size, length)


def common_crawl(
    *, dataset: str, data_dir: str, vocab_size: int, length: int, train_pages: int, validation_examples: int
) -> Source:
    """Pages of Common Crawl, one line an example: `{"tokens": [length]}` int32 subwords, made as LM1B's are.

    `dataset` is `c4/en` or `c4/en.noclean`, read through TensorFlow Datasets from `data_dir`, or `wet`, the pages
    that `crawl.py` prepared in it. At most `train_pages` of them are used. Validation: the first lines held out.
    """
    reader: text.Reader
    if dataset == "wet":
        reader = PageReader(Path(data_dir).expanduser(), {"train": train_pages, "validation": validation_examples})
        if not (reader.size("train") and reader.size("validation")):
            raise DatasetMissing(
                f"{data_dir} has no prepared pages in both splits; run `python -m pipelines.crawl prepare --wet=FOLDER "
                f"--out={data_dir}` or name their folder with --config.data.data_dir=FOLDER"
            )
    elif dataset in ("c4/en", "c4/en.noclean"):
        splits = {"train": ("train", train_pages), "validation": ("validation", validation_examples)}
        reader = text.SentenceReader(tfds_builder(dataset, data_dir), splits)
    else:
        raise ValueError(f"data.dataset must be c4/en, c4/en.noclean or wet, got {dataset!r}")
    pages = "-".join(str(reader.size(split)) for split in ("train", "validation"))  # more may be prepared later
    name = f"{dataset.replace('/', '_')}-{vocab_size}-{pages}"
    source = subwords(reader, data_dir, name, vocab_size, length)
    return replace(source, validation=lambda: source.validation().take(validation_examples))


def subwords(reader: text.Reader, data_dir: str, name: str, vocab_size: int, length: int) -> Source:
    """Sentences as subwords, tokenised once, into `data_dir/data_echoing/name/`, by a vocabulary of their own."""
    folder = Path(data_dir).expanduser() / "data_echoing" / name
    text.prepare_subwords(reader, folder, vocab_size)

    def shards(split: str) -> list[str]:
        return [str(path) for path in folder.glob(f"{split}-*.tfrecord")]

    return Source(
        train=lambda seed: text.read_tokens(shards("train"), length, seed=seed),
        validation=lambda: text.read_tokens(shards("validation"), length, seed=None),
    )


def fashion_mnist(
    *, size: int, train_examples: int, validation_examples: int, padding: int, shards: int = 10
) -> Source:
    """Bundled stand-in for CIFAR-10: the first images of Fashion-MNIST, shrunk to `size` pixels (28, 14 or 7).

    `{"image": [size, size, 1] uint8, "label": [] int32}`; augmented as CIFAR-10 is. Validation: the first test images.
    """
    if 28 % size:
        raise ValueError(f"data.size must divide 28, got {size}")
    arrays = load_fashion_mnist()
    splits = []
    for split, count in (("train", train_examples), ("test", validation_examples)):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if not 0 < count <= len(images):
            raise ValueError(f"data: {split} has {len(images)} images, {count} were asked for")
        squares = images[:count].reshape(count, size, 28 // size, size, 28 // size)
        small = squares.mean((2, 4)).round().astype(np.uint8)[..., None]
        splits.append({"image": small, "label": labels[:count].astype(np.int32)})
    train, validation = splits
    return in_memory(train, validation, shards, image_stages.pad_crop_flip(padding))


def composites(
    *,
    data_dir: str,
    stored_size: int,
    size: int,
    train_examples: int,
    validation_examples: int,
    smallest_area: float,
    colour_strength: float,
    corrupt: str,
    shards: int = 10,
) -> Source:
    """Stand-in for ImageNet: JPEGs of bundled objects on bundled photographs, composed once, into `data_dir`.

    `{"image": [stored_size, stored_size, 3] uint8, "label": [] int32}`; augmentation and evaluation make images of
    `size` pixels square.
    """
    counts = {"train": train_examples, "validation": validation_examples}
    paths = {
        split: write_composites(
            Path(data_dir).expanduser(),
            kind="pictures",
            split=split,
            examples=count,
            size=stored_size,
            seed=0,
            shards=shards,
        )
        for split, count in counts.items()
    }

    def decode(example: Example) -> Example:
        return image_stages.check_label(image_stages.decode(stored_size)(example), classes=10)

    def train(seed: int) -> tf.data.Dataset:
        files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths["train"]])
        order = files.shuffle(shards, seed=seed, reshuffle_each_iteration=True).repeat()
        return image_stages.decode_all(order.flat_map(read_images), decode, corrupt=corrupt)

    def validation() -> tf.data.Dataset:
        raw = tf.data.Dataset.from_tensor_slices([str(path) for path in paths["validation"]]).flat_map(read_images)
        return image_stages.decode_all(raw, decode, corrupt="fail").map(image_stages.centre_crop(size))

    augment = image_stages.random_resized_crop(size, smallest_area=smallest_area, colour_strength=colour_strength)
    return Source(train, validation, augment)


def read_images(path: tf.Tensor) -> tf.data.Dataset:
    """The records of a TFRecord file, named by their place in it: `image` bytes, `label` int32, `name`."""
    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}

    def parse(indices: tf.Tensor, records: tf.Tensor) -> Example:
        examples = tf.io.parse_example(records, features)
        names = path + "__" + tf.strings.as_string(indices)
        return {"image": examples["image"], "label": tf.cast(examples["label"], tf.int32), "name": names}

    return tf.data.TFRecordDataset(path).enumerate().batch(256).map(parse).unbatch()


def cifar10(*, data_dir: str, padding: int, validation_examples: int, corrupt: str) -> Source:
    """CIFAR-10 through TensorFlow Datasets: `{"image": [32, 32, 3] uint8, "label": [] int32}`.

    Validation: the last examples of the training split, held out of it.
    """
    return tfds_images(
        "cifar10",
        data_dir,
        validation_examples,
        decode=image_stages.decode(32),
        augment=image_stages.pad_crop_flip(padding),
        evaluation=lambda example: example,
        corrupt=corrupt,
    )


def imagenet2012(
    *, data_dir: str, size: int, validation_examples: int, smallest_area: float, colour_strength: float, corrupt: str
) -> Source:
    """ImageNet through TensorFlow Datasets: `{"image": [height, width, 3] uint8, "label": [] int32}`.

    Augmentation and evaluation make images of `size` pixels square. Validation: the central squares of the last
    examples of the training split, held out of it.
    """
    return tfds_images(
        "imagenet2012",
        data_dir,
        validation_examples,
        decode=image_stages.decode(),
        augment=image_stages.random_resized_crop(size, smallest_area=smallest_area, colour_strength=colour_strength),
        evaluation=image_stages.centre_crop(size),
        corrupt=corrupt,
    )


def tfds_images(
    name: str,
    data_dir: str,
    validation_examples: int,
    *,
    decode: Callable[[Example], Example],
    augment: Augment,
    evaluation: Callable[[Example], Example],
    corrupt: str,
) -> Source:
    """An image dataset of TensorFlow Datasets, decoded by a stage of ours, the end of its training split held out."""
    import tensorflow_datasets as tfds  # seconds to import, and the bundled sources do without it

    builder = tfds_builder(name, data_dir)
    size = min(SPLIT_SIZES[name]["train"], builder.info.splits["train"].num_examples)
    if not 0 < validation_examples < size:
        raise ValueError(f"data.validation_examples must be 1 to {size - 1}, got {validation_examples}")
    bytes_only = {"image": tfds.decode.SkipDecoding()}
    classes = builder.info.features["label"].num_classes

    def parse(example: Example) -> Example:
        return {
            "image": example["image"],
            "label": tf.cast(example["label"], tf.int32),
            "name": example["tfds_id"],
        }

    def checked(example: Example) -> Example:
        return image_stages.check_label(decode(example), classes)

    def train(seed: int) -> tf.data.Dataset:
        reading = tfds.ReadConfig(
            add_tfds_id=True, shuffle_seed=seed, shuffle_reshuffle_each_iteration=True, interleave_cycle_length=16
        )
        split = f"train[:{size - validation_examples}]"
        files = builder.as_dataset(split=split, decoders=bytes_only, shuffle_files=True, read_config=reading)
        return image_stages.decode_all(files.repeat().map(parse), checked, corrupt=corrupt)

    def validation() -> tf.data.Dataset:
        split = f"train[{size - validation_examples}:{size}]"
        reading = tfds.ReadConfig(add_tfds_id=True)
        files = builder.as_dataset(split=split, decoders=bytes_only, read_config=reading)
        return image_stages.decode_all(files.map(parse), checked, corrupt="fail").map(evaluation)

    return Source(train, validation, augment)


def scenes(
    *,
    data_dir: str,
    stored_size: int,
    size: int,
    train_examples: int,
    validation_examples: int,
    most_objects: int,
    smallest_area: float,
    colour_strength: float,
    corrupt: str,
    shards: int = 10,
) -> Source:
    """Stand-in for COCO: JPEGs of one to five bundled objects on bundled photographs, composed once, into `data_dir`.

    `{"image": [stored_size, stored_size, 3] uint8, "image_id": [] int64}` and the objects as in `detection.py`,
    `most_objects` of them; augmentation and evaluation make images of `size` pixels square.
    """
    counts = {"train": train_examples, "validation": validation_examples}
    paths = {
        split: write_composites(
            Path(data_dir).expanduser(),
            kind="scenes",
            split=split,
            examples=count,
            size=stored_size,
            seed=0,
            shards=shards,
        )
        for split, count in counts.items()
    }
    decode = image_stages.decode(stored_size)

    def read(path: tf.Tensor) -> tf.data.Dataset:
        return read_scenes(path, most_objects)

    def train(seed: int) -> tf.data.Dataset:
        files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths["train"]])
        order = files.shuffle(shards, seed=seed, reshuffle_each_iteration=True).repeat()
        return image_stages.decode_all(order.flat_map(read), decode, corrupt=corrupt)

    def validation() -> tf.data.Dataset:
        raw = tf.data.Dataset.from_tensor_slices([str(path) for path in paths["validation"]]).flat_map(read)
        return image_stages.decode_all(raw, decode, corrupt="fail").map(detection.resize(size))

    augment = detection.crop_flip_distort(size, smallest_area=smallest_area, colour_strength=colour_strength)
    return Source(train, validation, augment)


def read_scenes(path: tf.Tensor, most_objects: int) -> tf.data.Dataset:
    """The records of a TFRecord file of scenes, named by their place in it."""
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "image_id": tf.io.FixedLenFeature([], tf.int64),
        "boxes": tf.io.RaggedFeature(tf.float32),
        "labels": tf.io.RaggedFeature(tf.int64),
        "crowd": tf.io.RaggedFeature(tf.int64),
    }

    def parse(indices: tf.Tensor, records: tf.Tensor) -> Example:
        examples = tf.io.parse_example(records, features)
        labels = examples["labels"].to_tensor(default_value=-1, shape=[None, most_objects])
        return {
            "image": examples["image"],
            "image_id": examples["image_id"],
            "name": path + "__" + tf.strings.as_string(indices),
            "boxes": tf.reshape(examples["boxes"].to_tensor(shape=[None, 4 * most_objects]), [-1, most_objects, 4]),
            "labels": tf.cast(labels, tf.int32),
            "crowd": tf.cast(examples["crowd"].to_tensor(shape=[None, most_objects]), tf.bool),
        }

    return tf.data.TFRecordDataset(path).enumerate().batch(256).map(parse).unbatch()


def coco(
    *,
    data_dir: str,
    size: int,
    validation_examples: int,
    most_objects: int,
    smallest_area: float,
    colour_strength: float,
    corrupt: str,
) -> Source:
    """COCO 2017 through TensorFlow Datasets: `{"image": [height, width, 3] uint8, "image_id": [] int64}` and objects.

    The objects are as in `detection.py`, at most `most_objects` (COCO's fullest training image has 93). Validation:
    the first examples of COCO's validation split.
    """
    import tensorflow_datasets as tfds  # seconds to import, and the bundled sources do without it

    builder = tfds_builder("coco/2017", data_dir)
    available = builder.info.splits["validation"].num_examples
    if not 0 < validation_examples <= available:
        raise ValueError(f"data.validation_examples must be 1 to {available}, got {validation_examples}")
    bytes_only = {"image": tfds.decode.SkipDecoding()}

    def parse(example: Example) -> Example:
        objects = example["objects"]
        boxes, labels = objects["bbox"], tf.cast(objects["label"], tf.int32)
        padded = detection.pad_objects(boxes, labels, objects["is_crowd"], most_objects)
        return {"image": example["image"], "image_id": example["image/id"], "name": example["tfds_id"], **padded}

    def train(seed: int) -> tf.data.Dataset:
        reading = tfds.ReadConfig(
            add_tfds_id=True, shuffle_seed=seed, shuffle_reshuffle_each_iteration=True, interleave_cycle_length=16
        )
        files = builder.as_dataset(split="train", decoders=bytes_only, shuffle_files=True, read_config=reading)
        return image_stages.decode_all(files.repeat().map(parse), image_stages.decode(), corrupt=corrupt)

    def validation() -> tf.data.Dataset:
        split = f"validation[:{validation_examples}]"
        files = builder.as_dataset(split=split, decoders=bytes_only, read_config=tfds.ReadConfig(add_tfds_id=True))
        decoded = image_stages.decode_all(files.map(parse), image_stages.decode(), corrupt="fail")
        return decoded.map(detection.resize(size))

    augment = detection.crop_flip_distort(size, smallest_area=smallest_area, colour_strength=colour_strength)
    return Source(train, validation, augment)


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


SOURCES: Mapping[str, Callable[..., Source]] = {
    "brown": functools.partial(bundled_windows, name="brown"),
    "cifar10": cifar10,
    "coco": coco,
    "common_crawl": common_crawl,
    "composites": composites,
    "fashion_mnist": fashion_mnist,
    "imagenet2012": imagenet2012,
    "lm1b": lm1b,
    "public_domain": functools.partial(bundled_windows, name="public_domain"),
    "scenes": scenes,
}
