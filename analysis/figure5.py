"""Figure 5: fresh examples to the target with example echoing over echo factors, at two batch sizes.

    python -m analysis.figure5 --scale=small        ours beside the paper's; a few seconds
    python -m analysis.figure5 --scale=published    the paper's bars alone

Writes results/<scale>/figure5.png, .svg and .csv; the claims as claims_figure5.md; of
ours also figure5_curves, the winners' learning curves, and figure5_space, the search spaces.
"""

import functools
import sys

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import plots
from analysis.claims import TOLERANCE, Bars, Claim, listed
from analysis.command_line import main
from analysis.figures import Analysis, Rows
from experiments import figure5 as experiment

WORKLOAD = "transformer_lm1b"
FACTORS = experiment.ECHO_FACTORS[1:]


def draw(rows: Rows) -> Figure:
    """Draws the bars of each row's title, a panel a batch size."""
    return plots.sheet(rows, [functools.partial(_of_batch_size, i) for i in (0, 1)], _draw_panel, legend=True)


def _of_batch_size(place: int, bars: pd.DataFrame) -> pd.DataFrame:
    return bars[bars["batch_size"] == sorted(bars["batch_size"].unique())[place]]


def _draw_panel(ax: Axes, bars: pd.DataFrame) -> str:
    plots.grouped_bars(ax, bars, "echo_factor", "{:g}".format)
    ax.set_xlabel("echo factor e")
    return f"{plots.WORKLOADS[WORKLOAD]}, batch {bars['batch_size'].iloc[0]:,}"


def claims() -> list[Claim]:
    """Section 3.3: the useful echo factor has a ceiling, which a larger batch size raises."""
    return [
        Claim("5a", WORKLOAD, "smaller batch, baseline / e: above 1 for every e", _every_factor_helps),
        Claim("5a", WORKLOAD, "smaller batch: the best e is 4 or 8", _best_is_moderate),
        Claim("5a", WORKLOAD, "smaller batch: beyond the best e more again, e = 16 / best above 1.02", _gets_worse),
        Claim("5a", WORKLOAD, "smaller batch, baseline / e = 16: far better than none, at least 1.5", _sixteen_helps),
        Claim("5b", WORKLOAD, "larger batch, baseline / e: rises up to e = 16 (within 2 %)", _still_improves),
        Claim("5", WORKLOAD, "the larger batch's best e is the larger one", _batch_raises_best),
    ]


def _means(bars: Bars, place: int) -> dict[int, float]:
    """Means by echo factor, the baseline's at 1, at the smaller (0) or larger (1) batch size."""
    size = bars.settings(WORKLOAD, "batch_size", 2)[place]
    echoing = {e: bars.mean(WORKLOAD, "example", echo_factor=e, batch_size=size) for e in FACTORS}
    return {1: bars.mean(WORKLOAD, "baseline", batch_size=size)} | echoing


def _best(means: dict[int, float]) -> int:
    """The echo factor that takes the fewest; the smallest of equals."""
    return min(means, key=lambda e: means[e])


def _speed_ups(means: dict[int, float]) -> list[float]:
    return [means[1] / means[e] for e in FACTORS]


def _every_factor_helps(bars: Bars) -> tuple[str, bool]:
    speed_ups = _speed_ups(_means(bars, 0))
    return listed(speed_ups), min(speed_ups) > 1


def _best_is_moderate(bars: Bars) -> tuple[str, bool]:
    best = _best(_means(bars, 0))
    return f"e = {best}", best in (4, 8)


def _gets_worse(bars: Bars) -> tuple[str, bool]:
    means = _means(bars, 0)
    best = min(means[e] for e in FACTORS)
    ratio = means[16] / best
    return f"{ratio:.2f}", ratio > 1 + TOLERANCE and best < means[1]


def _sixteen_helps(bars: Bars) -> tuple[str, bool]:
    speed_up = _speed_ups(_means(bars, 0))[-1]
    return f"{speed_up:.2f}", speed_up >= 1.5


def _still_improves(bars: Bars) -> tuple[str, bool]:
    speed_ups = _speed_ups(_means(bars, 1))
    rising = all(b >= a * (1 - TOLERANCE) for a, b in zip([1, *speed_ups], speed_ups, strict=False))
    return listed(speed_ups), rising and speed_ups[-1] > max(1, speed_ups[0])


def _batch_raises_best(bars: Bars) -> tuple[str, bool]:
    smaller, larger = (_best(_means(bars, place)) for place in (0, 1))
    return f"{smaller} < {larger}", smaller < larger


ANALYSIS = Analysis(5, experiment, draw, claims())

if __name__ == "__main__":
    sys.exit(main(__doc__, ANALYSIS.make))
