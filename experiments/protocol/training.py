"""A study's training, made ready to be timed: what it reads, its augmentation and its SGD step.

A process that times sets `engine.worker_environment` before it imports this module.
"""

from collections.abc import Callable, Mapping

import jax
import numpy as np
import tensorflow as tf

from experiments.protocol import trial
from experiments.protocol.study import Study
from pipelines.advice import timing
from pipelines.echoing import datasets, stages
from pipelines.sources import slow


class Training:
    """One training run of a study, the same updates as trial `index` of search `search` takes.

    `augment` is the stage that augments examples, if it `augments`; `seed` is its pipeline's; `state` is what its
    updates have changed.
    """

    def __init__(self, study: Study, point: Mapping[str, float] | None = None, search: int = 0, index: int = 0) -> None:
        """Opens the study; `point` is its metaparameters, by default the lowest of each, which do not diverge.

        Raises:
          ConfigError: the model or the source rejects its settings.
        """
        self._study = study
        self._point = point or {dimension.name: dimension.low for dimension in study.space}
        self._init_seed = study.seed("init", search, index)
        self.seed = study.seed("data", search, index)
        self._trainer, _ = trial.open_study(study)
        self._source = trial.open_source(study)
        self.augments = self._source.augment is not None
        self.augment = stages.in_chunks(self._source.augment, self.seed)
        self.restart()

    @property
    def examples(self) -> tf.data.Dataset:
        """What it reads, from the start: iterated a second time, a dataset would give its shards in another order."""
        return self._source.train(self.seed)

    @property
    def stages(self) -> stages.Stages:
        """The study's stages, both sides of the echo point working at the same time."""
        study = self._study
        return timing.overlapping(study.variant, study.echo_factor, study.batch_size, study.shuffle_buffer)

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

    def slowed_down(self, seconds_per_batch: float) -> tf.data.Dataset:
        """What it reads, from a source that takes so long for a batch."""
        size = self._study.batch_size
        return slow.slow(self.examples, slow.Storage(size / seconds_per_batch, request_examples=size))

    def batches(self, examples: tf.data.Dataset, watch: Callable | None = None) -> tf.data.Dataset:
        """The training batches made of `examples`; `watch` is put at the echo point."""
        upstream, downstream = stages.split(self.stages, seed=self.seed, augment=self.augment)
        items = upstream(examples)
        return downstream(items if watch is None else watch(items))

    def warm_up(self) -> None:
        """Compiles the update by taking one, and forgets it."""
        with datasets.iterating(self.batches(self.examples)) as batches:
            self.step(next(batches))
        self.restart()

    def restart(self) -> None:
        """Forgets the updates taken so far; the next step initialises the model anew."""
        self.state, self._updates = None, 0

    def step(self, batch: Mapping[str, np.ndarray]) -> None:
        """Takes one SGD step and waits until it is done."""
        on_device = self._trainer.put(batch)
        if self.state is None:
            self.state = self._trainer.init(self._init_seed, on_device)
        self._updates += 1
        rate = np.float32(trial.learning_rate(self._study, self._point, self._updates))
        point = {"learning_rate": rate, "momentum": np.float32(self._point["momentum"])}
        self.state, loss = self._trainer.update(self.state, on_device, point)
        jax.block_until_ready((self.state, loss))
