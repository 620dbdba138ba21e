"""Where images come from: bundled ones, CIFAR-10, ImageNet, COCO. They are decoded here; damaged ones are named."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.echoing.tfdata.stages import Example
from pipelines.sources.bundled import load_fashion_mnist
from pipelines.sources.composites import write_composites
from pipelines.sources.preparation import Preparation
from pipelines.sources.source import Source, in_memory, tfds_builder
from pipelines.transforms import detection, images

# Training images, as tensorflow-datasets lists them once a set is prepared.
TRAIN_SIZES = {"cifar10": 50_000, "imagenet2012": 1_281_167}


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
        pictures, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if not 0 < count <= len(pictures):
            raise ValueError(f"data: {split} has {len(pictures)} images, {count} were asked for")
        squares = pictures[:count].reshape(count, size, 28 // size, size, 28 // size)
        small = squares.mean((2, 4)).round().astype(np.uint8)[..., None]
        splits.append({"image": small, "label": labels[:count].astype(np.int32)})
    train, validation = splits
    return in_memory(train, validation, shards, images.pad_crop_flip(padding))


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

    def decode(example: Example) -> Example:
        return images.check_label(images.decode(stored_size)(example), classes=10)

    return composed(
        "pictures",
        Path(data_dir).expanduser(),
        stored_size,
        {"train": train_examples, "validation": validation_examples},
        shards,
        read_images,
        random_crops(decode, size, smallest_area, colour_strength, corrupt),
    )


def random_crops(
    decode: Callable[[Example], Example], size: int, smallest_area: float, colour_strength: float, corrupt: str
) -> Preparation:
    """ImageNet's: `size` pixels square, cut at random and distorted in training, from the middle for evaluation."""
    augment = images.random_resized_crop(size, smallest_area=smallest_area, colour_strength=colour_strength)
    return Preparation(decode, augment, images.centre_crop(size), corrupt)


def composed(
    kind: str,
    folder: Path,
    stored_size: int,
    examples: Mapping[str, int],
    shards: int,
    read: Callable[[tf.Tensor], tf.data.Dataset],
    preparation: Preparation,
) -> Source:
    """Bundled objects on bundled photographs, composed into `folder` where they are not there yet.

    Args:
      kind: `pictures` or `scenes`, as `write_composites` describes them.
      folder: of the composed files.
      stored_size: pixels a side.
      examples: how many in the splits `train` and `validation`.
      shards: files a split.
      read: the undecoded examples of a file.
    """
    paths = {
        split: write_composites(folder, kind=kind, split=split, examples=count, size=stored_size, seed=0, shards=shards)
        for split, count in examples.items()
    }

    def files(split: str) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices([str(path) for path in paths[split]])

    def train(seed: int, part: int, parts: int) -> tf.data.Dataset:
        order = files("train").shuffle(shards, seed=seed, reshuffle_each_iteration=True).repeat()
        return order.flat_map(read).shard(parts, part)

    return preparation.source(train, lambda: files("train").flat_map(read), lambda: files("validation").flat_map(read))


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
    return labelled_tfds(
        "cifar10",
        data_dir,
        validation_examples,
        Preparation(images.decode(32), images.pad_crop_flip(padding), lambda example: example, corrupt),
    )


def imagenet2012(
    *,
    data_dir: str,
    size: int,
    validation_examples: int,
    smallest_area: float,
    colour_strength: float,
    corrupt: str,
    dataset: str = "imagenet2012",
    validation: str = "held_out",
) -> Source:
    """ImageNet, or another `dataset` of its form, through TensorFlow Datasets.

    `{"image": [height, width, 3] uint8, "label": [] int32}`; augmentation and evaluation make images of `size` pixels
    square. Validation: the central squares of the last examples of the training split, held out of it, or with
    `validation="official"` of the first ones of the validation split.
    """
    return labelled_tfds(
        dataset,
        data_dir,
        validation_examples,
        random_crops(images.decode(), size, smallest_area, colour_strength, corrupt),
        validation,
    )


def labelled_tfds(
    name: str, data_dir: str, validation_examples: int, preparation: Preparation, validation: str = "held_out"
) -> Source:
    """An image dataset of TensorFlow Datasets with a label each; `validation` as in `imagenet2012`."""
    builder = tfds_builder(name, data_dir)
    size = builder.info.splits["train"].num_examples
    size = min(TRAIN_SIZES.get(name, size), size)
    most = size - 1 if validation == "held_out" else builder.info.splits["validation"].num_examples
    if not 0 < validation_examples <= most:
        raise ValueError(f"data.validation_examples must be 1 to {most}, got {validation_examples}")
    classes = builder.info.features["label"].num_classes

    def parse(example: Example) -> Example:
        return {"image": example["image"], "label": tf.cast(example["label"], tf.int32), "name": example["tfds_id"]}

    def checked(example: Example) -> Example:
        return images.check_label(preparation.decode(example), classes)

    held_out = size - validation_examples
    splits = f"train[:{held_out}]", f"train[{held_out}:{size}]"
    if validation == "official":
        splits = "train", f"validation[:{validation_examples}]"
    return tfds_images(builder, *splits, parse, replace(preparation, decode=checked))


def tfds_images(
    builder: Any,
    train_split: str,
    validation_split: str,
    parse: Callable[[Example], Example],
    preparation: Preparation,
) -> Source:
    """Two splits of a prepared image dataset, decoded by a stage of ours so that damaged images are named.

    `parse` takes an example as the builder gives it, its image undecoded.
    """
    import tensorflow_datasets as tfds  # seconds to import, and the bundled sources do without it

    bytes_only = {"image": tfds.decode.SkipDecoding()}

    def train(seed: int, part: int, parts: int) -> tf.data.Dataset:
        by_file = parts > 1 and builder.info.splits["train"].num_shards >= parts
        reading = tfds.ReadConfig(
            add_tfds_id=True,
            shuffle_seed=seed,
            shuffle_reshuffle_each_iteration=True,
            interleave_cycle_length=16,
            input_context=tf.distribute.InputContext(parts, part) if by_file else None,
        )
        files = builder.as_dataset(split=train_split, decoders=bytes_only, shuffle_files=True, read_config=reading)
        examples = files.repeat()
        return (examples if by_file else examples.shard(parts, part)).map(parse)

    def once(split: str) -> tf.data.Dataset:
        reading = tfds.ReadConfig(add_tfds_id=True)
        return builder.as_dataset(split=split, decoders=bytes_only, read_config=reading).map(parse)

    return preparation.source(train, lambda: once(train_split), lambda: once(validation_split))


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
    return composed(
        "scenes",
        Path(data_dir).expanduser(),
        stored_size,
        {"train": train_examples, "validation": validation_examples},
        shards,
        functools.partial(read_scenes, most_objects=most_objects),
        object_crops(images.decode(stored_size), size, smallest_area, colour_strength, corrupt),
    )


def object_crops(
    decode: Callable[[Example], Example], size: int, smallest_area: float, colour_strength: float, corrupt: str
) -> Preparation:
    """COCO's: `size` pixels square, cut at random around objects and distorted in training, else the whole image."""
    augment = detection.crop_flip_distort(size, smallest_area=smallest_area, colour_strength=colour_strength)
    return Preparation(decode, augment, detection.resize(size), corrupt)


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
    builder = tfds_builder("coco/2017", data_dir)
    available = builder.info.splits["validation"].num_examples
    if not 0 < validation_examples <= available:
        raise ValueError(f"data.validation_examples must be 1 to {available}, got {validation_examples}")

    def parse(example: Example) -> Example:
        objects = example["objects"]
        boxes, labels = objects["bbox"], tf.cast(objects["label"], tf.int32)
        padded = detection.pad_objects(boxes, labels, objects["is_crowd"], most_objects)
        return {"image": example["image"], "image_id": example["image/id"], "name": example["tfds_id"], **padded}

    return tfds_images(
        builder,
        "train",
        f"validation[:{validation_examples}]",
        parse,
        object_crops(images.decode(), size, smallest_area, colour_strength, corrupt),
    )
