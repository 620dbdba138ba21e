"""Trains one trial until its target, its divergence, its bound or its budget."""

import contextlib
import functools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import tensorflow as tf
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.protocol.study import ConfigError, EngineError, Measurement, Status, Study, TrialResult
from models import tasks
from pipelines.echoing import datasets, stages
from pipelines.sources import registry
from pipelines.sources.source import Source

Batch = Mapping[str, np.ndarray]


class TrialDiverged(Exception):
    """The training loss or the metric became non-finite or exploded; carries the update at which it did."""

    def __init__(self, sgd_steps: int) -> None:
        super().__init__(f"diverged at update {sgd_steps}")
        self.sgd_steps = sgd_steps


class TrainState(NamedTuple):
    """What an update changes: parameters, state that is not trained (batch statistics), velocity."""

    params: Any
    model_state: Any
    velocity: Any


class Trainer:
    """The compiled functions of one model; shared by all trials, whatever their metaparameters and variant.

    Batches are split over the devices of this process, parameters are copied to each.
    """

    def __init__(self, model: Mapping[str, Any], nesterov: bool = True) -> None:
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


@functools.lru_cache(maxsize=4)
def _trainer(model_json: str, nesterov: bool) -> Trainer:
    return Trainer(json.loads(model_json), nesterov)


@functools.lru_cache(maxsize=2)
def _source(data_json: str) -> Source:
    # The host's pipeline must not claim the memory of the accelerator that JAX trains on.
    tf.config.set_visible_devices([], "GPU")
    return registry.load(json.loads(data_json))


@functools.lru_cache(maxsize=2)
def _validation(trainer: Trainer, data_json: str, batch_size: int) -> list[Batch]:
    dataset = _source(data_json).validation().batch(batch_size)
    return [trainer.put(trainer.pad(batch)) for batch in dataset.as_numpy_iterator()]


def open_study(study: Study) -> tuple[Trainer, list[Batch]]:
    """The compiled functions and the validation batches of a study; made once a process and setting.

    Raises:
      ConfigError: the model or the source rejects its settings.
    """
    model_json, data_json = (json.dumps(study.config[key], sort_keys=True) for key in ("model", "data"))
    try:
        trainer = _trainer(model_json, study.config.get("nesterov", True))
        return trainer, _validation(trainer, data_json, study.config["eval_batch_size"])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{study.workload}: {error}") from error


def open_source(study: Study) -> Source:
    """The source of a study; opened once a process and setting."""
    return _source(json.dumps(study.config["data"], sort_keys=True))


def pipeline(study: Study, seed: int, counter: stages.ReadCounter) -> tf.data.Dataset:
    """The study's training batches, a function of `seed`; `counter` counts the examples that they are made of."""
    source = open_source(study)
    settings = stages.Stages(
        study.variant, study.echo_factor, study.batch_size, study.shuffle_buffer, study.repeated_batch_buffer
    )
    return stages.build(counter.count(source.train(seed)), settings, seed=seed, augment=source.augment)


@contextlib.contextmanager
def pipeline_errors(study: Study) -> Iterator[None]:
    """Tells what the input pipeline raises, such as a damaged image or file, in one line.

    Raises:
      EngineError: instead of TensorFlow's own.
    """
    try:
        yield
    except tf.errors.OpError as error:
        told = datasets.in_one_line(error)
        raise EngineError(f"{study.name}: the input pipeline failed: {told}; finished trials are kept") from None


def device() -> dict[str, str]:
    """What this process trains on."""
    devices = jax.local_devices()
    return {"device": f"{len(devices)} x {devices[0].device_kind}"}


def run(
    study: Study,
    search: int,
    index: int,
    point: Mapping[str, float],
    *,
    bound_steps: Callable[[], int | None],
    record: Callable[[Measurement], None],
) -> TrialResult:
    """Trains one trial.

    Args:
      study: the setting; `search` and `index` pick the seeds of its initialisation and its pipeline.
      point: its metaparameters.
      bound_steps: asked before each evaluation for the update after which the trial cannot win any more.
      record: receives each measurement as it is made.

    Returns:
      The result; divergence is one, not an error, also after the target was reached.
    """
    started = time.monotonic()
    counter = stages.ReadCounter()
    trainer, validation = open_study(study)
    batches = pipeline(study, study.seed("data", search, index), counter).as_numpy_iterator()

    def evaluate(state: TrainState, step: int) -> Measurement:
        measurement = Measurement(step, trainer.evaluate(state, validation))
        if not math.isfinite(measurement.value):
            raise TrialDiverged(step)
        record(measurement)
        return measurement

    def result(status: Status, step: int, steps_to_target: int | None = None) -> TrialResult:
        return TrialResult(status, step, steps_to_target, counter.examples, time.monotonic() - started)

    steps_to_target = None
    try:
        for step, state in _updates(trainer, study, batches, point, study.seed("init", search, index)):
            bound = bound_steps()
            if study.reaches_target(evaluate(state, step).value) and steps_to_target is None:
                steps_to_target = step
                if study.bound:
                    break
            elif bound is not None and step >= bound:
                return result("bounded", step)
    except TrialDiverged as diverged:
        return result("infeasible", diverged.sgd_steps)
    return result("complete", step, steps_to_target)


def learning_rate(study: Study, point: Mapping[str, float], step: int) -> float:
    """The rate of update `step`, counted from 1, as the workload's settings and metaparameters shape it.

    With `warm_up_examples` it rises linearly to the point's rate while updates use so many examples, copies included.
    With `decay_share` in the point it falls linearly to `end_factor` times that over this share of the budget's
    updates, then stays there. With `first_drop` and `second_drop` it falls to a tenth after each of these shares of
    the budget's updates. Else it is constant.
    """
    rate = point["learning_rate"]
    if "decay_share" in point:
        progress = min(1.0, (step - 1) / (point["decay_share"] * study.budget_steps))
        rate *= 1 - (1 - study.config["end_factor"]) * progress
    drops = [point[name] for name in ("first_drop", "second_drop") if name in point]
    rate *= 0.1 ** sum(step > drop * study.budget_steps for drop in drops)
    warm_up_steps = study.config.get("warm_up_examples", 0) / study.batch_size
    return rate * min(1.0, step / warm_up_steps) if warm_up_steps else rate


def _updates(trainer: Trainer, study: Study, batches, point: Mapping[str, float], seed: int):
    """Trains to the budget, yielding (update, state) whenever an evaluation is due.

    Each update is dispatched before the loss of the one before it is looked at, so the device never waits for the
    host.

    Raises:
      TrialDiverged: a loss is non-finite or `divergence_factor` times the first one.
    """
    first_loss: float | None = None
    pending: jax.Array | None = None

    def check(loss: jax.Array | None, step: int) -> None:
        nonlocal first_loss
        if loss is None:
            return
        value = float(loss)
        first_loss = value if first_loss is None else first_loss
        if not value <= study.config["divergence_factor"] * first_loss:  # true for NaN as well
            raise TrialDiverged(step)

    momentum = np.float32(point["momentum"])
    batch = trainer.put(next(batches))
    state = trainer.init(seed, batch)
    for step in range(1, study.budget_steps + 1):
        rate = np.float32(learning_rate(study, point, step))
        state, loss = trainer.update(state, batch, {"learning_rate": rate, "momentum": momentum})
        if step < study.budget_steps:
            batch = trainer.put(next(batches))
        check(pending, step - 1)
        pending = loss
        if step % study.config["eval_every_steps"] == 0 or step == study.budget_steps:
            check(pending, step)
            pending = None
            yield step, state
