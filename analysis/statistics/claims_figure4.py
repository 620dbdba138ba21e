"""The claims of Figure 4: training time by the paper's model at each R (version 1), and timed at R = 6 (version 3)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.statistics.claims import (
    TOLERANCE,
    Bars,
    Claim,
    NotRun,
    Numbers,
    TargetNotReached,
    above,
    at_least,
    at_most,
    below,
    largest,
    smallest,
    smallest_step,
)
from experiments.figure4 import EXPERIMENT, RATIOS

NEAR = 1.1
LEAST_FACTOR = 4
"""A workload counts once it was searched up to this e, as the paper's are."""


def figure4() -> list[Claim]:
    """For each workload: when echoing saves time, which factor saves most, and what was timed."""
    return [claim for workload in EXPERIMENT.panels.values() for claim in [*_modelled(workload), *_timed(workload)]]


def _modelled(workload: str) -> list[Claim]:
    def at_one(bars: Bars) -> Numbers:
        times = _times(bars, workload, 1.0)
        return [smallest([time for e, time in times.items() if e > 1]) / times[1.0]]

    def up_to_ratio(bars: Bars) -> Numbers:
        at_ratios = ((ratio, _times(bars, workload, ratio)) for ratio in RATIOS)
        return [
            largest([time / times[1.0] for ratio, times in at_ratios for e, time in times.items() if 1 < e <= ratio])
        ]

    def at_ratio(bars: Bars) -> Numbers:
        tuned = _tuned(bars, workload)
        return [largest([times[ratio] / smallest(list(times.values())) for ratio, times in tuned])]

    def beyond_ratio(bars: Bars) -> Numbers:
        tuned = _tuned(bars, workload)
        return [smallest([time / times[ratio] for ratio, times in tuned for e, time in times.items() if e > ratio])]

    return [
        Claim("4 v1", workload, "R = 1, best echo / baseline time: no help", at_one, at_least(1 - TOLERANCE)),
        Claim("4 v1", workload, "R > 1, worst 1 < e ≤ R / baseline time: it helps", up_to_ratio, below(1)),
        Claim("4 v1", workload, "time at e = R / at the best e, worst R: near it", at_ratio, at_most(NEAR)),
        Claim("4 v1", workload, "best e above R / e = R, at any R: no help", beyond_ratio, at_least(1 - TOLERANCE)),
    ]


def _timed(workload: str) -> list[Claim]:
    def fresh(bars: Bars) -> Numbers:
        return [1 / share for e, share in sorted(_shares(bars, workload).items()) if e <= 5]

    def seconds(bars: Bars) -> Numbers:
        return _speedups(bars, workload, "mean_seconds")

    def last_second(bars: Bars) -> Numbers:
        return seconds(bars)[-1:]

    def seconds_over_fresh(bars: Bars) -> Numbers:
        pairs = zip(seconds(bars), _speedups(bars, workload, "mean_rerun_fresh_examples"), strict=True)
        return [wall_clock / fresh_examples for wall_clock, fresh_examples in pairs]

    def growth(bars: Bars) -> Numbers:
        return [1 / _speedups(bars, workload, "batch_downstreams")[-1]]

    figure = "4 v3"
    rises = "speed-up rises with e up to 5: smallest step"
    return [
        Claim(figure, workload, f"fresh-example {rises}", fresh, above(1), smallest_step, 2),
        Claim(figure, workload, f"R = 6, wall-clock {rises}", seconds, above(1), smallest_step, 2),
        Claim(
            figure,
            workload,
            "wall-clock / fresh-example speed-up: largest",
            seconds_over_fresh,
            at_most(1 + TOLERANCE),
            largest,
            2,
        ),
        Claim(figure, workload, "wall-clock speed-up at R = 6, e = 5", last_second, at_least(3), digits=2),
        Claim(
            figure,
            workload,
            "seconds an upstream batch, e = 5 / e = 1: overhead grows",
            growth,
            above(1.05),
            untestable="the throttled source sleeps, so reading takes nothing from training",
        ),
    ]


def _shares(bars: Bars, workload: str) -> dict[float, np.ndarray]:
    """Mean fresh examples over the baseline's, by echo factor, the baseline's at 1."""
    means = {row["echo_factor"]: bars.of(row) for row in _searched(bars, workload)}
    return {e: mean / means[1.0] for e, mean in means.items()}


def _times(bars: Bars, workload: str, ratio: float) -> dict[float, np.ndarray]:
    """Modelled times at one R, by echo factor."""
    return {e: share * max(ratio, e) for e, share in _shares(bars, workload).items()}


def _tuned(bars: Bars, workload: str) -> list[tuple[float, dict[float, np.ndarray]]]:
    """Each R at which e = R was searched, with the modelled times."""
    at_ratios = ((ratio, _times(bars, workload, ratio)) for ratio in RATIOS)
    return [(ratio, times) for ratio, times in at_ratios if ratio in times]


def _speedups(bars: Bars, workload: str, column: str) -> list[np.ndarray]:
    """How many times less of a quantity the timed reruns need than the baseline's, at e = 1 to 5.

    A baseline rerun that never reaches the target would take longer than those that did, so speed-ups are too small
    where there is one; an echoing one would make them too large.

    Raises:
      NotRun: an echo factor was not timed.
      TargetNotReached: an echoing rerun, or every baseline rerun, did not reach the target.
    """
    timed = {row["echo_factor"]: row for row in _searched(bars, workload) if row["reruns"] > 0}
    if not set(range(1, 6)) <= set(timed):
        raise NotRun
    for e in range(1, 6):
        reached, reruns = timed[e]["reruns_at_target"], timed[e]["reruns"]
        if reached < (1 if e == 1 else reruns):
            raise TargetNotReached(f"e = {e}: {reached:.0f} of {reruns:.0f} reruns reached the target")
    return [timed[1][column] / timed[e][column] for e in range(1, 6)]


def _searched(bars: Bars, workload: str) -> list[Mapping[Any, Any]]:
    """The bars of a workload that was searched far enough.

    Raises:
      NotRun: it was not.
    """
    rows = [row for row in bars.rows if row["workload"] == workload]
    if "baseline" not in {row["variant"] for row in rows} or max(row["echo_factor"] for row in rows) < LEAST_FACTOR:
        raise NotRun
    return rows
