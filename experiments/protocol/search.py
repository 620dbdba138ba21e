"""Quasi-random search (Bousquet et al. 2017): the points of a search, its budget and its bound.

A search's result is the *fewest* fresh examples with which any of its trials reaches the target. A trial that has
used that many and is not there yet cannot win any more, so it is stopped: same result, a fraction of the cost. But
for one case: a stopped trial takes a place in the budget of feasible trials even if it would have diverged later, where
a search without the bound draws another point.

Everything is settled in the order of the points, never in the order in which trials happen to finish: a trial is
bounded only by trials of lower index. So a search gives the same table on one worker and on a hundred, and after any
number of interruptions.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.protocol.study import Dimension, Status, Study, TrialResult

DRAWS_PER_TRIAL = 5
"""A search that finds fewer than one feasible point in five draws is given up: its space is wrong."""


def point(study: Study, search: int, index: int) -> dict[str, float]:
    """Trial `index` of a search: metaparameters from a scrambled Halton sequence, one sequence a search."""
    from scipy.stats import qmc  # takes a second, which refusing a flag does not

    sequence = qmc.Halton(len(study.space), scramble=True, rng=study.seed("points", search))
    places = sequence.fast_forward(index).random(1)[0]
    return {dimension.name: value(dimension, float(at)) for dimension, at in zip(study.space, places, strict=True)}


def value(dimension: Dimension, unit: float) -> float:
    """The value at a place between a dimension's low, 0, and its high, 1, on its scale."""
    low, high = dimension.low, dimension.high
    if dimension.scale == "log":
        return low * (high / low) ** unit
    if dimension.scale == "reverse_log":
        return 1 - (1 - high) * ((1 - low) / (1 - high)) ** (1 - unit)
    return low + (high - low) * unit


def unit(dimension: Dimension, value: float) -> float:
    """The place of a value: what `value` is of."""
    low, high = dimension.low, dimension.high
    if dimension.scale == "log":
        return math.log(value / low) / math.log(high / low)
    if dimension.scale == "reverse_log":
        return 1 - math.log((1 - value) / (1 - high)) / math.log((1 - low) / (1 - high))
    return (value - low) / (high - low)


def bound_steps(study: Study, lower_indexed: Iterable[TrialResult]) -> int | None:
    """SGD steps after which a trial cannot win any more, given finished trials of lower index in its search."""
    reached = [result.steps_to_target for result in lower_indexed if result.steps_to_target is not None]
    return min(reached) if study.bound and reached else None


@dataclass(frozen=True)
class Settled:
    """A trial's place in its search: its status, and the SGD steps it takes when trials run one after the other."""

    index: int
    status: Status
    sgd_steps: int
    steps_to_target: int | None


def settle(study: Study, results: Mapping[int, TrialResult]) -> list[Settled]:
    """The search as it would have gone one trial after the other, up to its `study.trials`-th feasible trial.

    Trials that ran at the same time did not know each other's results and trained further than they had to; what
    they did past their bound is left out here.

    Args:
      results: finished trials by index; those before the first gap count.
    """
    settled: list[Settled] = []
    feasible = 0
    while len(settled) in results and feasible < study.trials:
        index = len(settled)
        result = results[index]
        bound = bound_steps(study, (results[i] for i in range(index)))
        decided = result.status == "infeasible" or result.steps_to_target is not None
        if bound is None or (decided and result.sgd_steps <= bound):
            settled.append(Settled(index, result.status, result.sgd_steps, result.steps_to_target))
        else:
            settled.append(Settled(index, "bounded", bound, None))
        feasible += settled[-1].status != "infeasible"
    return settled


def is_finished(study: Study, settled: Sequence[Settled]) -> bool:
    """Whether a search has all its feasible trials, or has drawn so many points that it is given up."""
    feasible = sum(trial.status != "infeasible" for trial in settled)
    return feasible >= study.trials or len(settled) >= DRAWS_PER_TRIAL * study.trials


def wanted(study: Study, results: Mapping[int, TrialResult]) -> int:
    """How many points to run by what is known now: one for each feasible trial and each infeasible one so far."""
    infeasible = sum(result.status == "infeasible" for result in results.values())
    return min(study.trials + infeasible, DRAWS_PER_TRIAL * study.trials)
