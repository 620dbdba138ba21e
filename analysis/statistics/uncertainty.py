"""What another edition of the same searches could have found: intervals that hold the spread between searches.

A study's result is the mean over its searches of the best of each search's trials. The feasible trials of all its
searches are draws from one distribution, that of what a random point of the search space needs. A trial that was
stopped before the target, because it could not win any more or had used its budget, says only that it needs more than
that: it is right-censored. The Kaplan-Meier estimate (Kaplan and Meier, 1958, in `scipy.stats.ecdf`) is that
distribution with such trials given their due, and from it whole new editions are drawn, as many searches of as many
trials: the bootstrap for censored data of Efron (1981). The middle 95 % of the editions' results are the interval. A
drawn search in which no trial reaches the target counts with its budget, the least that it can have needed, as in the
restricted mean of survival analysis; `misses` says how often that happens. What was measured to the end, such as the
best value at a fixed budget, is the special case in which nothing is censored.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.protocol.tables import STUDY_KEYS

EDITIONS = 2000
INTERVAL = (0.025, 0.975)


class Outcomes:
    """The distribution of one trial's outcome, smaller is better, estimated from trials of which some were stopped."""

    def __init__(self, values: np.ndarray, observed: np.ndarray, limit: float = np.inf) -> None:
        """Takes the trials of all searches of a study.

        Args:
          values: each trial's outcome, or where it was stopped before it had one.
          observed: whether it had one.
          limit: the outcome that a search counts with in which no trial has one.
        """
        from scipy import stats  # takes a second, which refusing a flag does not

        survival = stats.ecdf(stats.CensoredData.right_censored(values, ~observed)).sf
        self._values = np.append(survival.quantiles, limit)
        self._survival = survival.probabilities

    def misses(self, trials: int) -> float:
        """How probable it is that none of so many trials has an outcome."""
        return float(self._survival[-1] ** trials)

    def best(self, trials: int, shares: np.ndarray) -> np.ndarray:
        """The best of so many trials, in the shape of `shares`: uniform draws between 0 and 1."""
        # The best of n is above t with probability S(t)^n.
        places = np.searchsorted(-self._survival, -(shares ** (1 / trials)), side="right")
        return self._values[places]


def outcomes(trials: pd.DataFrame, studies: pd.DataFrame, column: str, goals: Sequence[str]) -> list[Outcomes | None]:
    """What a feasible trial of each study comes to; None for a study of which no trial has an outcome.

    Args:
      trials: of all studies, with the outcome in `column`, NaN for a trial that was stopped before it had one.
      studies: rows of studies.csv.
      column: the outcome.
      goals: for each study, whether `min` or `max` is best; for the latter outcomes have the opposite sign.
    """
    feasible = trials[trials["status"] != "infeasible"]
    by_study = dict(list(feasible.groupby(STUDY_KEYS)))
    found: list[Outcomes | None] = []
    for (_, study), goal in zip(studies.iterrows(), goals, strict=True):
        mine = by_study.get(tuple(study[STUDY_KEYS]), feasible[:0])
        observed = mine[column].notna().to_numpy()
        values = (mine[column] * _sign(goal)).fillna(mine["fresh_examples"])
        budget = study["budget_steps"] * study["batch_size"] / study["echo_factor"]
        found.append(Outcomes(values.to_numpy(float), observed, budget) if observed.any() else None)
    return found


def drawn_means(
    trials: pd.DataFrame, studies: pd.DataFrame, column: str, *, goals: Sequence[str], seed: int = 0
) -> np.ndarray:
    """Each study's result in new editions: [studies, EDITIONS], NaN for a study without an outcome.

    Args:
      trials: as for `outcomes`, like `column` and `goals`.
      studies: `searches` and `feasible_trials_a_search` say how many an edition has.
      column: the outcome.
      goals: for each study.
      seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    means = np.full((len(studies), EDITIONS), np.nan)
    found = outcomes(trials, studies, column, goals)
    for row, ((_, study), goal, outcome) in enumerate(zip(studies.iterrows(), goals, found, strict=True)):
        shares = generator.random((study["searches"], EDITIONS))
        if outcome:
            best = outcome.best(study["feasible_trials_a_search"], shares)
            means[row] = _sign(goal) * best.mean(axis=0)
    return means


def misses(trials: pd.DataFrame, studies: pd.DataFrame, column: str, *, goals: Sequence[str]) -> list[float]:
    """How probable it is that a search of each study finds nothing; arguments as for `drawn_means`."""
    found = zip(outcomes(trials, studies, column, goals), studies["feasible_trials_a_search"], strict=True)
    return [outcome.misses(number) if outcome else 1.0 for outcome, number in found]


def _sign(goal: str) -> int:
    return 1 if goal == "min" else -1


def interval(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the middle 95 % of the draws, which are along the last axis."""
    low, high = np.quantile(draws, INTERVAL, axis=-1)
    return low, high
