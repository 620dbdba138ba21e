"""Composites: Fashion-MNIST objects, tinted, on crops of colour photographs, as JPEGs in TFRecord files.

They are colour photographs with clutter that cost something to read and decode. Pictures of one object stand in for
ImageNet at small scale, scenes of one to five objects with their exact boxes for COCO. Training and validation share
neither objects nor photograph regions.
"""

import colorsys
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from pipelines import shards as files
from pipelines.sources.bundled import load_fashion_mnist, load_photographs

SPLITS = {"train": "train", "validation": "test"}  # ours: Fashion-MNIST's
TRAINING_SHARE = 0.7  # of each photograph's width
CROP_SIDES = (48, 76)  # pixels; the narrowest region is 77 wide
OBJECT_SHARES = (0.7, 1.0)  # of an image's side
SCENE_SHARES = (0.25, 0.6)  # the same, of an object in a scene
MOST_OBJECTS = 5  # in a scene
MOST_OVERLAP = 0.15  # intersection over union of two objects in a scene
JPEG_QUALITY = 90
VERSION = 1  # in the files' names: raise it when the same arguments give other pictures


class Material(NamedTuple):
    """What a split's images are made of: objects, uint8 [n, 28, 28], their classes, uint8 [n], and backgrounds."""

    objects: np.ndarray
    labels: np.ndarray
    regions: list[Image.Image]


Record = dict[str, tf.train.Feature]
Box = tuple[int, int, int, int]  # top, left, bottom, right, in pixels; bottom and right exclusive


def write_composites(
    folder: Path, *, kind: str, split: str, examples: int, size: int, seed: int, shards: int
) -> list[Path]:
    """Writes a split, `train` or `validation`, of JPEGs `size` pixels square with their labels; returns its files.

    `kind` is a key of KINDS: `pictures` have features `image` and `label`; `scenes` have `image`, `image_id` and for
    each object `boxes` (four numbers: top, left, bottom, right, as shares of the image), `labels` and `crowd` (0).

    The same arguments give the same bytes (with the same versions of NumPy and Pillow), and each object of the split
    is used equally often in pictures. Resumable: what a killed run finished stays, the rest is done by the next one.
    Several processes may call it at the same time; one works, the others wait for it.
    """
    if not 1 <= shards <= examples:
        raise ValueError(f"shards must be 1 to {examples}, the number of examples, got {shards}")
    name = f"{kind}-{split}-v{VERSION}-{size}px-seed{seed}-{examples}"
    paths = [folder / f"{name}-{shard:05d}-of-{shards:05d}.tfrecord" for shard in range(shards)]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        missing = files.missing(paths)
        if missing:
            material = Material(*load_objects(split), load_regions(split))
            for path in tqdm(missing, desc=f"composing {kind}, {split}", unit="shard"):
                shard = paths.index(path)
                numbers = np.arange(examples * shard // shards, examples * (shard + 1) // shards)
                generator = np.random.default_rng([seed, list(SPLITS).index(split), shard])
                write_records(KINDS[kind](numbers, material, size, generator), path)
    return paths


def pictures(numbers: np.ndarray, material: Material, size: int, generator: np.random.Generator) -> Iterator[Record]:
    """One picture a number, of the object with this number."""
    objects, labels, regions = material
    for i in numbers % len(labels):
        canvas = background(regions, size, generator)
        paste(canvas, objects[i], generator, OBJECT_SHARES)
        yield {"image": bytes_feature(encode_jpeg(canvas)), "label": int64_feature([int(labels[i])])}


def scenes(numbers: np.ndarray, material: Material, size: int, generator: np.random.Generator) -> Iterator[Record]:
    """One scene a number, of random objects; an object that finds no free place in ten tries is left out."""
    objects, labels, regions = material
    for number in numbers:
        canvas = background(regions, size, generator)
        boxes: list[Box] = []
        classes: list[int] = []
        for i in generator.integers(len(labels), size=generator.integers(1, MOST_OBJECTS, endpoint=True)):
            for _ in range(10):
                attempt = canvas.copy()
                box = paste(attempt, objects[i], generator, SCENE_SHARES)
                if all(_overlap(box, other) <= MOST_OVERLAP for other in boxes):
                    canvas = attempt
                    boxes.append(box)
                    classes.append(int(labels[i]))
                    break
        yield {
            "image": bytes_feature(encode_jpeg(canvas)),
            "image_id": int64_feature([int(number)]),
            "boxes": float_feature(np.array(boxes).ravel() / size),
            "labels": int64_feature(classes),
            "crowd": int64_feature([0] * len(classes)),
        }


KINDS = {"pictures": pictures, "scenes": scenes}


def _overlap(a: Box, b: Box) -> float:
    height, width = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in range(2))
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return height * width / (sum(areas) - height * width)


def load_objects(split: str) -> tuple[np.ndarray, np.ndarray]:
    """A split's objects, uint8 [n, 28, 28], and their classes, uint8 [n]."""
    arrays = load_fashion_mnist()
    return arrays[f"{SPLITS[split]}_images"], arrays[f"{SPLITS[split]}_labels"]


def load_regions(split: str) -> list[Image.Image]:
    """A split's part of each photograph: the left one for training, the right one for validation."""
    regions = []
    for photograph in load_photographs():
        border = round(TRAINING_SHARE * photograph.shape[1])
        regions.append(Image.fromarray(photograph[:, :border] if split == "train" else photograph[:, border:]))
    return regions


def background(regions: list[Image.Image], size: int, generator: np.random.Generator) -> np.ndarray:
    """A random square of a random region, half of the time mirrored, scaled to `size`: uint8 [size, size, 3]."""
    region = regions[generator.integers(len(regions))]
    side = int(generator.integers(*CROP_SIDES, endpoint=True))
    left, top = (int(generator.integers(length - side, endpoint=True)) for length in region.size)
    crop = region.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    pixels = np.array(crop)
    return pixels[:, ::-1].copy() if generator.random() < 0.5 else pixels


def paste(canvas: np.ndarray, thing: np.ndarray, generator: np.random.Generator, shares: tuple[float, float]) -> Box:
    """Pastes an object, uint8 [28, 28], into the canvas at a random place, tinted; returns its bounding box.

    The box's longer side is a random part of the canvas's shorter one, between the two `shares`. The photograph shines
    through where the object is dark.
    """
    thing = _trim(thing)
    longer = generator.uniform(*shares) * min(canvas.shape[:2])
    height, width = (max(1, round(longer * length / max(thing.shape))) for length in thing.shape)
    scaled = np.asarray(Image.fromarray(thing).resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255
    top, left = (int(generator.integers(canvas.shape[i] - scaled.shape[i], endpoint=True)) for i in range(2))
    hue, saturation, brightness = generator.uniform([0, 0.3, 0.8], [1, 1, 1])
    tint = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, brightness), np.float32)
    alpha = np.minimum(1, 4 * scaled)[:, :, None]
    place = canvas[top : top + height, left : left + width]
    place[...] = np.rint(place + alpha * ((0.2 + 0.8 * scaled[:, :, None]) * tint - place))
    return top, left, top + height, left + width


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """Encodes uint8 pixels [height, width, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def bytes_feature(value: bytes) -> tf.train.Feature:
    """A feature of one string."""
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def int64_feature(values: Iterable[int]) -> tf.train.Feature:
    """A feature of integers."""
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def float_feature(value: Iterable[float]) -> tf.train.Feature:
    """A feature of floats."""
    return tf.train.Feature(float_list=tf.train.FloatList(value=value))


def write_records(records: Iterable[Record], path: Path) -> None:
    """Writes one TFRecord file of `tf.train.Example`, whole or not at all."""
    examples = (tf.train.Example(features=tf.train.Features(feature=features)) for features in records)
    files.write((example.SerializeToString(deterministic=True) for example in examples), path)


def _trim(thing: np.ndarray) -> np.ndarray:
    """Cuts off the empty rows and columns at an object's sides."""
    visible = thing > 16
    rows, columns = (np.flatnonzero(visible.any(axis=axis)) for axis in (1, 0))
    return thing[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
