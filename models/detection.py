"""Object detection: SSD's loss, and COCO's mean average precision as the metric."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from models import boxes
from models.images import to_floats
from models.ssd import SSD

Batch = Mapping[str, Any]


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
    """COCO's mAP at IoU 0.50 to 0.95, as pycocotools computes it.

    IoU does not change when height and width are scaled apart, so boxes may stay shares of their images.

    Args:
      truth: `image_id` [n], `boxes` [n, M, 4], `labels` [n, M] (-1 padding) and `crowd` [n, M].
      found: boxes [n, K, 4]; `scores` [n, K], 0 for padding; `classes` [n, K].
    """
    from faster_coco_eval import COCO, COCOeval_faster  # imported by processes that detect only

    annotations: list[dict[str, Any]] = []
    for image, objects, labels, crowd in zip(
        *(truth[k] for k in ("image_id", "boxes", "labels", "crowd")), strict=True
    ):
        for i in np.flatnonzero(labels >= 0):
            sides = _left_top_width_height(objects[i]).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": int(image),
                    "category_id": int(labels[i]) + 1,
                    "bbox": sides,
                    "area": sides[2] * sides[3],
                    "iscrowd": int(crowd[i]),
                }
            )
    images = [{"id": int(image)} for image in truth["image_id"]]
    classes_present = np.unique(truth["labels"][truth["labels"] >= 0])
    categories = [{"id": int(label) + 1, "name": str(label)} for label in classes_present]
    rows, ranks = np.nonzero(scores > 0)
    if not len(rows) or not annotations:
        return 0.0
    results = np.column_stack(
        [
            truth["image_id"][rows],
            _left_top_width_height(found[rows, ranks]),
            scores[rows, ranks],
            classes[rows, ranks] + 1,
        ]
    ).astype(np.float64)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO({"images": images, "categories": categories, "annotations": annotations})
        evaluation = COCOeval_faster(expected, expected.loadRes(results), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]  # small, medium, large left out
        evaluation.params.maxDets = [found.shape[1]]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    known = precision[precision >= 0]  # -1 marks classes without objects
    return float(known.mean()) if known.size else 0.0


def _left_top_width_height(corners: np.ndarray) -> np.ndarray:
    top, left, bottom, right = np.moveaxis(corners.astype(np.float64), -1, 0)
    return np.stack([left, top, right - left, bottom - top], axis=-1)
