"""Figure 5: fresh examples to the target with example echoing over echo factors, at two batch sizes.

    python -m analysis.figure5 --scale=small        ours beside the paper's; a few seconds
    python -m analysis.figure5 --scale=published    the paper's bars alone

Writes results/<scale>/figure5.png, .svg and .csv; the claims as claims_figure5.md and .csv; of
ours also figure5_curves, the winners' learning curves, and figure5_space, the search spaces.
"""

import functools
import sys

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.command_line import main
from analysis.drawing import plots
from analysis.figures import Analysis, Rows
from analysis.statistics.claims import (
    TOLERANCE,
    Bars,
    Claim,
    Numbers,
    above,
    at_least,
    between,
    largest,
    last_over_first,
    smallest,
    smallest_step,
)
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
    smaller, larger = (functools.partial(_speed_ups, place=place) for place in (0, 1))
    steps = "larger batch, baseline / e: rises up to e = 16, smallest step"
    return [
        Claim("5a", WORKLOAD, "smaller batch, baseline / e: above 1 for every e", smaller, above(1), smallest, 2),
        Claim("5a", WORKLOAD, "smaller batch: the best e is moderate", _best_of_smaller, between(4, 8), digits=0),
        Claim("5a", WORKLOAD, "smaller batch, e = 16 / best e: more again", smaller, above(1 + TOLERANCE), _lost, 2),
        Claim(
            "5a", WORKLOAD, "smaller batch, baseline / e = 16: far better than none", smaller, at_least(1.5), _last, 2
        ),
        Claim("5b", WORKLOAD, steps, larger, at_least(1 - TOLERANCE), smallest_step, 2),
        Claim("5b", WORKLOAD, "larger batch, e = 2 / e = 16: less in all", larger, above(1), last_over_first, 2),
        Claim("5", WORKLOAD, "best e, larger batch / smaller batch: a larger one", _best_of_both, above(1), digits=1),
    ]


def _speed_ups(bars: Bars, place: int) -> Numbers:
    """Baseline over each e, at the smaller (0) or larger (1) batch size."""
    size = bars.settings(WORKLOAD, "batch_size", 2)[place]
    baseline = bars.mean(WORKLOAD, "baseline", batch_size=size)
    return [baseline / bars.mean(WORKLOAD, "example", echo_factor=e, batch_size=size) for e in FACTORS]


def _last(speed_ups: Numbers) -> np.ndarray:
    return speed_ups[-1]


def _lost(speed_ups: Numbers) -> np.ndarray:
    return largest(speed_ups) / speed_ups[-1]


def _best(speed_ups: Numbers) -> np.ndarray:
    """The echo factor, 1 included, that takes the fewest; the smallest of equals."""
    return np.take([1, *FACTORS], np.argmax([np.ones_like(speed_ups[0]), *speed_ups], axis=0))


def _best_of_smaller(bars: Bars) -> Numbers:
    return [_best(_speed_ups(bars, 0))]


def _best_of_both(bars: Bars) -> Numbers:
    return [_best(_speed_ups(bars, 1)) / _best(_speed_ups(bars, 0))]


ANALYSIS = Analysis(experiment.EXPERIMENT, draw, claims())

if __name__ == "__main__":
    sys.exit(main(__doc__, ANALYSIS.make))
