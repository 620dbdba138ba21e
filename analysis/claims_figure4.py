"""The claims of Figure 4: training time by the paper's model at each R (version 1), and timed at R = 6 (version 3)."""

import itertools
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import training_time
from analysis.claims import TOLERANCE, Bars, Claim, NotRun, TargetNotReached, listed
from experiments.figure4 import PANELS, RATIOS

NEAR = 1.1
LEAST_FACTOR = 4
"""A workload counts once it was searched up to this e, as the paper's are."""


def figure4() -> list[Claim]:
    """For each workload: when echoing saves time, which factor saves most, and what was timed."""
    return [claim for workload in PANELS.values() for claim in [*_modelled(workload), *_timed(workload)]]


def _modelled(workload: str) -> list[Claim]:
    def useless_at_one(bars: Bars) -> tuple[str, bool]:
        times = _times(bars, workload, 1.0)
        best = min(time for e, time in times.items() if e > 1) / times[1.0]
        return f"{best:.3f}", best >= 1 - TOLERANCE

    def helps(bars: Bars) -> tuple[str, bool]:
        at_ratios = ((ratio, _times(bars, workload, ratio)) for ratio in RATIOS)
        worst = max(time / times[1.0] for ratio, times in at_ratios for e, time in times.items() if 1 < e <= ratio)
        return f"{worst:.3f}", worst < 1

    def best_at_ratio(bars: Bars) -> tuple[str, bool]:
        worst = max(times[ratio] / min(times.values()) for ratio, times in _tuned(bars, workload))
        return f"{worst:.3f}", worst <= NEAR

    def beyond(bars: Bars) -> float:
        tuned = _tuned(bars, workload)
        return min(time / times[ratio] for ratio, times in tuned for e, time in times.items() if e > ratio)

    def useless_beyond(bars: Bars) -> tuple[str, bool]:
        return f"{beyond(bars):.3f}", beyond(bars) >= 1 - TOLERANCE

    def helps_beyond(bars: Bars) -> tuple[str, bool]:
        return f"{beyond(bars):.3f}", beyond(bars) < 1

    past = (
        Claim("4 v1", workload, "best e above R / e = R: no help at any R (at least 0.98)", useless_beyond)
        if workload == "transformer_lm1b"
        else Claim("4 v1", workload, "best e above R / e = R: may still help, below 1 at some R", helps_beyond)
    )
    return [
        Claim("4 v1", workload, "R = 1, best echo / baseline time: no help (at least 0.98)", useless_at_one),
        Claim("4 v1", workload, "R > 1, worst 1 < e ≤ R / baseline time: below 1", helps),
        Claim("4 v1", workload, f"time at e = R / at the best e, worst R: near it, at most {NEAR}", best_at_ratio),
        past,
    ]


def _timed(workload: str) -> list[Claim]:
    def rises(bars: Bars) -> tuple[str, bool]:
        speedups = _speedups(bars, workload)["wall_clock_speedup"]
        return listed(speedups) + _baseline_note(bars, workload), all(a < b for a, b in itertools.pairwise(speedups))

    def fresh_rises(bars: Bars) -> tuple[str, bool]:
        speedups = [1 / share for e, share in sorted(_shares(bars, workload).items()) if e <= 5]
        return listed(speedups), all(a < b for a, b in itertools.pairwise(speedups))

    def less_than_fresh(bars: Bars) -> tuple[str, bool]:
        table = _speedups(bars, workload)
        shares = table["wall_clock_speedup"] / table["rerun_fresh_speedup"]
        return listed(shares), bool((shares <= 1 + TOLERANCE).all())

    def three_times(bars: Bars) -> tuple[str, bool]:
        speedup = _speedups(bars, workload)["wall_clock_speedup"][5.0]
        return f"{speedup:.2f}{_baseline_note(bars, workload)}", speedup >= 3

    def overhead(bars: Bars) -> tuple[str, bool]:
        growth = _speedups(bars, workload)["batch_growth"][5.0]
        return f"{growth:+.1%}", growth > 0.05

    return [
        Claim("4 v3", workload, "fresh-example speed-up, e up to 5: rises with e", fresh_rises),
        Claim("4 v3", workload, "R = 6, wall-clock speed-up at e = 1 to 5: rises with e", rises, True),
        Claim("4 v3", workload, "wall-clock / fresh-example speed-up: at most 1 (within 2 %)", less_than_fresh, True),
        Claim("4 v3", workload, "wall-clock speed-up at R = 6, e = 5: at least 3", three_times, True),
        Claim(
            "4 v3",
            workload,
            "seconds an upstream batch grow from e = 1 to e = 5, by over 5 %: overhead",
            overhead,
            True,
        ),
    ]


def _shares(bars: Bars, workload: str) -> dict[float, float]:
    """Mean fresh examples over the baseline's, by echo factor, the baseline's at 1."""
    rows = _rows(bars, workload)
    means = {row["echo_factor"]: row["mean_fresh_examples"] for row in rows}
    return {e: mean / means[1.0] for e, mean in means.items()}


def _times(bars: Bars, workload: str, ratio: float) -> dict[float, float]:
    """Modelled times at one R, by echo factor."""
    return {e: share * max(ratio, e) for e, share in _shares(bars, workload).items()}


def _tuned(bars: Bars, workload: str) -> list[tuple[float, dict[float, float]]]:
    """Each R at which e = R was searched, with the modelled times."""
    at_ratios = ((ratio, _times(bars, workload, ratio)) for ratio in RATIOS)
    return [(ratio, times) for ratio, times in at_ratios if ratio in times]


def _speedups(bars: Bars, workload: str) -> pd.DataFrame:
    """Speed-ups of the timed reruns by echo factor, over those that reached the target.

    A baseline rerun that never does would take longer than those that did, so without it speed-ups are too small;
    an echoing one would make them too large.

    Raises:
      NotRun: an echo factor was not timed.
      TargetNotReached: an echoing rerun, or every baseline rerun, did not reach the target.
    """
    rows = pd.DataFrame(_rows(bars, workload))
    timed = rows[rows["reruns"].notna() & (rows["echo_factor"] <= 5)]
    if set(timed["echo_factor"]) != {1.0, 2.0, 3.0, 4.0, 5.0}:
        raise NotRun
    needed = timed["reruns"].where(timed["variant"] != "baseline", 1)
    short = timed[timed["reruns_at_target"] < needed]
    if len(short):
        first = short.iloc[0]
        raise TargetNotReached(
            f"e = {first['echo_factor']:g}: {first['reruns_at_target']:.0f} of {first['reruns']:.0f} reruns reached it"
        )
    return training_time.speedups(timed).set_index("echo_factor")


def _baseline_note(bars: Bars, workload: str) -> str:
    baseline = next(row for row in bars.rows if row["workload"] == workload and row["variant"] == "baseline")
    reached, reruns = baseline["reruns_at_target"], baseline["reruns"]
    return f" or more: {reached:.0f} of {reruns:.0f} baseline reruns reached it" if reached < reruns else ""


def _rows(bars: Bars, workload: str) -> list[Mapping[Any, Any]]:
    """The bars of a workload that was searched far enough.

    Raises:
      NotRun: it was not.
      TargetNotReached: some search failed to reach the target.
    """
    rows = [row for row in bars.rows if row["workload"] == workload]
    if "baseline" not in {row["variant"] for row in rows} or max(row["echo_factor"] for row in rows) < LEAST_FACTOR:
        raise NotRun
    for row in rows:
        if row["reached"] < row["searches"]:
            told = f"{row['reached']} of {row['searches']} searches reached the target"
            raise TargetNotReached(f"e = {row['echo_factor']:g}: {told}")
    return rows
