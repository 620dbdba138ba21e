"""Updates of a model as a trial takes them, for timing."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments.protocol.model import Batch, CompiledModel

UPDATES = 20
POINT = {"learning_rate": jnp.float32(0.1), "momentum": jnp.float32(0.9)}


class Updates:
    """Updates of one model as a trial takes them, on the batches it is given."""

    def __init__(self, model: Mapping[str, Any], batch: Batch, nesterov: bool = True) -> None:
        self._model = CompiledModel(model, nesterov)
        self.constant = self._model.put(batch)
        self.state = self._model.init(0, self.constant)
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
        costs = self._model.update.lower(self.state, self.constant, POINT).compile().cost_analysis()
        self.operations = costs["flops"] if costs else math.nan

    def run(self, updates: int, batches: Iterator[Batch] | None = None) -> None:
        """Takes `updates` updates, on the constant batch if there are no others."""
        self.state, pending = self._model.update(self.state, self.constant, POINT)
        for _ in range(updates - 1):
            batch = self._model.put(next(batches)) if batches else self.constant
            self.state, loss = self._model.update(self.state, batch, POINT)
            float(pending)
            pending = loss
        float(pending)
