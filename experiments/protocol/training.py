"""One run of SGD updates on a study's batches: what trials, reruns, timings and pictures all train with.

A process that trains sets `worker.environment` before it imports this module.
"""

import contextlib
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorflow as tf

from experiments.protocol import weights
from experiments.protocol.model import Batch, CompiledModel
from experiments.protocol.study import PROGRAM, ConfigError, EngineError, Study
from pipelines import service
from pipelines.echoing.tfdata import datasets, stages, timing
from pipelines.echoing.tfdata.loader import Pipeline
from pipelines.sources import registry, slow
from pipelines.sources.source import UNREADABLE, Source

tf.config.set_visible_devices([], "GPU")  # the host's pipeline must not claim the memory that JAX trains in

NO_GLOBAL_SEED = 87654321
"""What TensorFlow takes for its global seed where nobody has set one: its shuffles depend on that beside their own."""


@functools.lru_cache(maxsize=4)
def _model(program_json: str) -> CompiledModel:
    return CompiledModel(**json.loads(program_json))


@functools.lru_cache(maxsize=2)
def _source(data_json: str) -> Source:
    return registry.load(json.loads(data_json))


@functools.lru_cache(maxsize=2)
def _validation(model: CompiledModel, data_json: str, batch_size: int) -> list[Batch]:
    dataset = _source(data_json).validation().batch(batch_size)
    return [model.put_whole(model.pad(batch)) for batch in dataset.as_numpy_iterator()]


@functools.lru_cache(maxsize=1)
def _given(model: CompiledModel, init_from: str, sha256: str) -> Mapping[str, np.ndarray]:
    return weights.read(Path(init_from).expanduser(), sha256, model.backbone())


class Training:
    """The updates of trial `index` of search `search` of a study, from the first on.

    `model` is compiled, and `validation` its validation batches, both shared by all trainings of a process and setting.
    `seed` is the pipeline's; `augment` is the stage that augments examples, if its source does; `state` is what updates
    have changed, None before the first; `examples_read` is how many examples its source gave to make the batches that
    were put on the devices. `services` are those whose machines run the stages before the echo point.
    """

    def __init__(
        self,
        study: Study,
        point: Mapping[str, float] | None = None,
        search: int = 0,
        index: int = 0,
        *,
        overlap: bool = False,
    ) -> None:
        """Opens the study.

        Args:
          study: what is trained.
          point: its metaparameters, by default the lowest of each, which do not diverge.
          search: with `index` picks the seeds of initialisation and pipeline.
          index: see `search`.
          overlap: whether the stages on both sides of the echo point work at the same time, as the paper's model of
            training time assumes; batches are the same.

        Raises:
          ConfigError: the model or the source rejects its settings, or the weights to start from do not fit.
        """
        tf.random.set_seed(NO_GLOBAL_SEED)
        self._study = study
        self._point = point or {dimension.name: dimension.low for dimension in study.space}
        self._trial = search, index
        self._init_seed = study.seed("init", search, index)
        data_json = json.dumps(study.config["data"], sort_keys=True)
        try:
            self.model = _model(json.dumps({key: study.config[key] for key in PROGRAM}, sort_keys=True))
            self._source = _source(data_json)
            self.validation = _validation(self.model, data_json, study.config["eval_batch_size"])
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{study.workload}: {error}") from error
        init_from = study.config.get("init_from")
        self._given = _given(self.model, init_from, study.config["init_from_sha256"]) if init_from else None
        settings = stages.Stages(
            study.variant, study.echo_factor, study.batch_size, study.shuffle_buffer, study.repeated_batch_buffer
        )
        self.stages = timing.overlapping(settings) if overlap else settings
        self._parts = study.config["input_parts"]
        self.services = service.named()
        self._check_parts(overlap)
        self.reseed()
        self.restart()

    def _check_parts(self, overlap: bool) -> None:
        study, parts, processes = self._study, self._parts, jax.process_count()
        needed = math.lcm(parts, self.model.devices)
        if study.batch_size % needed:
            lower = study.batch_size // needed * needed
            would_do = f"{lower:,} and {lower + needed:,} would do" if lower else f"{needed:,} would do"
            raise ConfigError(
                f"{study.workload}: a batch of {study.batch_size:,} cannot be split over {self.model.devices} devices "
                f"and {parts} input_parts; {would_do}"
            )
        if parts % processes:
            raise ConfigError(f"config.input_parts must be a multiple of the {processes} processes, got {parts}")
        if parts > 1 and (overlap or (study.variant == "batch" and study.echo_factor % 1)):
            raise ConfigError(
                "config.input_parts must be 1 where a run is timed, and for echoing batches by a fraction, which each "
                "part would draw for itself"
            )
        if len(self.services) > parts:
            raise ConfigError(
                f"{len(self.services)} input services share out the parts of the input, and config.input_parts is "
                f"{parts}; results depend on it"
            )

    def restart(self) -> None:
        """Forgets the updates taken so far; the next one initialises the model anew."""
        self.resume(None, 0, 0)

    def resume(self, state: Any, updates: int, examples_read: int, *, read_before: int = 0) -> None:
        """Goes on behind so many updates, which left this state; `read_before` are not in the pipeline's numbers."""
        self.state, self.updates, self.examples_read = state, updates, examples_read
        self._read_before = read_before

    def reseed(self, *purpose: object) -> None:
        """Makes pipelines of the trial's own seed, or of another one for some purpose."""
        self._purpose = purpose
        self.seed = self._study.seed("data", *self._trial, *purpose)
        self.augment = stages.in_chunks(self._source.augment, self.seed)

    @property
    def examples(self) -> tf.data.Dataset:
        """What it reads, numbered, from the start: iterated anew, a dataset would give its shards in another order."""
        return stages.numbered(self._source.train(self.seed))

    def slowed_down(self, seconds_per_batch: float) -> tf.data.Dataset:
        """What it reads, from a source that takes so long for a batch."""
        size = self._study.batch_size
        return slow.slow(self.examples, slow.Storage(size / seconds_per_batch, request_examples=size))

    def named_stages(self, examples: tf.data.Dataset) -> Pipeline:
        """The pipeline that reads `examples`, in the stages that the advisor times."""
        augment = self.augment if self._source.augment is not None else None
        return Pipeline(examples, self._study.batch_size, self._study.shuffle_buffer, augment, run_as=datasets.as_set)

    def batches(self, examples: tf.data.Dataset, watch: Callable[..., Any] | None = None) -> tf.data.Dataset:
        """The training batches made of `examples`; `watch` is put at the echo point."""
        upstream, downstream = stages.split(self.stages, seed=self.seed, augment=self.augment)
        items = upstream(examples)
        return downstream(items if watch is None else watch(items))

    def own_batches(self) -> tf.data.Dataset:
        """What this process puts on its devices: batches of all its examples, or its parts of them."""
        if self._parts == 1:
            return self._made(self.examples, self.stages, self.seed)
        each = self._parts // jax.process_count()
        first = each * jax.process_index()
        own = tuple(self._part(number) for number in range(first, first + each))

        def joined(*parts: Batch) -> dict[str, tf.Tensor]:
            return {name: tf.concat([part[name] for part in parts], axis=0) for name in parts[0]}

        return datasets.as_set(tf.data.Dataset.zip(own).map(joined)) if each > 1 else own[0]

    def _part(self, number: int) -> tf.data.Dataset:
        """A part of each batch, from examples and a shuffle buffer of its own, so whoever makes it makes the same."""
        seed = self._study.seed("data", *self._trial, *self._purpose, "part", number)
        settings = dataclasses.replace(
            self.stages,
            batch_size=self.stages.batch_size // self._parts,
            shuffle_buffer=-(-self.stages.shuffle_buffer // self._parts),
        )
        examples = stages.numbered(self._source.training(seed, number, self._parts), number, self._parts)
        return self._made(examples, settings, seed, number)

    def _made(self, examples: tf.data.Dataset, settings: stages.Stages, seed: int, part: int = 0) -> tf.data.Dataset:
        """Batches of these examples; the stages before the echo point run at the part's service, if there is one."""
        if not self.services:
            return stages.build(examples, settings, seed=seed, augment=self._source.augment)
        if settings.variant == "baseline":  # all its stages can run there: those that make batches which are used once
            settings = dataclasses.replace(settings, variant="batch")
        upstream, downstream = stages.split(settings, seed=seed, augment=stages.in_chunks(self._source.augment, seed))
        together = 1 if settings.variant == "batch" else stages.AUGMENT_CHUNK
        name = self.services[part % len(self.services)]
        return downstream(service.elsewhere(upstream(examples), name, together))

    def abstract_state(self) -> Any:
        """Shapes, types and shardings of the state."""
        spec = self.batches(self.examples).element_spec
        parts = {name: part for name, part in spec.items() if name != stages.NUMBER}
        return self.model.abstract_state(
            {name: jax.ShapeDtypeStruct(part.shape, part.dtype.as_numpy_dtype) for name, part in parts.items()}
        )

    def pipeline_bytes(self) -> float:
        """About what the buffers of the pipeline hold; a few examples are read where their sizes vary."""
        examples = self.examples
        if self.stages.variant == "example_after_augmentation":
            examples = self.augment(examples)
        batches = self.stages.repeated_batch_buffer + self.stages.prefetch
        batch_bytes = datasets.item_bytes(self.batches(self.examples))
        return self.stages.shuffle_buffer * datasets.item_bytes(examples) + batches * batch_bytes

    def put(self, batch: Batch) -> Batch:
        """Sends a batch to the devices, and counts what was read to make it."""
        if stages.NUMBER in batch:
            self.examples_read = max(self.examples_read, self._read_before + int(batch[stages.NUMBER].max()) + 1)
            batch = {name: part for name, part in batch.items() if name != stages.NUMBER}
        return self.model.put(batch)

    def first_state(self, batch: Batch) -> Any:
        """The state before the first update, for batches like this one, which is on the devices."""
        return self.model.init(self._init_seed, batch, self._given)

    def update(self, batch: Batch) -> jax.Array:
        """Dispatches one SGD update and returns the loss before it, without waiting for either."""
        batch = self.put(batch)
        if self.state is None:
            self.state = self.first_state(batch)
        self.updates += 1
        rate = np.float32(learning_rate(self._study, self._point, self.updates))
        point = {"learning_rate": rate, "momentum": np.float32(self._point["momentum"])}
        self.state, loss = self.model.update(self.state, batch, point)
        return loss

    def step(self, batch: Batch) -> None:
        """Takes one SGD update and waits until it is done."""
        jax.block_until_ready((self.update(batch), self.state))

    def outputs(self, batches: list[Batch]) -> list[Any]:
        """What the model says on validation batches, as the task's `evaluate` describes it."""
        return self.model.outputs(self.state, batches)

    def evaluate(self) -> float:
        """The metric over all validation batches."""
        return self.model.evaluate(self.state, self.validation)

    def warm_up(self) -> None:
        """Compiles the update by taking one, and forgets it."""
        with datasets.iterating(self.batches(self.examples)) as batches:
            self.step(next(batches))
        self.restart()

    def downstream_seconds(self, seconds: float = 1.0, rounds: int = 8) -> float:
        """t_downstream, measured: seconds a batch over `rounds` rounds of so many seconds.

        A machine whose speed is uneven from one second to the next needs that many for a mean that can be repeated.
        """
        measured = timing.downstream_seconds(
            self.examples,
            self.stages,
            self.step,
            augment=self.augment,
            seed=self.seed,
            seconds=seconds,
            rounds=rounds,
        )
        return measured.mean


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
    warm_up_steps = study.config["warm_up_examples"] / study.batch_size
    return rate * min(1.0, step / warm_up_steps) if warm_up_steps else rate


@contextlib.contextmanager
def pipeline_errors(study: Study) -> Iterator[None]:
    """Tells what the input pipeline raises, such as a damaged image or file, in one line.

    Raises:
      EngineError: instead of TensorFlow's own.
    """
    try:
        yield
    except service.ServiceLost as error:
        raise EngineError(f"{study.name}: {error}; finished trials are kept") from None
    except tf.errors.OpError as error:
        words = _damage(study, error) or datasets.in_one_line(error)
        raise EngineError(f"{study.name}: the input pipeline failed: {words}; finished trials are kept") from None


def _damage(study: Study, error: tf.errors.OpError) -> str | None:
    """Which example could not be decoded, None if that is not what went wrong."""
    if not isinstance(error, tf.errors.InvalidArgumentError):
        return None
    with contextlib.suppress(tf.errors.OpError):
        for name in _source(json.dumps(study.config["data"], sort_keys=True)).damaged():
            return f"{name}: {UNREADABLE}; --config.data.corrupt=skip leaves such training examples out"
    return None


def device() -> dict[str, str]:
    """What this process trains on."""
    devices = jax.devices()
    return {"device": f"{len(devices)} x {devices[0].device_kind}"}
