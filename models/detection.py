"""Object detection: SSD's loss, and COCO's mean average precision as the metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from models import boxes
from models.images import to_floats
from models.ssd import SSD, backbone

Batch = Mapping[str, Any]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
"""Of COCO's metric."""


@dataclass(frozen=True)
class Detection:
    """Detection of objects of known classes.

    Batches: `image` [batch, size, size, 3] uint8, `boxes` [batch, M, 4] float32 (top, left, bottom, right, shares of
    the image), `labels` [batch, M] int32 with -1 for padding; for evaluation also `crowd` [batch, M] bool and
    `image_id` [batch] int64, of which -1 marks padding.

    Loss: cross-entropy of the classes, over default boxes that answer for an object and three times as many of the
    hardest others, plus the smooth L1 distance of the offsets; over the number of answering boxes in the batch; plus
    half the weight decay times the squared kernels. Metric: mAP at IoU
    0.50 to 0.95, of the `detections` with the highest scores in each image, chosen from as many candidates a class;
    COCO looks at 100.
    """

    model: SSD
    weight_decay: float
    detections: int
    padding: ClassVar[Mapping[str, int]] = {"image": 0, "boxes": 0, "labels": -1, "crowd": 0, "image_id": -1}

    def init(self, key: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Random parameters and first batch statistics."""
        variables = self.model.init(key, to_floats(batch["image"]), training=True)
        return variables["params"], variables["batch_stats"]

    def backbone(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of the variables that may come from a classifier, by path."""
        return backbone(self.model.config)

    def loss(self, params: Any, model_state: Any, batch: Batch) -> tuple[jax.Array, Any]:
        """The loss over the batch, and the batch statistics after it."""
        variables = {"params": params, "batch_stats": model_state}
        (logits, offsets), changed = self.model.apply(
            variables, to_floats(batch["image"]), training=True, mutable=["batch_stats"]
        )
        defaults = jnp.asarray(self.model.config.default_boxes)
        present = batch["labels"] >= 0
        losses, positives = jax.vmap(_image_loss, in_axes=(0, 0, None, 0, 0, 0))(
            logits, offsets, defaults, batch["boxes"], batch["labels"], present
        )
        squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
        loss = losses.sum() / jnp.maximum(positives.sum(), 1) + 0.5 * self.weight_decay * squares
        return loss, changed["batch_stats"]

    def weight(self, batch: Batch) -> jax.Array:
        """The number of default boxes that answer for an object."""
        match = jax.vmap(boxes.match, in_axes=(None, 0, 0))
        answers = match(jnp.asarray(self.model.config.default_boxes), batch["boxes"], batch["labels"] >= 0)
        return jnp.sum(answers >= 0).astype(jnp.float32)

    def evaluate(self, params: Any, model_state: Any, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Detections, K an image: boxes [batch, K, 4], scores and classes [batch, K]."""
        variables = {"params": params, "batch_stats": model_state}
        logits, offsets = cast(
            tuple[jax.Array, jax.Array], self.model.apply(variables, to_floats(batch["image"]), training=False)
        )
        found = boxes.decode(offsets, jnp.asarray(self.model.config.default_boxes))
        found = jnp.clip(found, 0, 1)
        probabilities = jax.nn.softmax(logits)[..., 1:]
        candidates = min(self.detections, probabilities.shape[1])

        def one(chances: jax.Array, places: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            return boxes.detections(chances, places, per_class=candidates, per_image=self.detections)

        return jax.vmap(one)(probabilities, found)

    def metric(self, outputs: Sequence[Any], batches: Sequence[Batch]) -> float:
        """mAP over all batches."""
        found = [np.concatenate([np.asarray(output[i]) for output in outputs]) for i in range(3)]
        names = ("image_id", "boxes", "labels", "crowd")
        truth = {name: np.concatenate([np.asarray(batch[name]) for batch in batches]) for name in names}
        real = truth["image_id"] >= 0
        return mean_average_precision({name: array[real] for name, array in truth.items()}, *(a[real] for a in found))


def _image_loss(
    logits: jax.Array,
    offsets: jax.Array,
    defaults: jax.Array,
    objects: jax.Array,
    labels: jax.Array,
    present: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Summed loss of one image, and how many default boxes answer for an object."""
    answers = boxes.match(defaults, objects, present)
    positive = answers >= 0
    classes = jnp.where(positive, labels[answers] + 1, 0)
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, classes)
    background = -jax.nn.log_softmax(logits)[:, 0]
    counted = positive | boxes.hard_negatives(jax.lax.stop_gradient(background), positive)
    whole = jnp.array([0.0, 0.0, 1.0, 1.0])  # keeps the logarithm of a padded box finite
    wanted = boxes.encode(jnp.where(positive[:, None], objects[answers], whole), defaults)
    distance = optax.huber_loss(offsets, wanted).sum(-1)
    return jnp.where(counted, cross_entropy, 0).sum() + jnp.where(positive, distance, 0).sum(), positive.sum()


def mean_average_precision(
    truth: Mapping[str, np.ndarray], found: np.ndarray, scores: np.ndarray, classes: np.ndarray
) -> float:
    """COCO's mAP at IoU 0.50 to 0.95, as pycocotools computes it, on 5,000 images within a second.

    IoU does not change when height and width are scaled apart, so boxes may stay shares of their images.

    Args:
      truth: `image_id` [n], `boxes` [n, M, 4], `labels` [n, M] (-1 padding) and `crowd` [n, M].
      found: boxes [n, K, 4]; `scores` [n, K], 0 for padding; `classes` [n, K].
    """
    order = np.argsort(truth["image_id"], kind="stable")
    labels, crowd, objects = (truth[name][order] for name in ("labels", "crowd", "boxes"))
    found, scores, classes = found[order], scores[order], classes[order]
    images, places = np.nonzero(labels >= 0)
    rows, ranks = np.nonzero(scores > 0)
    if not len(rows) or not len(images):
        return 0.0
    count = 1 + max(int(labels.max()), int(classes[rows, ranks].max()))
    expected = _sorted_into_cells(
        images * count + labels[images, places], crowd[images, places], _left_top_width_height(objects[images, places])
    )
    own_cells, own_scores = rows * count + classes[rows, ranks], scores[rows, ranks].astype(np.float64)
    detected = _sorted_into_cells(own_cells, -own_scores, _left_top_width_height(found[rows, ranks]))
    matched, ignored = _match(detected, expected)
    precision = [
        _precision(detected, matched, ignored, number, int(np.count_nonzero(wanted)), count)
        for number in np.unique(expected.cells % count)
        if (wanted := (expected.cells % count == number) & (expected.keys == 0)).any()
    ]
    return float(np.stack(precision, axis=-1).mean()) if precision else 0.0


@dataclass(frozen=True)
class _Boxes:
    """Boxes by cell, an image and a class: `cells` [n] ascending, `keys` [n] ascending in each, `sides` [n, 4]."""

    cells: np.ndarray
    keys: np.ndarray
    sides: np.ndarray


def _sorted_into_cells(cells: np.ndarray, keys: np.ndarray, sides: np.ndarray) -> _Boxes:
    order = np.lexsort((keys, cells))
    return _Boxes(cells[order], keys[order], sides[order])


def _match(detected: _Boxes, expected: _Boxes) -> tuple[np.ndarray, np.ndarray]:
    """Which detections [thresholds, n] answer for an object, and which for a crowd, so that they do not count.

    In the order of their scores, each takes the object of its cell with the largest IoU that none before it has taken,
    of equal ones the last; if there is none, a crowd, which takes any number.
    """
    shape = len(THRESHOLDS), len(detected.cells)
    matched, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    taken = np.zeros((len(THRESHOLDS), len(expected.cells)), bool)
    is_crowd = expected.keys > 0
    first, end = (np.searchsorted(expected.cells, detected.cells, side) for side in ("left", "right"))
    rank = np.arange(shape[1]) - np.searchsorted(detected.cells, detected.cells)
    comparable = np.flatnonzero(end > first)
    by_rank = comparable[np.argsort(rank[comparable], kind="stable")]
    for current in np.split(by_rank, np.flatnonzero(np.diff(rank[by_rank])) + 1):
        if not len(current):
            continue
        sizes = (end - first)[current]
        starts = np.cumsum(sizes) - sizes
        objects = np.arange(sizes.sum()) - np.repeat(starts - first[current], sizes)
        iou = _iou(detected.sides[np.repeat(current, sizes)], expected.sides[objects], is_crowd[objects])
        for crowds in (False, True):
            free = (is_crowd[objects] == crowds) & (iou >= THRESHOLDS[:, None])
            if not crowds:
                free &= ~taken[:, objects]
            best = np.maximum.reduceat(np.where(free, iou, -1), starts, axis=1)
            chosen = free & (iou == np.repeat(best, sizes, axis=1))
            last = np.maximum.reduceat(np.where(chosen, objects, -1), starts, axis=1)
            last[matched[:, current]] = -1
            levels, columns = np.nonzero(last >= 0)
            matched[levels, current[columns]] = True
            ignored[levels, current[columns]] = crowds
            taken[levels, last[levels, columns]] |= not crowds
    return matched, ignored


def _iou(ours: np.ndarray, theirs: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Intersection over union of sides [n, 4]; over our area alone where theirs is a crowd."""
    low = np.maximum(ours[:, :2], theirs[:, :2])
    high = np.minimum(ours[:, :2] + ours[:, 2:], theirs[:, :2] + theirs[:, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    our_area, their_area = ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]
    union = np.where(crowd, our_area, our_area + their_area - common)
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def _precision(
    detected: _Boxes, matched: np.ndarray, ignored: np.ndarray, number: int, objects: int, count: int
) -> np.ndarray:
    """Precision [thresholds, recalls] of one class."""
    own = np.flatnonzero(detected.cells % count == number)
    own = own[np.argsort(detected.keys[own], kind="stable")]
    right = np.cumsum(matched[:, own] & ~ignored[:, own], axis=1, dtype=np.float64)
    wrong = np.cumsum(~matched[:, own] & ~ignored[:, own], axis=1, dtype=np.float64)
    precision = right / np.maximum(right + wrong, 1)
    falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.pad(falling, [(0, 0), (0, 1)])
    places = [np.searchsorted(recall, RECALLS, side="left") for recall in right / objects]
    return np.take_along_axis(padded, np.stack(places), axis=1)


def _left_top_width_height(corners: np.ndarray) -> np.ndarray:
    top, left, bottom, right = np.moveaxis(corners.astype(np.float64), -1, 0)
    return np.stack([left, top, right - left, bottom - top], axis=-1)
