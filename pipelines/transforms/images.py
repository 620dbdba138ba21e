"""Image decoding and augmentation. Pixels stay uint8 until they reach the model.

Decoding is a stage of its own, upstream of every echo point. It does not look out for damage, which would cost time:
the examples that cannot be decoded are looked for where one has ended a run, or beforehand, to be left out.

Augmentations map a chunk of images at a time and draw all of its random numbers from one stateless seed, so each
image's augmentation is a function of the pipeline's seed and the image's running index.
"""

import os
from collections.abc import Callable, Sequence

import tensorflow as tf

from pipelines.echoing.tfdata.stages import Augment, Example


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
    raw: tf.data.Dataset, decode: Callable[[Example], Example], *, parallel: int | None = None
) -> tf.data.Dataset:
    """Decodes examples in parallel, in order.

    Args:
      raw: examples with a component `name`, which is dropped.
      decode: maps the other components to a decoded example; raises InvalidArgumentError where it cannot.
      parallel: decoders at work, by default one a core.
    """
    calls = parallel or os.cpu_count()
    return raw.map(lambda example: decode(_without_name(example)), num_parallel_calls=calls, deterministic=True)


def damaged(raw: tf.data.Dataset, decode: Callable[[Example], Example], *, chunk: int = 256) -> tf.data.Dataset:
    """The names of those examples, of fixed shapes, that `decode_all` would fail at; as slow as decoding all of them.

    Only `decode` is guarded: a damaged file upstream of it stays an error. `chunk` examples are held at a time.
    """

    def lost(examples: Example) -> tf.data.Dataset:
        names = examples["name"]
        numbers = tf.range(tf.shape(names, tf.int64)[0])
        numbered = tf.data.Dataset.from_tensor_slices(_without_name(examples)).enumerate()
        decoded = numbered.map(lambda number, example: (number, decode(example)), num_parallel_calls=os.cpu_count())
        fine = decoded.ignore_errors().reduce(numbers < 0, lambda found, each: found | (numbers == each[0]))
        return tf.data.Dataset.from_tensor_slices(tf.boolean_mask(names, ~fine))

    return raw.batch(chunk).flat_map(lost)


def without(raw: tf.data.Dataset, names: Sequence[bytes]) -> tf.data.Dataset:
    """Leaves out the examples of these names."""
    if not names:
        return raw
    unwanted = tf.constant(list(names))
    return raw.filter(lambda example: tf.reduce_all(example["name"] != unwanted))


def _without_name(example: Example) -> Example:
    return {key: value for key, value in example.items() if key != "name"}


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
