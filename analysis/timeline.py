"""When upstream and downstream work, without echoing and with it (Figures 1 and 2 of the paper), from real runs.

    python -m analysis.timeline --scale=small       a second; python -m experiments.timeline records the runs

Writes results/<scale>/timeline.png and .svg and prints how busy each side was.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.command_line import main
from analysis.drawing import plots, report
from experiments import workloads
from experiments.protocol import files, tables

SIDES = {"upstream": "#3b6fb6", "downstream": "#1b5e20"}
RUN_KEYS = ["workload", "variant", "echo_factor", "ratio"]
COLUMNS = {"workload": str, "variant": str, "echo_factor": float, "ratio": float, "side": str}
COLUMNS |= {"start_seconds": float, "end_seconds": float}
SHOWN_UPSTREAM_SPANS = 16


def has_results(results: Path, scale: str) -> bool:
    """Whether there is anything to draw."""
    return (results / scale / "timeline.csv").exists()


def utilisation(spans: pd.DataFrame) -> pd.DataFrame:
    """Share of the time that each side of each run worked, from the first batch to the last step."""
    rows = []
    for keys, run in spans.groupby(RUN_KEYS):
        end = run.loc[run["side"] == "downstream", "end_seconds"].max()
        for side in SIDES:
            mine = run[run["side"] == side]
            busy = (mine["end_seconds"].clip(upper=end) - mine["start_seconds"].clip(upper=end)).sum()
            rows.append(
                dict(zip(RUN_KEYS, keys, strict=True)) | {"side": side, "seconds": end, "utilisation": busy / end}
            )
    return pd.DataFrame(rows)


def draw(spans: pd.DataFrame) -> Figure:
    """One panel a run, the same stretch of time from the middle of each."""
    runs = list(spans.groupby(RUN_KEYS))
    upstream = spans[spans["side"] == "upstream"]
    shown = SHOWN_UPSTREAM_SPANS * (upstream["end_seconds"] - upstream["start_seconds"]).mean()
    figure, axes = plt.subplots(
        len(runs), 1, figsize=(7.5, 1.5 * len(runs)), squeeze=False, sharex=True, layout="constrained"
    )
    busy = utilisation(spans).set_index([*RUN_KEYS, "side"])["utilisation"]
    for ax, (_, run) in zip(axes[:, 0], runs, strict=True):
        start = (run["end_seconds"].max() - shown) / 2
        lanes(ax, run.assign(**{end: run[end] - start for end in ("start_seconds", "end_seconds")}), shown)
        workload, variant, factor, ratio = run.iloc[0][RUN_KEYS]
        ax.set_yticks([1, 0], [f"{side}\n{busy[workload, variant, factor, ratio, side]:.0%} busy" for side in SIDES])
        name = plots.LABELS[variant].replace("\n", " ")
        ax.set_title(f"{plots.WORKLOADS[workload]}, R = {ratio:g}: {name}, e = {factor:g}", fontsize=9, loc="left")
    axes[-1, 0].set_xlabel("seconds")
    return figure


def lanes(ax: Axes, run: pd.DataFrame, seconds: float) -> Axes:
    """Draws the spans between 0 and `seconds` of one run, a lane a side."""
    for height, (side, colour) in zip((1, 0), SIDES.items(), strict=True):
        mine = run[(run["side"] == side) & (run["end_seconds"] > 0) & (run["start_seconds"] < seconds)]
        starts = np.maximum(mine["start_seconds"], 0)
        widths = np.minimum(mine["end_seconds"], seconds) - starts
        ax.broken_barh(
            list(zip(starts, widths, strict=True)), (height - 0.35, 0.7), color=colour, edgecolor="white", linewidth=0.4
        )
    ax.set_xlim(0, seconds)
    return ax


def make(results: Path, scale: str) -> str:
    """Draws and writes the timeline of a scale and returns how busy each side was.

    Raises:
      ResultsError: none was recorded, or the table is damaged.
    """
    path = results / scale / "timeline.csv"
    spans = tables.recorded(path, COLUMNS, f"python -m experiments.timeline --scale={scale}")
    files.write_together(plots.pictures(draw(spans), path.with_suffix("")))
    table = utilisation(spans)
    table["seconds"] = table["seconds"].map("{:.1f}".format)
    table["utilisation"] = table["utilisation"].map("{:.0%}".format)
    return f"{report.markdown(table.astype(str))}\n\ndrawn: {path.with_suffix('.png')}"


if __name__ == "__main__":
    sys.exit(main(__doc__, make, scales=workloads.SCALES))
