"""How results look: DataFrames in, matplotlib Axes out. One colour a variant throughout the suite.

The colours differ in lightness as well as in hue, and the baseline is hatched, so that the plots read in grey and
without red and green.
"""

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from experiments import workloads

COLOURS = {
    "baseline": "#d9d9d9",
    "batch": "#3b6fb6",
    "example": "#a6dba0",
    "example_after_augmentation": "#a6dba0",
    "example_before_augmentation": "#1b5e20",
}
LABELS = {
    "baseline": "baseline",
    "batch": "batch\nechoing",
    "example": "example\nechoing",
    "example_after_augmentation": "example\nechoing\nafter aug.",
    "example_before_augmentation": "example\nechoing\nbefore aug.",
}
EDGE = "#404040"
WIDEST = 3
"""More panels than this beside each other cannot be read where pages are 840 pixels wide."""
WORKLOADS = {name: workload.title for name, workload in workloads.WORKLOADS.items()}
"""What plots call them, in the order of their panels."""

plt.rcParams.update(
    {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "svg.hashsalt": "data-echoing"}
)


def title(scale: str) -> str:
    """What panels of our own results are called."""
    kinds = {
        "smoke": "smoke test, not a result",
        "small": "ours, a small stand-in",
        "gpu": "ours, a stand-in for one GPU",
        "paper": "ours, paper scale",
    }
    return kinds[scale]


def fresh_example_bars(ax: Axes, rows: pd.DataFrame) -> Axes:
    """Draws mean fresh examples of each variant of one workload, with whiskers from minimum to maximum.

    Args:
      ax: where to draw.
      rows: one row a variant, as `reach.per_study` gives them.
    """
    rows = rows.sort_values("variant", key=lambda column: column.map(list(LABELS).index), ignore_index=True)
    baseline = rows.loc[rows["variant"] == "baseline", "mean_fresh_examples"]
    for x, (_, row) in enumerate(rows.iterrows()):
        bar(ax, x, row, baseline.iloc[0] if len(baseline) else None)
    return _finish(ax, range(len(rows)), [LABELS[variant] for variant in rows["variant"]])


def grouped_bars(ax: Axes, rows: pd.DataFrame, key: str, describe: Callable[[float], str]) -> Axes:
    """Draws mean fresh examples in a group for each value of `key`, a bar a variant in each; the legend is `sheet`'s.

    Args:
      ax: where to draw.
      rows: one row a bar, as `reach.per_study` gives them; an echoing variant is compared with its group's baseline,
        or with the only one where groups have none of their own.
      key: the column that tells groups apart.
      describe: what to write below a group.
    """
    variants = [variant for variant in LABELS if variant in set(rows["variant"])]
    groups = sorted(rows[key].unique())
    width = 0.8 / rows.groupby(key)["variant"].nunique().max()
    baselines = rows[rows["variant"] == "baseline"]
    for x, group in enumerate(groups):
        members = rows[rows[key] == group].sort_values("variant", key=lambda column: column.map(variants.index))
        own = baselines[baselines[key] == group]
        baseline = (own if len(own) else baselines)["mean_fresh_examples"]
        for i, (_, row) in enumerate(members.iterrows()):
            place = x + (i - (len(members) - 1) / 2) * width
            bar(ax, place, row, baseline.iloc[0] if len(baseline) else None, width)
    return _finish(ax, range(len(groups)), [describe(group) for group in groups])


def bar(ax: Axes, x: float, row: pd.Series, baseline: float | None, width: float = 0.8) -> None:
    """Draws one bar with its whisker.

    The dashed line across an echoing variant's bar lies at the baseline's mean divided by its echo factor: echoed
    examples as useful as fresh ones. A variant that reached its target in some searches only says so; one that never
    did has no bar.
    """
    mean, low, high = (row[f"{end}_fresh_examples"] for end in ("mean", "min", "max"))
    variant = row["variant"]
    ax.bar(x, mean, color=COLOURS[variant], edgecolor=EDGE, linewidth=0.6, hatch=_hatch(variant), width=width)
    if row["reached"]:
        ax.errorbar(x, mean, [[mean - low], [high - mean]], color="black", linewidth=1, capsize=3)
    if row["reached"] < row["searches"]:
        words, turned = f"{row['reached']} of {row['searches']}", 90 if width < 0.4 else 0
        words += " reached" if turned else "\nreached"
        frame = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        ax.annotate(words, (x, 0), ha="center", va="bottom", fontsize=7, rotation=turned, bbox=frame)
    if variant != "baseline" and baseline is not None:
        reach = width * 0.45 / 0.8
        ideal = baseline / row["echo_factor"]
        ax.plot([x - reach, x + reach], [ideal, ideal], "--", color="black", linewidth=1)


def _hatch(variant: str) -> str | None:
    return "///" if variant == "baseline" else None


def _finish(ax: Axes, places: Sequence[float], labels: list[str]) -> Axes:
    ax.set_xticks(places, labels, fontsize=7.5)
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set_ylim(bottom=0)
    return ax


def best_values(ax: Axes, rows: pd.DataFrame) -> Axes:
    """Draws each variant's mean best value as a point, with whiskers where there are ends; the baseline's dashed.

    Args:
      ax: where to draw.
      rows: one row a variant of one workload, as `reach.best_values` gives them; the paper's have no ends.
    """
    rows = rows.sort_values("variant", key=lambda column: column.map(list(LABELS).index), ignore_index=True)
    baseline = rows.loc[rows["variant"] == "baseline", "mean_best_value"].iloc[0]
    ax.axhline(baseline, color="black", linestyle="--", linewidth=1)
    for x, (_, row) in enumerate(rows.iterrows()):
        mean = row["mean_best_value"]
        if "min_best_value" in row:
            ends = [[mean - row["min_best_value"]], [row["max_best_value"] - mean]]
            ax.errorbar(x, mean, ends, color="black", linewidth=1, capsize=3, zorder=1)
        ax.scatter(x, mean, s=60, color=COLOURS[row["variant"]], edgecolors=EDGE, linewidths=0.8, zorder=2)
    ax.set_xticks(range(len(rows)), [LABELS[variant] for variant in rows["variant"]], fontsize=7.5)
    ax.margins(x=0.15, y=0.2)
    return ax


def by_workload(rows: Sequence[tuple[str, pd.DataFrame]]) -> list[Callable[[pd.DataFrame], pd.DataFrame]]:
    """For `sheet`: a column for each workload that has bars, in the paper's order."""
    found = [workload for workload in WORKLOADS if any(workload in set(bars["workload"]) for _, bars in rows)]
    return [functools.partial(_of_workload, workload) for workload in found]


def _of_workload(workload: str, bars: pd.DataFrame) -> pd.DataFrame:
    return bars[bars["workload"] == workload]


def sheet(
    rows: Sequence[tuple[str, pd.DataFrame]],
    columns: Sequence[Callable[[pd.DataFrame], pd.DataFrame]],
    draw: Callable[[Axes, pd.DataFrame], str],
    ylabel: str = "fresh examples read to target",
    legend: bool = False,
) -> Figure:
    """Draws panels: a row for each (title, bars), a column for each choice of bars; turned if that is too wide or tall.

    Args:
      rows: titles, such as `published`, and the bars to choose panels from.
      columns: choose a panel's bars; where there are none, the panel says that it was not run.
      draw: draws a panel and returns its heading.
      ylabel: of all panels.
      legend: whether to add one of the variants' colours.
    """
    turned = not 1 < len(columns) <= WIDEST
    shape = (len(columns), len(rows)) if turned else (len(rows), len(columns))
    figure, axes = plt.subplots(*shape, figsize=(3.1 * shape[1], 2.7 * shape[0]), squeeze=False, layout="constrained")
    for i, (title, bars) in enumerate(rows):
        for j, choose in enumerate(columns):
            ax = axes[j, i] if turned else axes[i, j]
            panel = choose(bars)
            if panel.empty:
                ax.set_axis_off()
                ax.text(0.5, 0.5, "not run", ha="center", color="grey")
                continue
            ax.set_title(f"{draw(ax, panel)}\n{title}", fontsize=9)
            if ax.get_subplotspec().is_first_col():
                ax.set_ylabel(ylabel)
    if legend:
        drawn = {variant for _, bars in rows for variant in bars["variant"]}
        handles = _legend([variant for variant in LABELS if variant in drawn])
        figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=7, frameon=False)
    return figure


def _legend(variants: Sequence[str]) -> list[Artist]:
    patches = [
        Patch(
            facecolor=COLOURS[variant], edgecolor=EDGE, hatch=_hatch(variant), label=LABELS[variant].replace("\n", " ")
        )
        for variant in variants
    ]
    ideal = Line2D([], [], color="black", linewidth=1, linestyle="--", label="baseline / e")
    ends = Line2D([], [], color="black", linewidth=0, marker="|", markersize=9, label="lowest to highest search")
    return [*patches, ideal, ends]


def study_labels(studies: pd.DataFrame) -> list[str]:
    """A short name for each study: variant, echo factor, and the sizes in which its workload's studies differ."""
    words = {"batch_size": "batch", "shuffle_buffer": "buffer", "repeated_batch_buffer": "repeated batches in"}
    values = {workload: rows[list(words)].nunique() for workload, rows in studies.groupby("workload")}
    labels = []
    for _, study in studies.iterrows():
        varied = [key for key in words if values[study["workload"]][key] > 1]
        sizes = [f", {words[key]} {study[key]:g}" for key in varied if key != "repeated_batch_buffer" or study[key]]
        factor = "" if study["variant"] == "baseline" else f" e = {study['echo_factor']:g}"
        labels.append(LABELS[study["variant"]].replace("\n", " ").replace(" echoing", "") + factor + "".join(sizes))
    return labels


def pictures(figure: Figure, path: Path, svg: bool = True) -> dict[Path, bytes]:
    """A figure as PNG, and as SVG, by the paths they belong at; the same bytes for the same figure. Closes it.

    By the canvases themselves: `savefig` draws a figure twice for each form, and lays it out anew.
    """
    png = io.BytesIO()
    figure.set_dpi(150)
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    found = {path.with_suffix(".png"): png.getvalue()}
    if svg:
        drawn = io.BytesIO()
        figure.set_layout_engine("none")
        FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None, "Creator": None})
        found[path.with_suffix(".svg")] = drawn.getvalue()
    plt.close(figure)
    return found
