"""How much of a result is the luck of the draw: searches made anew from the trials that there are.

A study's result is the mean over its searches of the best of each search's trials. Here the feasible trials of every
search are drawn anew, as many and with replacement, and the study's result is taken again, many times. The middle 95 %
of these results are its interval, and a claim is checked on each draw: how often it holds says how much it rests on
single lucky trials. Three things to know when reading it. A draw has no trial that the search has not, so its best is
the search's best or worse: intervals reach from the result towards the worse side. A trial that was stopped because it
could not win any more counts as one that did not reach the target, as if it never would have: wider intervals. And a
draw without any trial at the target tells nothing and is made again, which leaves the worst draws out: narrower ones.
`decided` is the share of draws that are not of this kind; where it is small, few trials of a search were trained to the
target, and the interval says little.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.tables import STUDY_KEYS

RESAMPLES = 1000
INTERVAL = (0.025, 0.975)


def resampled_means(
    trials: pd.DataFrame,
    studies: pd.DataFrame,
    column: str,
    *,
    goals: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """Each study's result on `resamples` draws: [studies, resamples], NaN for a study with a search without result.

    Args:
      trials: of all studies, with the search's outcome in `column`, NaN for a trial that has none.
      studies: one row a study; `searches` says how many it has.
      column: what the best of a search is taken of.
      goals: for each study, whether `min` or `max` is best.
      resamples: how many draws.
      seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    feasible = trials[trials["status"] != "infeasible"]
    by_search = dict(list(feasible.groupby([*STUDY_KEYS, "search"])[column]))
    means = np.full((len(studies), resamples), np.nan)
    for row, ((_, study), goal) in enumerate(zip(studies.iterrows(), goals, strict=True)):
        keys = tuple(study[STUDY_KEYS])
        outcomes = [by_search.get((*keys, search), pd.Series(dtype=float)) for search in range(study["searches"])]
        if all(outcome.notna().any() for outcome in outcomes):
            best = [resampled_best(outcome.to_numpy(float), goal, resamples, generator) for outcome in outcomes]
            means[row] = np.mean(best, axis=0)
    return means


def resampled_best(outcomes: np.ndarray, goal: str, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """The best of as many outcomes drawn with replacement, [resamples]; draws of NaN alone are made again."""
    worst = np.inf if goal == "min" else -np.inf
    best_of = np.min if goal == "min" else np.max
    values = np.where(np.isnan(outcomes), worst, outcomes)
    best = np.full(resamples, worst)
    while (missing := np.flatnonzero(best == worst)).size:
        best[missing] = best_of(generator.choice(values, (missing.size, len(values))), axis=1)
    return best


def decided(trials: pd.DataFrame, studies: pd.DataFrame, column: str) -> np.ndarray:
    """The share of all draws that have an outcome in every search of a study, [studies]; 0 where a search never has."""
    feasible = trials[trials["status"] != "infeasible"]
    missing = feasible[column].isna().groupby([feasible[key] for key in (*STUDY_KEYS, "search")]).agg(["mean", "size"])
    some = 1 - missing["mean"] ** missing["size"]
    shares = some.groupby(STUDY_KEYS).agg(["prod", "size"]).reindex(pd.MultiIndex.from_frame(studies[STUDY_KEYS]))
    return np.where(shares["size"] == studies["searches"].to_numpy(), shares["prod"], 0.0)


def intervals(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the middle 95 % of each study's draws, [studies] each."""
    low, high = np.quantile(means, INTERVAL, axis=1)
    return low, high
