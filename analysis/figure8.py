"""Figure 8: the best value that each variant reaches on the same fresh examples, e = 4, a panel a workload.

    python -m analysis.figure8 --scale=small        ours beside the paper's; a few seconds
    python -m analysis.figure8 --scale=published    the paper's values alone

Writes results/<scale>/figure8.png, .svg and .csv; the claims as claims_figure8.md and .csv; of
ours also figure8_curves, the learning curves of the best trials, and figure8_space, the search spaces.
"""

import sys

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.command_line import main
from analysis.drawing import plots
from analysis.figures import BEST_VALUE, Analysis, Rows
from analysis.statistics.claims import Bars, Claim, Numbers, at_most
from experiments import figure8 as experiment
from experiments import workloads

PAPERS_SPREAD = 0.001
"""How far searches of the paper may be apart, in nats or accuracy: not published, our choice, a tenth of its axes."""
GOALS = {name: workloads.load(name, "small").goal for name in experiment.EXPERIMENT.panels.values()}


def draw(rows: Rows) -> Figure:
    """Draws the best values of each row's title, a panel a workload."""
    return plots.sheet(rows, plots.by_workload(rows), _draw_panel, ylabel="best value at a fixed budget")


def _draw_panel(ax: Axes, bars: pd.DataFrame) -> str:
    plots.best_values(ax, bars)
    metric = bars["metric"].iloc[0].replace("_", " ")
    better = "lower" if GOALS[bars["workload"].iloc[0]] == "min" else "higher"
    return f"{plots.WORKLOADS[bars['workload'].iloc[0]]}\n{metric}, {better} is better"


def claims() -> list[Claim]:
    """Section 3.6: on the same fresh examples echoing reaches a value no worse than the baseline's."""
    return [
        _no_worse(f"8{panel}", workload, variant)
        for panel, workload in experiment.EXPERIMENT.panels.items()
        for variant in workloads.echoing(workload)
    ]


def _no_worse(figure: str, workload: str, variant: str) -> Claim:
    def values(bars: Bars) -> Numbers:
        baseline = bars.row(workload, "baseline")
        spread = baseline.get("max_best_value", np.nan) - baseline.get("min_best_value", np.nan)
        spread = PAPERS_SPREAD if np.isnan(spread) else spread
        return [bars.of(baseline), bars.mean(workload, variant), np.array([spread])]

    def loss(numbers: Numbers) -> np.ndarray:
        baseline, echoing, spread = numbers
        # Rounded: the paper's own values are exactly as far apart.
        return np.round((echoing - baseline) * (1 if GOALS[workload] == "min" else -1) - spread, 9)

    name = variant.replace("_", " ")
    text = f"best value: {name} echoing worse than the baseline by no more than its searches are apart"
    return Claim(figure, workload, text, values, at_most(0), loss, 4)


ANALYSIS = Analysis(experiment.EXPERIMENT, draw, claims(), BEST_VALUE)

if __name__ == "__main__":
    sys.exit(main(__doc__, ANALYSIS.make))
