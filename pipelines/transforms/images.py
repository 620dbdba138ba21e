"""Image decoding and augmentation. Pixels stay uint8 until they reach the model.

Decoding is a stage of its own, upstream of every echo point. An example that cannot be decoded is named; it ends the
run, or it is left out and counted, as `data.corrupt` asks.

Augmentations map a chunk of images at a time and draw all of its random numbers from one stateless seed, so each
image's augmentation is a function of the pipeline's seed and the image's running index.
"""

import logging
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from pipelines.echoing.tfdata.echo import has_fixed_shapes
from pipelines.echoing.tfdata.stages import Augment, Example

_log = logging.getLogger(__name__)


def decode(size: int | None = None) -> Callable[[Example], Example]:
    """Decodes `image`, JPEG or PNG bytes, to uint8 [height, width, 3]; `size` pixels square if given.

    TensorFlow raises InvalidArgumentError for bytes that are no image and for an image of another size.
    """

    def decode_image(example: Example) -> Example:
        image = tf.io.decode_image(example["image"], channels=3, expand_animations=False)
        if size is not None:
            message = f"the image is not {size} pixels square"
            tf.debugging.assert_equal(tf.shape(image), [size, size, 3], message)
        return {**example, "image": tf.ensure_shape(image, [size, size, 3])}

    return decode_image


def check_label(example: Example, classes: int) -> Example:
    """Raises InvalidArgumentError (TensorFlow's) unless `label` is 0 to `classes` - 1."""
    label = example["label"]
    with tf.control_dependencies([tf.debugging.Assert((label >= 0) & (label < classes), [label])]):
        return {**example, "label": tf.identity(label)}


def decode_all(
    raw: tf.data.Dataset, decode: Callable[[Example], Example], *, corrupt: str, chunk: int = 256
) -> tf.data.Dataset:
    """Decodes examples in parallel, in order, and deals with those that cannot be decoded.

    Only `decode` is guarded: a damaged file upstream of it stays an error.

    Args:
      raw: examples of fixed shapes with a component `name`, which is dropped.
      decode: maps the other components to a decoded example; raises InvalidArgumentError where it cannot.
      corrupt: `fail` raises an error that names the example; `skip` logs its name and how many were skipped.
      chunk: raw examples held at a time.
    """
    if corrupt not in ("fail", "skip"):
        raise ValueError(f"data.corrupt must be fail or skip, got {corrupt!r}")
    problem = "unreadable image, image of a wrong size or label out of range"
    skipped = 0

    def report(names: np.ndarray) -> np.int64:
        nonlocal skipped
        text = ", ".join(name.decode() for name in names)
        if corrupt == "fail":
            raise ValueError(f"{text}: {problem}; --config.data.corrupt=skip leaves such examples out")
        skipped += len(names)
        _log.warning("skipped %s: %s (%d skipped so far)", text, problem, skipped)
        return np.int64(0)

    def decode_numbered(number: tf.Tensor, example: Example) -> tuple[tf.Tensor, Example]:
        return number, decode({key: value for key, value in example.items() if key != "name"})

    def decode_chunk(examples: Example) -> tf.data.Dataset:
        names = examples["name"]
        count = tf.shape(names, tf.int64)[0]

        def pass_on(
            expected: tf.Tensor, numbered: tuple[tf.Tensor, Example]
        ) -> tuple[tf.Tensor, tuple[tf.Tensor, Example]]:
            numbers = numbered[0]
            wanted = tf.range(expected, numbers[-1] + 1)
            lost = tf.reduce_all(wanted[:, None] != numbers, axis=1)
            done = tf.cond(
                tf.reduce_any(lost),
                lambda: tf.numpy_function(report, [tf.gather(names, wanted[lost])], tf.int64),
                lambda: np.int64(0),
            )
            with tf.control_dependencies([done]):
                return numbers[-1] + 1, numbered

        numbered = tf.data.Dataset.from_tensor_slices(examples).enumerate()
        decoded = numbered.map(decode_numbered, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).ignore_errors()
        # Looked through together where they fit one tensor: a stage costs some 10 us an item.
        together = decoded.batch(chunk if has_fixed_shapes(decoded) else 1)
        end = tf.data.Dataset.from_tensors((count[None], tf.nest.map_structure(_empty, together.element_spec[1])))
        checked = together.concatenate(end).scan(np.int64(0), pass_on)
        return checked.filter(lambda numbers, _: numbers[0] < count).map(lambda _, examples: examples).unbatch()

    return raw.batch(chunk).flat_map(decode_chunk)


def _empty(spec: tf.TensorSpec) -> tf.Tensor:
    return tf.zeros([1, *(length or 0 for length in spec.shape[1:])], spec.dtype)


def pad_crop_flip(padding: int) -> Augment:
    """CIFAR's augmentation: pad by `padding` black pixels, crop back at a random place, flip half of the images."""

    def augment(examples: Example, seed: tf.Tensor) -> Example:
        images = examples["image"]
        count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
        draws = tf.random.stateless_uniform([3, count], seed)
        top, left = (tf.cast(draws[i] * (2 * padding + 1), tf.int32) for i in range(2))
        columns = tf.where(draws[2, :, None] < 0.5, tf.range(width), tf.range(width)[::-1])
        padded = tf.pad(images, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
        cropped = tf.gather(padded, top[:, None] + tf.range(height), axis=1, batch_dims=1)
        return {**examples, "image": tf.gather(cropped, left[:, None] + columns, axis=2, batch_dims=1)}

    return augment


def random_resized_crop(size: int, *, smallest_area: float, colour_strength: float) -> Augment:
    """ImageNet's augmentation: a random part of the image, resized, flipped half of the time, its colours distorted.

    The part covers `smallest_area` to all of the image, with an aspect ratio of 3/4 to 4/3, cut off at the image's
    sides. Brightness, contrast and saturation each change by up to `colour_strength`, 0 for none. The paper says
    random crop, flip and colour distortion; these forms are our choice.
    """

    def augment(examples: Example, seed: tf.Tensor) -> Example:
        images = examples["image"]
        count = tf.shape(images)[0]
        draws = tf.random.stateless_uniform([8, count], seed)
        sides = tf.cast(tf.shape(images)[1:3], tf.float32)
        boxes = random_boxes(draws[:4], smallest_area, 4 / 3, sides[0] / sides[1])
        flipped = tf.where(draws[4, :, None] < 0.5, boxes, tf.gather(boxes, [0, 3, 2, 1], axis=1))
        cropped = tf.image.crop_and_resize(images, flipped, tf.range(count), [size, size])
        return {**examples, "image": to_pixels(distort_colours(cropped, draws[5:8], colour_strength))}

    return augment


def centre_crop(size: int, share: float = 0.875) -> Callable[[Example], Example]:
    """Evaluation: the central square, `share` of the shorter side, resized to `size`; one image at a time."""

    def crop(example: Example) -> Example:
        shape = tf.cast(tf.shape(example["image"])[:2], tf.float32)
        half = share / 2 * tf.reduce_min(shape) / shape
        box = tf.concat([0.5 - half, 0.5 + half], axis=0)
        resized = tf.image.crop_and_resize(example["image"][None], box[None], [0], [size, size])
        return {**example, "image": to_pixels(resized)[0]}

    return crop


def random_boxes(
    draws: tf.Tensor, smallest_area: float, widest: float, proportion: tf.Tensor | float = 1.0
) -> tf.Tensor:
    """Boxes [..., 4] as (top, left, bottom, right), 0 to 1, from uniform draws [4, ...].

    Args:
      draws: of the area, the ratio of the sides and the place.
      smallest_area: share of the image; the largest is all of it.
      widest: ratio of width to height that is not exceeded, nor its inverse.
      proportion: height of the image over its width.
    """
    area = smallest_area + (1 - smallest_area) * draws[0]
    ratio = tf.exp((2 * draws[1] - 1) * tf.math.log(widest)) * proportion
    height, width = (tf.minimum(tf.sqrt(part), 1.0) for part in (area / ratio, area * ratio))
    top, left = (1 - height) * draws[2], (1 - width) * draws[3]
    return tf.stack([top, left, top + height, left + width], axis=-1)


def distort_colours(images: tf.Tensor, draws: tf.Tensor, strength: float) -> tf.Tensor:
    """Changes brightness, contrast and saturation of images [count, height, width, 3] by draws [3, count]."""
    brightness, contrast, saturation = (strength * (2 * draws[i] - 1)[:, None, None, None] for i in range(3))
    images *= 1 + brightness
    images += contrast * (images - tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True))
    return images + saturation * (images - tf.image.rgb_to_grayscale(images))


def to_pixels(images: tf.Tensor) -> tf.Tensor:
    """Rounds to uint8, 0 to 255."""
    return tf.cast(tf.clip_by_value(tf.round(images), 0, 255), tf.uint8)
