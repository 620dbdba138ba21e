"""Learning curves of the winning trials: mean and one standard deviation over the searches (the paper's appendix)."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from analysis.drawing import plots
from analysis.statistics import reach
from experiments.protocol.tables import STUDY_KEYS

COLUMNS = 2
"""As many panels beside each other as can be read where pages are 840 pixels wide."""
MOST_LINES = 6
"""Panels of more lines than this are drawn larger, so that their legend fits."""
FAMILIES = {"baseline": "Greys", "batch": "Blues"}
"""Colour map of each variant's lines; the other variants' is Greens."""


def curves(measurements: pd.DataFrame, winners: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation of the winners' metric over fresh examples, one row a study and point.

    Columns: the study's keys, `fresh_examples`, `mean`, `deviation`, `winners`. The points are those at which any
    winner was measured, from where all of them have begun; between its measurements a winner's metric is interpolated
    linearly, and a winner that has ended, at the target for instance, stays where it ended. A value that is not finite
    counts as not measured.

    Args:
      measurements: `fresh_examples` and `value` by study, search and trial.
      winners: the trials to show, one a study and search.
    """
    keys = [*STUDY_KEYS, "search", "trial"]
    won = measurements[np.isfinite(measurements["value"])].merge(winners[keys], on=keys)
    tables = [won[STUDY_KEYS].iloc[:0].assign(fresh_examples=0.0, mean=0.0, deviation=0.0, winners=0)]
    for _, rows in won.groupby(STUDY_KEYS):
        lines = [line.sort_values("fresh_examples") for _, line in rows.groupby("search")]
        x, mean, deviation = mean_curve([line[["fresh_examples", "value"]].to_numpy(float) for line in lines])
        table = rows[STUDY_KEYS].iloc[[0] * len(x)].reset_index(drop=True)
        table = table.assign(fresh_examples=x, mean=mean, deviation=deviation, winners=len(lines))
        tables.append(table)
    return pd.concat(tables[1:] or tables, ignore_index=True)


def mean_curve(lines: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, mean and standard deviation of lines [points, 2] that are measured at different places."""
    x = np.unique(np.concatenate([line[:, 0] for line in lines]))
    x = x[x >= max(line[0, 0] for line in lines)]
    values = np.array([np.interp(x, line[:, 0], line[:, 1]) for line in lines])
    return x, values.mean(axis=0), values.std(axis=0)


def draw(table: pd.DataFrame, studies: pd.DataFrame) -> Figure:
    """A panel for each workload and batch size, a line for each study in it, the target dashed.

    Args:
      table: what `curves` gives.
      studies: the same studies' `metric`, `goal` and `target`.
    """
    panels = [members for _, members in studies.groupby(["workload", "batch_size"])]
    crowded = max(len(members) for members in panels) > MOST_LINES
    columns = 1 if crowded else min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    size = (6.4, 4.8 * rows) if crowded else (4.0 * columns, 3.2 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for members, ax in zip(panels, axes.flat, strict=False):
        draw_panel(ax, table, members)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    return figure


def draw_panel(ax: Axes, table: pd.DataFrame, studies: pd.DataFrame) -> Axes:
    """Draws the curves of studies of one workload and batch size."""
    colours, first = line_colours(studies), studies.iloc[0]
    lines = [reach.of_study(table, study) for _, study in studies.iterrows()]
    for line, index, label in zip(lines, studies.index, plots.study_labels(studies), strict=True):
        x, mean, deviation = (line[column].to_numpy(float) for column in ("fresh_examples", "mean", "deviation"))
        words = label if len(line) else f"{label}: no winner"
        ax.plot(x, mean, color=colours[index], linewidth=1.2, label=words)
        ax.fill_between(x, mean - deviation, mean + deviation, color=colours[index], alpha=0.25, linewidth=0)
    ax.axhline(first["target"], color="black", linestyle="--", linewidth=1, label="target")
    _limit(ax, pd.concat([line["mean"] for line in lines]), first["goal"])
    ax.set_title(f"{plots.WORKLOADS[first['workload']]}, batch {first['batch_size']}", fontsize=9)
    ax.set_xlabel("fresh examples read")
    ax.set_ylabel(first["metric"].replace("_", " "))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.legend(fontsize=6.5, frameon=False)
    return ax


def line_colours(studies: pd.DataFrame) -> dict[object, tuple[float, ...]]:
    """A colour for each row: one colour map a variant, deeper for later rows."""
    families = studies["variant"].map(lambda variant: FAMILIES.get(variant, "Greens"))
    colours = {}
    for family, members in studies.groupby(families):
        for index, depth in zip(members.index, np.linspace(0.95, 0.45, len(members))[::-1], strict=True):
            colours[index] = plt.get_cmap(str(family))(depth)
    return colours


def _limit(ax: Axes, means: pd.Series, goal: str) -> None:
    """Cuts off the curves' steep beginnings."""
    if len(means) and goal == "min":
        ax.set_ylim(top=float(means.quantile(0.9)))
    elif len(means):
        ax.set_ylim(bottom=float(means.quantile(0.1)))
