"""Figure 6: fresh examples to the target of each variant at e = 2, over batch sizes, a panel a workload.

    python -m analysis.figure6 --scale=small        ours beside the paper's; a few seconds
    python -m analysis.figure6 --scale=published    the paper's bars alone

Writes results/<scale>/figure6.png, .svg and .csv; the claims as claims_figure6.md and .csv; of
ours also figure6_curves, the winners' learning curves, and figure6_space, the search spaces.
"""

import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.command_line import main
from analysis.drawing import plots
from analysis.figures import Analysis, Rows
from analysis.statistics.claims import TOLERANCE, Bars, Claim, Numbers, at_least, at_most, below, smallest
from experiments import figure6 as experiment
from experiments import workloads

SIZES = 4


def draw(rows: Rows) -> Figure:
    """Draws the bars of each row's title, a panel a workload."""
    return plots.sheet(rows, plots.by_workload(rows), _draw_panel, legend=True)


def _draw_panel(ax: Axes, bars: pd.DataFrame) -> str:
    plots.grouped_bars(ax, bars, "batch_size", "{:,}".format)
    ax.set_xlabel("batch size")
    return plots.WORKLOADS[bars["workload"].iloc[0]]


def claims() -> list[Claim]:
    """Section 3.4: as the batch grows, batch echoing gains on the baseline and example echoing does not."""
    return [
        claim for panel, workload in experiment.EXPERIMENT.panels.items() for claim in _of_panel(f"6{panel}", workload)
    ]


def _of_panel(figure: str, workload: str) -> list[Claim]:
    variants = [variant for variant in workloads.echoing(workload) if variant != "batch"]

    def ratios(variant: str) -> Callable[[Bars], Numbers]:
        def of_sizes(bars: Bars) -> Numbers:
            sizes = bars.settings(workload, "batch_size", SIZES)
            return [bars.ratio(workload, variant, echo_factor=2, batch_size=size) for size in sizes]

        return of_sizes

    def gaps(bars: Bars) -> Numbers:
        batch, earliest = ratios("batch")(bars), ratios(variants[-1])(bars)
        return [np.abs(a - b) for a, b in zip(batch, earliest, strict=True)]

    steps = "batch echoing / baseline: never rises with the batch size, largest difference to the size before"
    ends = "batch echoing / baseline, largest batch - smallest: less"
    claims = [
        Claim(figure, workload, steps, ratios("batch"), at_most(TOLERANCE), _largest_rise),
        Claim(figure, workload, ends, ratios("batch"), below(0), _rise),
    ]
    for variant in variants:
        text = f"{variant.replace('_', ' ')} echoing / baseline, largest batch / best smaller one: it does not gain"
        text += "; the paper's own data do" if variant == "example_after_augmentation" else ""
        claims.append(Claim(figure, workload, text, ratios(variant), at_least(1), _largest_over_best_smaller))
    closes = "gap of batch to earliest echo / baseline, largest batch - smallest: it closes"
    return [*claims, Claim(figure, workload, closes, gaps, below(0), _rise, 2)]


def _largest_rise(numbers: Numbers) -> np.ndarray:
    return np.max(np.diff(numbers, axis=0), axis=0)


def _rise(numbers: Numbers) -> np.ndarray:
    return numbers[-1] - numbers[0]


def _largest_over_best_smaller(numbers: Numbers) -> np.ndarray:
    return numbers[-1] / smallest(numbers[:-1])


ANALYSIS = Analysis(experiment.EXPERIMENT, draw, claims())

if __name__ == "__main__":
    sys.exit(main(__doc__, ANALYSIS.make))
