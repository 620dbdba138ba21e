"""The search spaces with what was found in them: reached, not reached, infeasible, and each search's best."""

import json
import math
import textwrap
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.drawing import plots
from analysis.statistics import reach

COLUMNS = 3
MARKS: dict[str, Any] = {
    "not reached or stopped": {"marker": "o", "s": 14, "facecolors": "none", "edgecolors": "#808080"},
    "reached": {"marker": "o", "s": 14, "color": "#3b6fb6"},
    "infeasible": {"marker": "x", "s": 14, "color": "#b2182b"},
    "best of its search": {"marker": "*", "s": 70, "facecolors": "#fdb863", "edgecolors": "black", "linewidths": 0.5},
}


def kinds(trials: pd.DataFrame) -> pd.Series:
    """What became of each trial, one of the first three MARKS."""
    found = trials["reached_target"].map({True: "reached", False: "not reached or stopped"})
    return found.where(trials["status"] != "infeasible", "infeasible")


def draw(trials: pd.DataFrame, studies: pd.DataFrame, winners: pd.DataFrame) -> Figure:
    """A panel a study: learning rate against 1 - momentum, both on log scales, the edges of the space drawn."""
    columns = min(COLUMNS, len(studies))
    shape = (math.ceil(len(studies) / columns), columns)
    size = (2.6 * shape[1], 2.5 * shape[0] + 0.4)
    figure, axes = plt.subplots(*shape, figsize=size, squeeze=False, layout="constrained")
    labels = plots.study_labels(studies)
    for ax, (_, study), label in zip(axes.flat, studies.iterrows(), labels, strict=False):
        draw_study(ax, reach.of_study(trials, study), study, reach.of_study(winners, study))
        ax.set_title(f"{plots.WORKLOADS[study['workload']]}\n{textwrap.fill(label, 34)}", fontsize=8)
        ax.set_xlabel("learning rate")
    for ax in axes.flat[len(studies) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("1 - momentum")
    handles = [plt.scatter([], [], label=kind, **mark) for kind, mark in MARKS.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(MARKS), fontsize=8, frameon=False)
    return figure


def draw_study(ax: Axes, trials: pd.DataFrame, study: pd.Series, winners: pd.DataFrame) -> Axes:
    """Draws the trials of all searches of one study."""
    space = json.loads(study["config"])["search_space"]
    rates, momenta = ([space[name][end] for end in ("low", "high")] for name in ("learning_rate", "momentum"))
    corners = [(rates[i], 1 - momenta[j]) for i, j in ((0, 0), (0, 1), (1, 1), (1, 0), (0, 0))]
    ax.plot(*zip(*corners, strict=True), color="#404040", linewidth=0.8, linestyle=":")
    for kind, rows in trials.groupby(kinds(trials)):
        ax.scatter(rows["learning_rate"], 1 - rows["momentum"], **MARKS[str(kind)])
    ax.scatter(winners["learning_rate"], 1 - winners["momentum"], **MARKS["best of its search"])
    for axis, set_scale in ((ax.xaxis, ax.set_xscale), (ax.yaxis, ax.set_yscale)):
        set_scale("log")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    return ax
