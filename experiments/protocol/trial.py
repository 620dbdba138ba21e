"""Trains one trial until its target, its divergence, its bound or its budget."""

import math
import time
from collections.abc import Callable, Iterator, Mapping

import jax

from experiments.protocol.model import Batch
from experiments.protocol.study import Measurement, Status, Study, TrialResult
from experiments.protocol.training import Training


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
    training = Training(study, point, search, index)
    batches = training.batches(training.examples).as_numpy_iterator()

    def evaluate(step: int) -> Measurement:
        measurement = Measurement(step, training.evaluate())
        if not math.isfinite(measurement.value):
            raise TrialDiverged(step)
        record(measurement)
        return measurement

    def result(status: Status, step: int, steps_to_target: int | None = None) -> TrialResult:
        return TrialResult(status, step, steps_to_target, training.examples_read, time.monotonic() - started)

    steps_to_target = None
    try:
        for step in _evaluations(training, study, batches):
            bound = bound_steps()
            if study.reaches_target(evaluate(step).value) and steps_to_target is None:
                steps_to_target = step
                if study.bound:
                    break
            elif bound is not None and step >= bound:
                return result("bounded", step)
    except TrialDiverged as diverged:
        return result("infeasible", diverged.sgd_steps)
    return result("complete", step, steps_to_target)


def _evaluations(training: Training, study: Study, batches: Iterator[Batch]) -> Iterator[int]:
    """Trains to the budget, yielding the number of the update whenever an evaluation is due.

    Each update is dispatched before the loss of the one before it is looked at, so the device works while the host
    makes the next batch and sends it.

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

    for step in range(1, study.budget_steps + 1):
        loss = training.update(next(batches))
        check(pending, step - 1)
        pending = loss
        if step % study.config["eval_every_steps"] == 0 or step == study.budget_steps:
            check(pending, step)
            pending = None
            yield step
