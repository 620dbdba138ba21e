"""Image decoding and augmentation. Pixels stay uint8 until they reach the model.

Augmentations map a chunk of images at a time and draw all of its random numbers from one stateless seed, so each
image's augmentation is a function of the pipeline's seed and the image's running index.
"""

from collections.abc import Callable

import tensorflow as tf

from pipelines.stages import Augment, Example


def decode(size: int | None = None) -> Callable[[Example], Example]:
    """A stage that decodes `image`, JPEG or PNG bytes, to uint8 [height, width, 3]; `size` pixels square if given."""

    def stage(example: Example) -> Example:
        image = tf.io.decode_image(example["image"], channels=3, expand_animations=False)
        return {**example, "image": tf.ensure_shape(image, [size, size, 3])}

    return stage


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
        boxes = _random_boxes(draws[:4], tf.shape(images)[1:3], smallest_area)
        flipped = tf.where(draws[4, :, None] < 0.5, boxes, tf.gather(boxes, [0, 3, 2, 1], axis=1))
        cropped = tf.image.crop_and_resize(images, flipped, tf.range(count), [size, size])
        return {**examples, "image": _to_pixels(_distort_colours(cropped, draws[5:8], colour_strength))}

    return augment


def centre_crop(size: int, share: float = 0.875) -> Callable[[Example], Example]:
    """Evaluation: the central square, `share` of the shorter side, resized to `size`; one image at a time."""

    def crop(example: Example) -> Example:
        shape = tf.cast(tf.shape(example["image"])[:2], tf.float32)
        half = share / 2 * tf.reduce_min(shape) / shape
        box = tf.concat([0.5 - half, 0.5 + half], axis=0)
        resized = tf.image.crop_and_resize(example["image"][None], box[None], [0], [size, size])
        return {**example, "image": _to_pixels(resized)[0]}

    return crop


def _random_boxes(draws: tf.Tensor, shape: tf.Tensor, smallest_area: float) -> tf.Tensor:
    """Boxes [count, 4] as (top, left, bottom, right), 0 to 1, from uniform draws [4, count]."""
    area = smallest_area + (1 - smallest_area) * draws[0]
    ratio = tf.exp((2 * draws[1] - 1) * tf.math.log(4 / 3))
    proportion = tf.cast(shape[0], tf.float32) / tf.cast(shape[1], tf.float32)
    width = tf.minimum(tf.sqrt(area * ratio * proportion), 1.0)
    height = tf.minimum(tf.sqrt(area / (ratio * proportion)), 1.0)
    top, left = (1 - height) * draws[2], (1 - width) * draws[3]
    return tf.stack([top, left, top + height, left + width], axis=1)


def _distort_colours(images: tf.Tensor, draws: tf.Tensor, strength: float) -> tf.Tensor:
    """Changes brightness, contrast and saturation of images [count, height, width, 3] by draws [3, count]."""
    brightness, contrast, saturation = (strength * (2 * draws[i] - 1)[:, None, None, None] for i in range(3))
    images *= 1 + brightness
    images += contrast * (images - tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True))
    return images + saturation * (images - tf.image.rgb_to_grayscale(images))


def _to_pixels(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(tf.round(images), 0, 255), tf.uint8)
