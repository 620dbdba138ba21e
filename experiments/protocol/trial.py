"""Trains one trial until its target, its divergence, its bound or its budget."""

import math
import time
from collections.abc import Callable, Iterator, Mapping

import jax

from experiments.protocol import hosts, stopping
from experiments.protocol.checkpoint import PIPELINE_BYTES, Checkpoints, Progress
from experiments.protocol.model import Batch
from experiments.protocol.study import LogLine, Measurement, Status, Stopped, Study, TrialResult
from experiments.protocol.training import Training
from pipelines import service

LOG_SECONDS = 10.0


class TrialDiverged(Exception):
    """The training loss or the metric became non-finite or exploded; carries the update at which it did."""

    def __init__(self, sgd_steps: int) -> None:
        super().__init__(f"diverged at update {sgd_steps}")
        self.sgd_steps = sgd_steps


def run(
    study: Study,
    search: int,
    index: int,
    point: Mapping[str, float],
    *,
    bound_steps: Callable[[], int | None],
    record: Callable[[Measurement], None],
    checkpoints: Checkpoints | None = None,
    log: Callable[[LogLine], None] = lambda line: None,
    completed: Callable[[Training], None] = lambda training: None,
) -> TrialResult:
    """Trains one trial, from its newest checkpoint on if it has one; what it measures is the same as without.

    Args:
      study: the setting; `search` and `index` pick the seeds of its initialisation and its pipeline.
      point: its metaparameters.
      bound_steps: asked before each evaluation for the update after which the trial cannot win any more.
      record: receives each measurement as it is made, first those before the checkpoint.
      checkpoints: where it saves itself; None for a trial that cannot be resumed.
      log: told every LOG_SECONDS how it fares.
      completed: receives what was trained, once it has come to its target or its budget.

    Returns:
      The result; divergence is one, not an error, also after the target was reached.

    Raises:
      Stopped: it was asked to stop; it has saved itself if it has somewhere to.
    """
    run = _Run(Training(study, point, search, index), study, checkpoints, log)
    for measurement in run.progress.measurements:
        record(measurement)

    def evaluate(step: int) -> Measurement:
        measurement = Measurement(step, run.training.evaluate())
        if not math.isfinite(measurement.value):
            raise TrialDiverged(step)
        run.progress.measurements.append(measurement)
        record(measurement)
        return measurement

    try:
        for step in run.evaluations():
            bound = _agreed(bound_steps())
            if study.reaches_target(evaluate(step).value) and run.progress.steps_to_target is None:
                run.progress.steps_to_target = step
                if study.bound:
                    break
            elif bound is not None and step >= bound:
                return run.result("bounded", step)
    except TrialDiverged as diverged:
        return run.result("infeasible", diverged.sgd_steps)
    finally:
        if checkpoints is not None:
            checkpoints.finish()
        stopping.training(False)
    completed(run.training)
    return run.result("complete", step)


class _Run:
    """A trial's updates, from where it was saved on."""

    def __init__(
        self, training: Training, study: Study, checkpoints: Checkpoints | None, log: Callable[[LogLine], None]
    ) -> None:
        self.training, self._study, self._checkpoints, self._log = training, study, checkpoints, log
        self._started = time.monotonic()
        self._batches = self._pipeline()
        self.progress = Progress()
        self._pending: jax.Array | None = None
        self._reported: tuple[int, float] | None = None
        if checkpoints is None or not hosts.agreed([checkpoints.exist()])[0]:
            return
        pipeline = None if training.services else self._batches
        if (found := checkpoints.restore(training.abstract_state(), pipeline)) is not None:
            state, self.progress, in_place = found
            read_before = 0
            if not in_place:
                read_before = self.progress.examples_read
                self.progress.refilled_after.append(self.progress.updates)
                training.reseed("refilled after", self.progress.updates)
                self._batches = self._pipeline()
            training.resume(state, self.progress.updates, self.progress.examples_read, read_before=read_before)

    def _pipeline(self) -> Iterator[Batch]:
        batches = self.training.own_batches().as_numpy_iterator()
        return service.watched(batches, self.training.services) if self.training.services else batches

    def result(self, status: Status, step: int) -> TrialResult:
        """What the trial's result is if it ends now."""
        self._note()
        to_target = self.progress.steps_to_target if status == "complete" else None
        return TrialResult(
            status,
            step,
            to_target,
            self.progress.examples_read,
            self.progress.seconds,
            tuple(self.progress.refilled_after),
        )

    def evaluations(self) -> Iterator[int]:
        """Trains to the budget, yielding the number of the update whenever an evaluation is due.

        Each update is dispatched before the loss of the one before it is looked at, so the device works while the host
        makes the next batch and sends it.

        Raises:
          TrialDiverged: a loss is non-finite or `divergence_factor` times the first one.
          Stopped: see `run`.
        """
        for step in range(self.progress.updates + 1, self._study.budget_steps + 1):
            loss = self.training.update(next(self._batches))
            stopping.training(True)
            self._check(step - 1)
            self._pending = loss
            evaluates = step % self._study.config["eval_every_steps"] == 0 or step == self._study.budget_steps
            if evaluates:
                self._check(step)
                yield step
            self.progress.updates = step
            stops = hosts.asked_to_stop(step)
            if self._checkpoints is not None and (stops or self._is_due(self._checkpoints, evaluates)):
                self._save(self._checkpoints, step)
            if stops:
                raise Stopped

    def _check(self, step: int) -> None:
        """Looks at the loss of the last update, if nobody has."""
        if self._pending is None:
            return
        value, self._pending = float(self._pending), None
        if self.progress.first_loss is None:
            self.progress.first_loss = value
        if not value <= self._study.config["divergence_factor"] * self.progress.first_loss:  # true for NaN as well
            raise TrialDiverged(step)
        self._report(step, value)

    def _report(self, step: int, loss: float) -> None:
        """Logs how the trial fares, if that is due; rates are of the time since it was logged last."""
        now = time.monotonic()
        if self._reported is None:
            self._reported = step, now  # behind the first update, whose time is that of compiling
        since, at = self._reported
        if step > since and now - at >= LOG_SECONDS:
            self._reported = step, now
            rate = (step - since) / (now - at)
            left = (self._study.budget_steps - step) / rate
            self._log(LogLine(step, loss, rate * self._study.batch_size, left))

    def _note(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self._started
        self._started = now
        self.progress.examples_read = self.training.examples_read

    def _is_due(self, checkpoints: Checkpoints, evaluated: bool) -> bool:
        """Several processes, whose clocks differ, agree on it behind evaluations only, since agreeing takes time."""
        if hosts.alone():
            return checkpoints.due()
        return evaluated and bool(hosts.agreed([checkpoints.due()])[0])

    def _save(self, checkpoints: Checkpoints, step: int) -> None:
        self._check(step)
        self._note()
        fits = not self.training.services and self.training.pipeline_bytes() <= PIPELINE_BYTES
        pipeline = self._batches if fits else None
        checkpoints.save(self.training.state, pipeline, self.progress)


def _agreed(bound: int | None) -> int | None:
    found = hosts.agreed([-1 if bound is None else bound])[0]
    return None if found < 0 else found
