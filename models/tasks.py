"""Loss and metric of each task: what a trial minimises and what its target is set on."""

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol, cast

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from models.detection import Detection
from models.images import to_floats
from models.resnet import BasicResNet, BottleneckResNet, CifarResNet, ResNet, ResNetConfig
from models.ssd import SSD, SSDConfig
from models.transformer import Transformer, TransformerConfig

Batch = Mapping[str, Any]
Params = Any
ModelState = Any


LOGITS_BYTES = 2**30
"""Most that the logits over a vocabulary take at a time, float32, on all devices together."""


class Task(Protocol):
    """What a trial needs of a model. `model_state` is what training changes without a gradient: batch statistics."""

    padding: ClassVar[Mapping[str, int]]
    """For each component of a batch, the value that marks examples to be ignored in evaluation."""

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Random parameters and the first state, for batches shaped like `batch`."""

    def loss(self, params: Params, model_state: ModelState, batch: Batch) -> tuple[jax.Array, ModelState]:
        """The training loss, a scalar, and the state after this batch."""

    def weight(self, batch: Batch) -> jax.Array:
        """What the loss over a batch is a mean over: parts of it count by that when gradients are accumulated."""

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> Any:
        """What the metric needs of one batch, computed on the device."""

    def metric(self, outputs: Sequence[Any], batches: Sequence[Batch]) -> float:
        """The metric over all batches, from what `evaluate` gave for each."""


class MeanMetric:
    """A metric that is a mean: `evaluate` gives a sum and a weight, which add up over batches."""

    def metric(self, outputs: Sequence[tuple[jax.Array, jax.Array]], batches: Sequence[Batch]) -> float:
        """The sums over the weights."""
        total, weight = map(sum, zip(*outputs, strict=True))
        return float(total) / float(weight)


@dataclass(frozen=True)
class LanguageModelling(MeanMetric):
    """Next-token prediction; batches `{"tokens": [batch, length]}` int32, 0 is padding and counts for nothing.

    Loss and metric are the cross-entropy in nats a token.
    """

    model: Transformer
    padding: ClassVar[Mapping[str, int]] = {"tokens": 0}

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Random parameters for batches shaped like `batch`; there is no state."""
        return self.model.init(key, batch["tokens"])["params"], {}

    def loss(self, params: Params, model_state: ModelState, batch: Batch) -> tuple[jax.Array, ModelState]:
        """Mean cross-entropy over the batch's tokens."""
        total, tokens = self.evaluate(params, model_state, batch)
        return total / jnp.maximum(tokens, 1), model_state

    def weight(self, batch: Batch) -> jax.Array:
        """The number of tokens."""
        return jnp.sum((batch["tokens"] > 0).astype(jnp.float32))

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Cross-entropy summed over tokens, and the number of tokens."""
        tokens = batch["tokens"]
        pieces = self._pieces(tokens)
        if pieces == 1:
            logits = cast(jax.Array, self.model.apply({"params": params}, tokens))
            return _cross_entropy(logits, tokens), self.weight(batch)
        hidden, embedding = cast(
            tuple[jax.Array, jax.Array], self.model.apply({"params": params}, tokens, hidden_only=True)
        )

        def piece(of_hidden: jax.Array, of_tokens: jax.Array) -> jax.Array:
            logits = of_hidden @ embedding.T.astype(of_hidden.dtype)  # float32 outside, where its gradients add up
            return _cross_entropy(logits.astype(jnp.float32), of_tokens)

        def cut(array: jax.Array) -> jax.Array:
            return jnp.moveaxis(array.reshape(len(array), pieces, -1, *array.shape[2:]), 1, 0)

        def add(total: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            return total + jax.checkpoint(piece, prevent_cse=False)(*part), None

        total, _ = jax.lax.scan(add, jnp.float32(0), (cut(hidden), cut(tokens)))
        return total, self.weight(batch)

    def _pieces(self, tokens: jax.Array) -> int:
        """Pieces of the sequences' length whose logits are made in turn, so that none takes over LOGITS_BYTES."""
        config = self.model.config
        length, needed = tokens.shape[1], 4 * tokens.size * config.vocab_size / LOGITS_BYTES
        if not config.tied_embedding:
            return 1
        return next(pieces for pieces in range(1, length + 1) if length % pieces == 0 and pieces >= min(needed, length))


def _cross_entropy(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Summed over the tokens that are no padding."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens)
    return jnp.sum(losses * (tokens > 0).astype(jnp.float32))


@dataclass(frozen=True)
class ImageClassification(MeanMetric):
    """Classification; batches `{"image": [batch, height, width, channels] uint8, "label": [batch] int32}`.

    Loss: cross-entropy with label smoothing, plus half the weight decay times the squared kernels. Metric: accuracy;
    a label of -1 is padding and counts for nothing.
    """

    model: nn.Module
    label_smoothing: float
    weight_decay: float
    padding: ClassVar[Mapping[str, int]] = {"image": 0, "label": -1}

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, ModelState]:
        """Random parameters and first batch statistics."""
        variables = self.model.init(key, to_floats(batch["image"]), training=True)
        return variables["params"], variables.get("batch_stats", {})

    def loss(self, params: Params, model_state: ModelState, batch: Batch) -> tuple[jax.Array, ModelState]:
        """Mean loss over the batch, and the batch statistics after it."""
        variables = {"params": params, "batch_stats": model_state}
        logits, changed = self.model.apply(variables, to_floats(batch["image"]), training=True, mutable=["batch_stats"])
        targets = optax.smooth_labels(jax.nn.one_hot(batch["label"], logits.shape[-1]), self.label_smoothing)
        squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
        loss = optax.softmax_cross_entropy(logits, targets).mean() + 0.5 * self.weight_decay * squares
        return loss, changed.get("batch_stats", {})

    def weight(self, batch: Batch) -> jax.Array:
        """The number of images."""
        return jnp.float32(len(batch["label"]))

    def evaluate(self, params: Params, model_state: ModelState, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Images classified rightly, and images."""
        variables = {"params": params, "batch_stats": model_state}
        logits: Any = self.model.apply(variables, to_floats(batch["image"]), training=False)
        labels = batch["label"]
        return jnp.sum(jnp.argmax(logits, -1) == labels), jnp.sum(labels >= 0)


def build(settings: Mapping[str, Any]) -> Task:
    """Makes the task that a workload's `config.model` describes.

    One that is not of this package is named as `package.module:function`, which takes the other settings.

    Raises:
      ValueError: there is no model of that name, or its settings are not these.
    """
    arguments = dict(settings)
    name = arguments.pop("name")
    if name in TASKS:
        return _called(name, TASKS[name], arguments)
    if ":" not in name:
        raise ValueError(f"model.name must be one of {', '.join(TASKS)} or package.module:function, got {name!r}")
    try:
        make = pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"model.name {name}: {error}") from error
    return _called(name, make, arguments)


def _transformer(**network: Any) -> Task:
    return LanguageModelling(Transformer(_called("transformer", TransformerConfig, network)))


def _resnet(name: str, network: type[ResNet], *, label_smoothing: float, weight_decay: float, **sizes: Any) -> Task:
    model = network(_called(name, ResNetConfig, sizes))
    return ImageClassification(model, label_smoothing=label_smoothing, weight_decay=weight_decay)


def _ssd(*, weight_decay: float, detections: int, init_from: str | None = None, **network: Any) -> Task:
    del init_from  # where its first values come from does not change the network
    model = SSD(_called("ssd", SSDConfig, network))
    return Detection(model=model, weight_decay=weight_decay, detections=detections)


def _called(name: str, make: Callable[..., Any], settings: Mapping[str, Any]) -> Any:
    try:
        inspect.signature(make).bind(**settings)
    except TypeError as error:
        raise ValueError(f"model.name {name} takes other settings than config.model has: {error}") from error
    return make(**settings)


TASKS: Mapping[str, Callable[..., Task]] = {
    "transformer": _transformer,
    "ssd": _ssd,
    "resnet_cifar": partial(_resnet, "resnet_cifar", CifarResNet),
    "resnet_basic": partial(_resnet, "resnet_basic", BasicResNet),
    "resnet_bottleneck": partial(_resnet, "resnet_bottleneck", BottleneckResNet),
}
