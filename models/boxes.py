"""Box arithmetic of single-shot detection (Liu et al. 2016).

Boxes are float32 [..., 4] as (top, left, bottom, right), each a share of the image's height or width. Default boxes
are in centre form, (centre row, centre column, height, width), in the same units. N default boxes, M objects of an
image, padded; K detections.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


def default_boxes(
    map_sizes: Sequence[int], scales: Sequence[float], aspect_ratios: Sequence[Sequence[float]]
) -> np.ndarray:
    """All default boxes, [N, 4] in centre form, map by map, row by row, column by column.

    Each cell of map k has a square of side `scales[k]`, one of side sqrt(scales[k] * scales[k + 1]), and two boxes of
    the first one's area for each of `aspect_ratios[k]`, lying and standing. `scales` has one more entry than there
    are maps.
    """
    boxes = []
    for k, size in enumerate(map_sizes):
        side, between = scales[k], math.sqrt(scales[k] * scales[k + 1])
        shapes = [(side, side), (between, between)]
        for ratio in aspect_ratios[k]:
            longer, shorter = side * math.sqrt(ratio), side / math.sqrt(ratio)
            shapes += [(shorter, longer), (longer, shorter)]
        for row, column in itertools.product(range(size), repeat=2):
            boxes += [((row + 0.5) / size, (column + 0.5) / size, *shape) for shape in shapes]
    return np.array(boxes, np.float32)


def corners(centred: jax.Array) -> jax.Array:
    """Centre form to corners."""
    centres, sizes = centred[..., :2], centred[..., 2:]
    return jnp.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)


def encode(boxes: jax.Array, defaults: jax.Array) -> jax.Array:
    """Offsets of boxes from default boxes, both [..., 4]: of the centre in box sizes, of the size as a logarithm.

    Each is divided by its variance, 0.1 and 0.2, so that all have about unit size. Boxes must not be empty.
    """
    centres, sizes = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    shifts = (centres - defaults[..., :2]) / defaults[..., 2:] / CENTRE_VARIANCE
    return jnp.concatenate([shifts, jnp.log(sizes / defaults[..., 2:]) / SIZE_VARIANCE], axis=-1)


def decode(offsets: jax.Array, defaults: jax.Array) -> jax.Array:
    """The boxes whose `encode` gives these offsets."""
    centres = offsets[..., :2] * CENTRE_VARIANCE * defaults[..., 2:] + defaults[..., :2]
    sizes = jnp.exp(offsets[..., 2:] * SIZE_VARIANCE) * defaults[..., 2:]
    return corners(jnp.concatenate([centres, sizes], axis=-1))


def intersection_over_union(a: jax.Array, b: jax.Array) -> jax.Array:
    """IoU of each box of a [n, 4] with each of b [m, 4]: [n, m]; 0 where both are empty."""
    top_left = jnp.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = jnp.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = jnp.prod(jnp.maximum(bottom_right - top_left, 0), axis=-1)
    areas_a, areas_b = (jnp.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (a, b))
    union = areas_a[:, None] + areas_b[None] - shared
    return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1), 0)


def match(defaults: jax.Array, boxes: jax.Array, present: jax.Array, threshold: float = 0.5) -> jax.Array:
    """The object that each default box answers for: [N] int32, -1 for none.

    A default box takes the object it overlaps most, if their IoU is above the threshold. Besides, every object gets
    the default box that overlaps it most; where two objects share that one, the later object has it.

    Args:
      defaults: [N, 4] in centre form.
      boxes: [M, 4]; `present` [M] tells objects from padding.
    """
    overlaps = jnp.where(present, intersection_over_union(corners(defaults), boxes), -1.0)
    nearest = jnp.where(overlaps.max(1) > threshold, overlaps.argmax(1), -1)
    is_best = (jnp.arange(len(defaults))[:, None] == overlaps.argmax(0)) & present
    claimed = jnp.where(is_best, jnp.arange(len(boxes)), -1).max(1)
    return jnp.where(claimed >= 0, claimed, nearest).astype(jnp.int32)


def hard_negatives(background_loss: jax.Array, positive: jax.Array, ratio: int = 3) -> jax.Array:
    """Marks the default boxes without an object that count in the loss: [N] bool.

    Those with the highest background loss, `ratio` times as many as there are positives.
    """
    losses = jnp.where(positive, -jnp.inf, background_loss)
    rank = jnp.argsort(jnp.argsort(-losses))
    return (rank < ratio * positive.sum()) & ~positive


def suppress(boxes: jax.Array, scores: jax.Array, threshold: float = 0.5) -> jax.Array:
    """Non-maximum suppression of one class: the scores [K], 0 where a better box overlaps by more than `threshold`.

    `boxes` [K, 4] are in order of falling score; boxes of score 0 suppress nothing.
    """
    overlapping = intersection_over_union(boxes, boxes) > threshold
    later = jnp.arange(len(scores))[None] > jnp.arange(len(scores))[:, None]

    def keep(i: int, kept: jax.Array) -> jax.Array:
        return jnp.where(overlapping[i] & later[i] & (kept[i] > 0), 0.0, kept)

    return jax.lax.fori_loop(0, len(scores), keep, scores)


def detections(
    probabilities: jax.Array, boxes: jax.Array, *, per_class: int, per_image: int, least_score: float = 0.01
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """An image's detections after suppression in each class, in order of falling score.

    Args:
      probabilities: [N, classes], background left out.
      boxes: [N, 4].
      per_class: candidates a class; per_image: detections an image.
      least_score: candidates below it are dropped.

    Returns:
      boxes [per_image, 4], scores [per_image] (0 is padding) and classes [per_image] int32.
    """
    scores, chosen = jax.lax.top_k(probabilities.T, per_class)
    scores = jnp.where(scores >= least_score, scores, 0.0)
    candidates = boxes[chosen]
    kept = jax.vmap(suppress)(candidates, scores)
    best, order = jax.lax.top_k(kept.reshape(-1), per_image)
    return candidates.reshape(-1, 4)[order], best, (order // per_class).astype(jnp.int32)
