"""Figure 7: fresh examples to the target at e = 2 over the sizes of the buffers that shuffle what was repeated.

    python -m analysis.figure7 --scale=small        ours beside the paper's; a few seconds
    python -m analysis.figure7 --scale=published    the paper's bars alone

Writes results/<scale>/figure7.png, .svg and .csv; the claims as claims_figure7.md and .csv; of
ours also figure7_curves, the winners' learning curves, and figure7_space, the search spaces.
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
    at_most,
    below,
    largest,
    largest_step,
    last_over_first,
    smallest,
)
from experiments import figure7 as experiment

WORKLOAD = "transformer_lm1b"
BUFFERS = len(experiment.SHUFFLE_BUFFERS)
FLAT = 0.1
"""Baselines that differ by at most this share of their mean count as equal; the paper's differ by 4 %."""


def draw(rows: Rows) -> Figure:
    """Draws the bars of each row's title: batch echoing in one panel, example echoing in the other."""
    return plots.sheet(rows, [_batch_panel, _example_panel], _draw_panel, legend=True)


def _batch_panel(bars: pd.DataFrame) -> pd.DataFrame:
    batch = bars[bars["variant"] == "batch"]
    same_buffer = bars["shuffle_buffer"].isin(batch["shuffle_buffer"])
    return bars[(bars["variant"] == "batch") | ((bars["variant"] == "baseline") & same_buffer)].drop_duplicates(
        ["variant", "repeated_batch_buffer"]
    )


def _example_panel(bars: pd.DataFrame) -> pd.DataFrame:
    return bars[bars["variant"] != "batch"].drop_duplicates(["variant", "shuffle_buffer"])


def _draw_panel(ax: Axes, bars: pd.DataFrame) -> str:
    if "batch" in set(bars["variant"]):
        # The baseline stands by itself: it has no repeated batches.
        groups = bars["repeated_batch_buffer"].clip(lower=1).where(bars["variant"] == "batch", 0)
        plots.grouped_bars(
            ax, bars.assign(group=groups), "group", lambda batches: f"{batches:g}" if batches else "baseline"
        )
        ax.set_xlabel("buffer of repeated batches (batches)")
        return f"{plots.WORKLOADS[WORKLOAD]}, batch echoing"
    plots.grouped_bars(ax, bars, "shuffle_buffer", "{:,.0f}".format)
    ax.set_xlabel("shuffle buffer (examples)")
    return f"{plots.WORKLOADS[WORKLOAD]}, example echoing"


def claims() -> list[Claim]:
    """Section 3.5: echoing gains from more shuffling, the baseline does not."""
    example, baseline = (functools.partial(_over_buffers, variant=v) for v in ("example", "baseline"))
    falls, in_all = "falls with a larger buffer, largest step", "largest buffer / smallest: less"
    return [
        Claim("7a", WORKLOAD, f"batch echoing: {falls}", _repeated, at_most(1 + TOLERANCE), largest_step),
        Claim("7a", WORKLOAD, f"batch echoing, {in_all}", _repeated, below(1), last_over_first),
        Claim("7b", WORKLOAD, f"example echoing: {falls}", example, at_most(1 + TOLERANCE), largest_step),
        Claim("7b", WORKLOAD, f"example echoing, {in_all}", example, below(1), last_over_first),
        Claim("7b", WORKLOAD, "baseline over buffers, (max - min) / mean: flat", baseline, at_most(FLAT), _spread),
        Claim(
            "7b", WORKLOAD, "largest buffer / smallest, echoing / baseline: it gains more", _gains, below(1), _quotient
        ),
    ]


def _repeated(bars: Bars) -> Numbers:
    buffers = bars.settings(WORKLOAD, "repeated_batch_buffer", len(experiment.REPEATED_BATCH_BUFFERS), "batch")
    default = bars.settings(WORKLOAD, "shuffle_buffer", 1, "batch")[0]
    return [bars.ratio(WORKLOAD, "batch", repeated_batch_buffer=buffer, shuffle_buffer=default) for buffer in buffers]


def _over_buffers(bars: Bars, variant: str) -> Numbers:
    """A variant's fresh examples over those of the baseline with the smallest buffer, by buffer."""
    sizes = bars.settings(WORKLOAD, "shuffle_buffer", BUFFERS, variant)
    unit = bars.mean(WORKLOAD, "baseline", shuffle_buffer=sizes[0])
    return [bars.mean(WORKLOAD, variant, shuffle_buffer=size) / unit for size in sizes]


def _gains(bars: Bars) -> Numbers:
    return [last_over_first(_over_buffers(bars, variant)) for variant in ("example", "baseline")]


def _quotient(numbers: Numbers) -> np.ndarray:
    return numbers[0] / numbers[1]


def _spread(numbers: Numbers) -> np.ndarray:
    return (largest(numbers) - smallest(numbers)) / np.mean(numbers, axis=0)


ANALYSIS = Analysis(experiment.EXPERIMENT, draw, claims())

if __name__ == "__main__":
    sys.exit(main(__doc__, ANALYSIS.make))
