"""The compiled functions of one model, the same for every trial of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from models import tasks

Batch = Mapping[str, np.ndarray]


class TrainState(NamedTuple):
    """What an update changes: parameters, state that is not trained (batch statistics), velocity."""

    params: Any
    model_state: Any
    velocity: Any


class CompiledModel:
    """The compiled functions of one model; shared by all trials, whatever their metaparameters and variant.

    Batches are split over the devices of this process, parameters are copied to each.
    """

    def __init__(self, model: Mapping[str, Any], nesterov: bool) -> None:
        self._task = tasks.build(model)
        self._nesterov = nesterov
        mesh = Mesh(np.array(jax.local_devices()), ("batch",))
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._split = NamedSharding(mesh, PartitionSpec("batch"))
        self.devices = mesh.size
        # LLVM needs a tenth of the time at this level, for the same numbers: an initialisation runs once.
        quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
        self.init = jax.jit(self._init, out_shardings=self._replicated, compiler_options=quick)
        self.update = jax.jit(self._update, donate_argnums=0)
        self._evaluate_batch = jax.jit(self._task.evaluate)

    def pad(self, batch: Batch) -> Batch:
        """Appends examples that evaluation ignores until the batch splits evenly over the devices."""
        return {name: _padded(array, self.devices, self._task.padding[name]) for name, array in batch.items()}

    def put(self, batch: Batch) -> Batch:
        """Sends a batch to the devices."""
        return jax.device_put(batch, self._split)

    def _init(self, seed: int, batch: Batch) -> TrainState:
        params, model_state = self._task.init(jax.random.key(seed), batch)
        return TrainState(params, model_state, optax.sgd(0.0, momentum=0.0).init(params))

    def _update(self, state: TrainState, batch: Batch, point: Mapping[str, jax.Array]) -> tuple[TrainState, jax.Array]:
        """One SGD step with momentum, Nesterov's or the heavy ball's (section 3.1); returns the loss before it."""
        optimizer = optax.sgd(point["learning_rate"], momentum=point["momentum"], nesterov=self._nesterov)
        loss_and_gradients = jax.value_and_grad(self._task.loss, has_aux=True)
        (loss, model_state), gradients = loss_and_gradients(state.params, state.model_state, batch)
        updates, velocity = optimizer.update(gradients, state.velocity)
        return TrainState(optax.apply_updates(state.params, updates), model_state, velocity), loss

    def outputs(self, state: TrainState, batches: list[Batch]) -> list[Any]:
        """What the model says on validation batches, as the task's `evaluate` describes it."""
        return [self._evaluate_batch(state.params, state.model_state, batch) for batch in batches]

    def evaluate(self, state: TrainState, batches: list[Batch]) -> float:
        """The metric over all validation batches."""
        return self._task.metric(self.outputs(state, batches), batches)


def _padded(array: np.ndarray, multiple: int, value: int) -> np.ndarray:
    missing = -len(array) % multiple
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1), constant_values=value)
