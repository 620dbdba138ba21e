"""Figure 3: fresh examples to the target, baseline beside each echoing variant at e = 2, a panel a workload.

    python -m analysis.figure3 --scale=small        ours beside the paper's; a second
    python -m analysis.figure3 --scale=published    the paper's bars alone

Writes results/<scale>/figure3.png, .svg and .csv, and the claims as claims_figure3.md (published: results/paper/).
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from analysis import claims, load, plots, reach, report
from analysis.command_line import main
from experiments import figure3 as experiment
from experiments import workloads

FIGURE = 3


def our_bars(results: Path, scale: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Our bars of this figure, and where the winners lie in the search spaces."""
    listed = [
        study
        for workload in experiment.PANELS.values()
        for study in experiment.studies(workloads.load(workload, scale))
    ]
    studies = load.of_studies(load.table(results, scale, "studies"), listed)
    echoing = studies.loc[studies["variant"] != "baseline", "workload"]
    studies = studies[studies["workload"].isin(echoing)]  # a baseline alone compares with nothing
    trials = load.table(results, scale, "trials")
    return reach.per_study(trials, studies), reach.edges(trials, studies)


def draw(rows: list[tuple[str, pd.DataFrame]]) -> Figure:
    """Draws one row of panels for each (title, bars): beside each other if there is one workload, else a grid."""
    workloads = [w for w in plots.WORKLOADS if any(w in set(bars["workload"]) for _, bars in rows)]
    single = len(workloads) == 1
    shape = (1, len(rows)) if single else (len(rows), len(workloads))
    figure, axes = plt.subplots(*shape, figsize=(3.1 * shape[1], 2.9 * shape[0]), squeeze=False, layout="constrained")
    for i, (title, bars) in enumerate(rows):
        for j, workload in enumerate(workloads):
            ax = axes[0, i] if single else axes[i, j]
            panel = bars[bars["workload"] == workload]
            if panel.empty:
                ax.set_axis_off()
                ax.text(0.5, 0.5, "not run", ha="center", color="grey")
                continue
            plots.fresh_example_bars(ax, panel)
            ax.set_title(f"{plots.WORKLOADS[workload]}\n{title}", fontsize=9)
            if single or j == 0:
                ax.set_ylabel("fresh examples read to target")
    return figure


def make(results: Path, scale: str) -> str:
    """Draws and writes the figure at one scale and returns its numbers in words."""
    published = load.published(results, FIGURE)
    if scale == load.PUBLISHED:
        bars, ours, rows, told = published, published, [("published", published)], []
        folder = results / "paper"
    else:
        bars, edges = our_bars(results, scale)
        ours, folder = bars, results / scale
        shown = published[published["workload"].isin(bars["workload"])]
        ours_title = "smoke test, not a result" if scale == "smoke" else f"this reproduction, {scale} scale"
        rows = [("published", shown), (ours_title, bars)]
        told = [report.describe_edges(edges)]
    plots.save(draw(rows), folder / "figure3")
    report.save_table(bars, folder / "figure3.csv")
    table = claims.check(claims.figure3(), published, ours, f"python -m experiments.figure3 --scale={scale}")
    if scale == load.PUBLISHED:
        table = table.drop(columns=["ours", "command"])
    report.save_table(table, folder / "claims_figure3.md")
    return "\n\n".join([report.describe(bars), *told, report.markdown(table), f"drawn: {folder / 'figure3.png'}"])


if __name__ == "__main__":
    sys.exit(main(__doc__, make))
