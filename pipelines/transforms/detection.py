"""Object detection: parsing, augmentation and evaluation of images with boxes.

Boxes are float32 [M, 4], (top, left, bottom, right) as shares of the image's height and width, padded to M with
zeros; `labels` [M] int32 has -1 for padding. Every transform of the pixels moves the boxes with them.
"""

from collections.abc import Callable

import tensorflow as tf

from pipelines.echoing.tfdata.stages import Augment, Example
from pipelines.transforms.images import distort_colours, random_boxes, to_pixels

PATCHES = 30
"""Patches tried for each image."""

LEAST_OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


def pad_objects(boxes: tf.Tensor, labels: tf.Tensor, crowd: tf.Tensor, count: int) -> Example:
    """`boxes`, `labels` and `crowd` of fixed length `count`; empty boxes are dropped, and objects beyond `count`."""
    solid = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1)
    boxes, labels, crowd = (tf.boolean_mask(part, solid)[:count] for part in (boxes, labels, crowd))
    missing = count - tf.shape(labels)[0]
    return {
        "boxes": tf.ensure_shape(tf.pad(boxes, [[0, missing], [0, 0]]), [count, 4]),
        "labels": tf.ensure_shape(tf.pad(labels, [[0, missing]], constant_values=-1), [count]),
        "crowd": tf.ensure_shape(tf.pad(crowd, [[0, missing]]), [count]),
    }


def crop_flip_distort(size: int, *, smallest_area: float, colour_strength: float) -> Augment:
    """SSD's augmentation: a patch that shows an object, resized, flipped half of the time, its colours distorted.

    PATCHES random patches (area `smallest_area` to 1, aspect ratio 1/2 to 2) are tried for each image. A patch is good
    for one of LEAST_OVERLAPS if it holds the centre of an object and overlaps an object by that IoU. One of the least
    overlaps that have a good patch, or the whole image, is drawn, all as likely, and the first patch that is good for
    it is taken. Objects whose centre lies outside the patch are dropped, the others clipped to it. Crowds are dropped;
    they are no training examples. The paper says random crop, flip and colour distortion; these forms are our choice.
    """

    def augment(examples: Example, seed: tf.Tensor) -> Example:
        images, boxes = examples["image"], examples["boxes"]
        count = tf.shape(images)[0]
        present = (examples["labels"] >= 0) & ~examples["crowd"]
        draws = tf.random.stateless_uniform([5, count], seed)
        tries = tf.random.stateless_uniform([4, count, PATCHES], seed + 1)
        patches = random_boxes(tries, smallest_area, 2.0)
        patch = _choose_patch(patches, boxes, present, draws[0])
        boxes, kept = _crop_boxes(boxes, present, patch)
        flip = draws[1] < 0.5
        mirrored = tf.stack([boxes[..., 0], 1 - boxes[..., 3], boxes[..., 2], 1 - boxes[..., 1]], axis=-1)
        boxes = tf.where(flip[:, None, None], mirrored, boxes)
        resized = _resize_patches(images, patch, size)
        resized = tf.compat.v1.where(flip, tf.reverse(resized, [2]), resized)  # 7 times as fast as v2's, with slices
        return {
            "image": to_pixels(distort_colours(resized, draws[2:5], colour_strength)),
            "boxes": tf.where(kept[..., None], boxes, 0.0),
            "labels": tf.where(kept, examples["labels"], -1),
        }

    return augment


def resize(size: int) -> Callable[[Example], Example]:
    """Evaluation: the whole image, `size` pixels square; boxes, being shares, stay; one image at a time."""

    def stage(example: Example) -> Example:
        whole = tf.constant([[0.0, 0.0, 1.0, 1.0]])
        return {**example, "image": to_pixels(_resize_patches(example["image"][None], whole, size))[0]}

    return stage


def _choose_patch(patches: tf.Tensor, boxes: tf.Tensor, present: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
    """The patch [count, 4] that `draw` [count] chooses, as `crop_flip_distort` says."""
    corners = [patches[:, :, None, i] for i in range(4)]
    objects = [boxes[:, None, :, i] for i in range(4)]
    height = tf.minimum(corners[2], objects[2]) - tf.maximum(corners[0], objects[0])
    width = tf.minimum(corners[3], objects[3]) - tf.maximum(corners[1], objects[1])
    shared = tf.maximum(height, 0.0) * tf.maximum(width, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (corners, objects)]
    overlap = shared / (areas[0] + areas[1] - shared)
    most = tf.reduce_max(tf.where(present[:, None], overlap, -1.0), axis=2)
    centred = _holds_centre(patches[:, :, None], boxes[:, None])
    shows = tf.reduce_any(centred & present[:, None], axis=2)
    good = shows[:, None] & (most[:, None] >= tf.constant(LEAST_OVERLAPS)[:, None])  # [count, overlaps, patches]
    whole = tf.constant([0.0, 0.0, 1.0, 1.0])
    first = tf.gather(patches, tf.argmax(good, axis=2), batch_dims=1)  # [count, overlaps, 4]
    possible = tf.pad(tf.reduce_any(good, axis=2), [[0, 0], [0, 1]], constant_values=True)
    options = tf.concat([first, tf.broadcast_to(whole, tf.shape(first[:, :1]))], axis=1)
    numbers = tf.cumsum(tf.cast(possible, tf.int32), axis=1)
    wanted = 1 + tf.cast(draw * tf.cast(numbers[:, -1], tf.float32), tf.int32)
    return tf.gather(options, tf.argmax(numbers >= wanted[:, None], axis=1), batch_dims=1)


def _holds_centre(patches: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    return tf.reduce_all((centres >= patches[..., :2]) & (centres < patches[..., 2:]), axis=-1)


def _crop_boxes(boxes: tf.Tensor, present: tf.Tensor, patch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Boxes [count, M, 4] as shares of their patch [count, 4], clipped to it; and which objects stay."""
    origin, extent = patch[:, None, :2], patch[:, None, 2:] - patch[:, None, :2]
    corners = [tf.clip_by_value((part - origin) / extent, 0.0, 1.0) for part in (boxes[..., :2], boxes[..., 2:])]
    solid = tf.reduce_all(corners[1] > corners[0], axis=-1)
    return tf.concat(corners, axis=-1), present & solid & _holds_centre(patch[:, None], boxes)


def _resize_patches(images: tf.Tensor, patches: tf.Tensor, size: int) -> tf.Tensor:
    """Patches of images, bilinearly resized to [count, size, size, channels] float32.

    `crop_and_resize` puts the first and last samples on the corners of a box of pixel centres; these boxes put each
    sample on the centre of its share of the patch, so that edges stay where the boxes say. Images are repeated by a
    pixel at their borders, between whose centre and the border an enlarged patch has samples too.
    """
    lengths = tf.cast(tf.shape(images)[1:3], tf.float32)
    start, extent = patches[:, :2] * lengths, (patches[:, 2:] - patches[:, :2]) * lengths
    half = extent / (2 * size)
    corners = tf.concat([start + half + 0.5, start + extent - half + 0.5], axis=1) / tf.tile(lengths + 1, [2])
    bordered = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    return tf.image.crop_and_resize(bordered, corners, tf.range(tf.shape(images)[0]), [size, size])
