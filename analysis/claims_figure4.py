"""The claims of Figure 4: training time by the paper's model at each R (version 1), and timed at R = 6 (version 3)."""

import itertools

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
        best = times[times.index > 1].min() / times[1.0]
        return f"{best:.3f}", best >= 1 - TOLERANCE

    def helps(bars: Bars) -> tuple[str, bool]:
        worst = 0.0
        for ratio in RATIOS:
            times = _times(bars, workload, ratio)
            worst = max([worst, *(times[(times.index > 1) & (times.index <= ratio)] / times[1.0])])
        return f"{worst:.3f}", worst < 1

    def best_at_ratio(bars: Bars) -> tuple[str, bool]:
        worst = max(times[ratio] / times.min() for ratio, times in _tuned(bars, workload))
        return f"{worst:.3f}", worst <= NEAR

    def beyond(bars: Bars) -> float:
        return min(
            times[times.index > ratio].min() / times[ratio]
            for ratio, times in _tuned(bars, workload)
            if (times.index > ratio).any()
        )

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
        rows = _rows(bars, workload).query("echo_factor <= 5").sort_values("echo_factor")
        speedups = rows["mean_fresh_examples"].iloc[0] / rows["mean_fresh_examples"]
        return listed(speedups), all(a < b for a, b in itertools.pairwise(speedups))

    def less_than_fresh(bars: Bars) -> tuple[str, bool]:
        table = _speedups(bars, workload)
        shares = table["wall_clock_speedup"] / table["rerun_fresh_speedup"]
        return listed(shares), bool((shares <= 1 + TOLERANCE).all())

    def three_times(bars: Bars) -> tuple[str, bool]:
        speedup = _speedups(bars, workload)["wall_clock_speedup"][5.0]
        return f"{speedup:.2f}{_baseline_note(bars, workload)}", speedup >= 3

    def overhead(bars: Bars) -> tuple[str, bool]:
        growth = _speedups(bars, workload)["batch_seconds_growth"][5.0]
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


def _times(bars: Bars, workload: str, ratio: float) -> pd.Series:
    """Modelled times at one R, by echo factor."""
    rows = _rows(bars, workload)
    return training_time.modelled(rows, (ratio,)).set_index("echo_factor")["relative_time"]


def _tuned(bars: Bars, workload: str) -> list[tuple[float, pd.Series]]:
    """Each R at which e = R was searched, with the modelled times."""
    times = ((ratio, _times(bars, workload, ratio)) for ratio in RATIOS)
    return [(ratio, series) for ratio, series in times if ratio in series.index]


def _speedups(bars: Bars, workload: str) -> pd.DataFrame:
    """Speed-ups of the timed reruns by echo factor, over those that reached the target.

    A baseline rerun that never does would take longer than those that did, so without it speed-ups are too small;
    an echoing one would make them too large.

    Raises:
      NotRun: an echo factor was not timed.
      TargetNotReached: an echoing rerun, or every baseline rerun, did not reach the target.
    """
    rows = _rows(bars, workload)
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


def _rows(bars: Bars, workload: str) -> pd.DataFrame:
    rows = pd.DataFrame([row for row in bars.rows if row["workload"] == workload])
    if rows.empty or "baseline" not in set(rows["variant"]) or rows["echo_factor"].max() < LEAST_FACTOR:
        raise NotRun
    short = rows[rows["reached"] < rows["searches"]]
    if len(short):
        first = short.iloc[0]
        raise TargetNotReached(
            f"e = {first['echo_factor']:g}: {first['reached']} of {first['searches']} searches reached the target"
        )
    return rows
