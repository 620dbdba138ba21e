"""Figure 3: fresh examples to the target, baseline beside each echoing variant at e = 2, a panel a workload.

    python -m analysis.figure3 --scale=small        ours beside the paper's; a few seconds
    python -m analysis.figure3 --scale=published    the paper's bars alone

Writes results/<scale>/figure3.png, .svg and .csv; the claims as claims_figure3.md and .csv; of
ours also figure3_curves, the winners' learning curves, and figure3_space, the search spaces.
"""

import sys

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.command_line import main
from analysis.drawing import plots
from analysis.figures import Analysis, Rows
from analysis.statistics import claims
from experiments import figure3 as experiment


def draw(rows: Rows) -> Figure:
    """Draws the bars of each row's title, a panel a workload."""
    return plots.sheet(rows, plots.by_workload(rows), _draw_panel, legend=True)


def _draw_panel(ax: Axes, bars: pd.DataFrame) -> str:
    plots.fresh_example_bars(ax, bars)
    return plots.WORKLOADS[bars["workload"].iloc[0]]


ANALYSIS = Analysis(experiment.EXPERIMENT, draw, claims.figure3())

if __name__ == "__main__":
    sys.exit(main(__doc__, ANALYSIS.make))
