"""The compiled functions of one model, the same for every trial of it."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.protocol.study import ConfigError
from models import memory, tasks
from models.detection import Detection

Batch = Mapping[str, np.ndarray]


class TrainState(NamedTuple):
    """What an update changes: parameters, state that is not trained (batch statistics), velocity."""

    params: Any
    model_state: Any
    velocity: Any


class CompiledModel:
    """The compiled functions of one model; shared by all trials, whatever their metaparameters and variant.

    Batches are split over the devices of all processes, parameters are copied to each. `rematerialise` and
    `gradient_accumulation` are as `settings.make` says; `devices` are others than this process has, to compile for.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        nesterov: bool,
        rematerialise: bool = False,
        gradient_accumulation: int = 1,
        devices: Sequence[Any] | None = None,
    ) -> None:
        self._task = tasks.build(model)
        self._nesterov, self._rematerialise, self._parts = nesterov, rematerialise, gradient_accumulation
        self._virtual_batch = model.get("ghost_batch_size", 1)
        if self._parts > 1 and self._virtual_batch is None:
            raise ConfigError("gradient_accumulation must be 1 where the whole batch is normalised together")
        mesh = Mesh(np.array(devices or jax.devices()), ("batch",))
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._split = NamedSharding(mesh, PartitionSpec("batch"))
        self.devices = mesh.size
        # LLVM needs a tenth of the time at this level, for the same numbers: an initialisation runs once.
        quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
        self.init = jax.jit(self._init, out_shardings=self._replicated, compiler_options=quick)
        self.update = jax.jit(self._update, donate_argnums=0)
        self._evaluate_batch = jax.jit(self._task.evaluate, out_shardings=self._replicated)
        self._replicate = jax.jit(lambda parts: parts, out_shardings=self._replicated)

    def pad(self, batch: Batch) -> Batch:
        """Appends examples that evaluation ignores until the batch splits evenly over the devices."""
        return {name: _padded(array, self.devices, self._task.padding[name]) for name, array in batch.items()}

    def put(self, batch: Batch) -> Batch:
        """Sends this process's part of a batch to its devices."""
        if jax.process_count() == 1:
            return jax.device_put(batch, self._split)
        send = functools.partial(jax.make_array_from_process_local_data, self._split)
        return {name: part if isinstance(part, jax.Array) else send(part) for name, part in batch.items()}

    def put_whole(self, batch: Batch) -> Mapping[str, Any]:
        """Sends what is its own devices' of a batch that every process has."""
        return {
            name: jax.make_array_from_callback(part.shape, self._split, part.__getitem__)
            for name, part in batch.items()
        }

    def abstract_state(self, batch: Mapping[str, jax.ShapeDtypeStruct]) -> TrainState:
        """Shapes, types and shardings of the state that batches of these shapes lead to."""
        return _placed(jax.eval_shape(self.init, 0, batch), self._replicated)

    def lowered(self, batch: Mapping[str, jax.ShapeDtypeStruct]) -> jax.stages.Lowered:
        """The update on batches of these shapes, to be compiled and not run."""
        point = dict.fromkeys(("learning_rate", "momentum"), jax.ShapeDtypeStruct((), jnp.float32))
        return self.update.lower(self.abstract_state(batch), _placed(batch, self._split), point)

    def backbone(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Shapes of the variables that may be given to `init`, by path; of a model whose settings have `init_from`."""
        return cast(Detection, self._task).backbone()

    def _init(self, seed: int, batch: Batch, given: Mapping[str, jax.Array] | None = None) -> TrainState:
        """The first state: random but for the variables that are given, by path."""
        params, model_state = self._task.init(jax.random.key(seed), batch)
        if given:
            made = flatten_dict({"params": params, "batch_stats": model_state}, sep="/")
            params, model_state = map(unflatten_dict(made | given, sep="/").get, ("params", "batch_stats"))
        return TrainState(params, model_state, optax.sgd(0.0, momentum=0.0).init(params))

    def _update(self, state: TrainState, batch: Batch, point: Mapping[str, jax.Array]) -> tuple[TrainState, jax.Array]:
        """One SGD step with momentum, Nesterov's or the heavy ball's (section 3.1); returns the loss before it."""
        optimizer = optax.sgd(point["learning_rate"], momentum=point["momentum"], nesterov=self._nesterov)
        (loss, model_state), gradients = self._loss_and_gradients(state, batch)
        updates, velocity = optimizer.update(gradients, state.velocity)
        return TrainState(optax.apply_updates(state.params, updates), model_state, velocity), loss

    def _loss_and_gradients(self, state: TrainState, batch: Batch) -> Any:
        loss = memory.rematerialised(self._task.loss) if self._rematerialise else self._task.loss
        loss_and_gradients = jax.value_and_grad(loss, has_aux=True)
        if self._parts == 1:
            return loss_and_gradients(state.params, state.model_state, batch)

        def add(total: Any, part: Batch) -> tuple[Any, None]:
            (loss, model_state), gradients = loss_and_gradients(state.params, state.model_state, part)
            weight = self._task.weight(part)
            scaled = jax.tree.map(lambda leaf: weight * leaf, (loss, gradients))
            return jax.tree.map(jnp.add, total, (scaled, model_state, weight)), None

        nothing = jax.tree.map(
            jnp.zeros_like, ((jnp.float32(0), state.params), state.model_state, self._task.weight(batch))
        )
        (sums, model_states, weight), _ = jax.lax.scan(add, nothing, jax.tree.map(self._in_parts, batch))
        loss, gradients = jax.tree.map(lambda leaf: leaf / jnp.maximum(weight, 1), sums)
        return (loss, jax.tree.map(lambda leaf: leaf / self._parts, model_states)), gradients

    def _in_parts(self, array: jax.Array) -> jax.Array:
        """[batch, ...] as [parts, batch / parts, ...], each part with its share on each device."""
        size, least = len(array), self.devices * self._parts * self._virtual_batch
        if size % least:
            raise ConfigError(
                f"a batch of {size:,} is not {self._parts} parts of whole virtual batches on {self.devices} devices; "
                f"multiples of {least:,} are"
            )
        by_device = array.reshape(self.devices, self._parts, -1, *array.shape[1:])
        parts = jnp.moveaxis(by_device, 1, 0).reshape(self._parts, -1, *array.shape[1:])
        return jax.lax.with_sharding_constraint(parts, NamedSharding(self._split.mesh, PartitionSpec(None, "batch")))

    def outputs(self, state: TrainState, batches: list[Batch]) -> list[Any]:
        """What the model says on validation batches, as the task's `evaluate` describes it."""
        return [self._evaluate_batch(state.params, state.model_state, batch) for batch in batches]

    def evaluate(self, state: TrainState, batches: list[Batch]) -> float:
        """The metric over all validation batches."""
        truth = batches if jax.process_count() == 1 else [_Gathered(batch, self._replicate) for batch in batches]
        return self._task.metric(self.outputs(state, batches), truth)


class _Gathered(Mapping[str, jax.Array]):
    """A batch whose parts lie on devices of several processes; those that are looked at are gathered."""

    def __init__(self, batch: Batch, gather: Callable[[Any], Any]) -> None:
        self._batch, self._gather = batch, gather

    def __getitem__(self, name: str) -> jax.Array:
        return self._gather(self._batch[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch)

    def __len__(self) -> int:
        return len(self._batch)


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


def _padded(array: np.ndarray, multiple: int, value: int) -> np.ndarray:
    missing = -len(array) % multiple
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1), constant_values=value)
