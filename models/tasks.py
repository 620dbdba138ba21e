"""Loss and metric of each task: what a trial minimises and what its target is set on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from models.transformer import Transformer, TransformerConfig

Batch = Mapping[str, Any]
Params = Any


@dataclass(frozen=True)
class LanguageModelling:
    """Next-token prediction; batches `{"tokens": [batch, length]}` int32, 0 is padding and counts for nothing.

    Loss and metric are the cross-entropy in nats a token.
    """

    model: Transformer

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Random parameters for batches shaped like `batch`."""
        return self.model.init(key, batch["tokens"])["params"]

    def loss(self, params: Params, batch: Batch) -> jax.Array:
        """Mean cross-entropy over the batch's tokens, a scalar."""
        total, tokens = self.evaluate(params, batch)
        return total / jnp.maximum(tokens, 1)

    def evaluate(self, params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Cross-entropy summed over tokens, and the number of tokens; over all batches, their ratio is the metric."""
        tokens = batch["tokens"]
        logits = self.model.apply({"params": params}, tokens)
        weights = (tokens > 0).astype(jnp.float32)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens)
        return jnp.sum(losses * weights), jnp.sum(weights)


def build(settings: Mapping[str, Any]) -> LanguageModelling:
    """Makes the task that a workload's `config.model` describes."""
    arguments = dict(settings)
    name = arguments.pop("name")
    if name != "transformer":
        raise ValueError(f"model.name must be transformer, got {name!r}")
    return LanguageModelling(Transformer(TransformerConfig(**arguments)))
