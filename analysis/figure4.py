"""Figure 4: training time against e at several R, and timed reruns at R = 6, ours beside the paper's.

    python -m analysis.figure4 --scale=small        ours beside the paper's; a second
    python -m analysis.figure4 --scale=published    the paper's alone

Writes, to results/<scale>/: figure4.png and .svg (version 1: modelled from fresh examples, on top of it the seconds
that reruns took for each, times the same fresh examples), figure4_timed.png and .svg (version 3: the reruns' own
seconds), figure4.csv, claims_figure4.md and .csv.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, ScalarFormatter

from analysis import figures
from analysis.command_line import main
from analysis.drawing import plots, report
from analysis.statistics import claims, claims_figure4, paper, reach, training_time, uncertainty
from experiments import figure4 as experiment
from experiments.protocol import files, tables

Source = tuple[str, pd.DataFrame, pd.DataFrame]
"""A title, the rows of fresh examples, and the timed reruns, as `training_time.measured` gives them."""


def published() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The paper's fresh examples at e = 1 to 5 (ImageNet, Figure 4) and 1, 2, 4 (LM1B, Figure 5a), and its seconds.

    Figure 4's fresh examples are of the reruns that were timed, and stand for the searches' as well.
    """
    rows = pd.concat([paper.bars(4), paper.bars(5).query("panel == 'a'")])
    rows = rows[rows["echo_factor"] <= max(experiment.ECHO_FACTORS)].reset_index(drop=True)
    seconds = paper.seconds()
    timed = rows.set_index(["workload", "echo_factor"])
    timed = timed.loc[pd.MultiIndex.from_frame(seconds[["workload", "echo_factor"]])]
    for end in ("mean", "min", "max"):
        seconds[f"{end}_rerun_fresh_examples"] = timed[f"{end}_fresh_examples"].to_numpy()
    # In seconds, as t_downstream was not published; only their ratios count.
    seconds["batch_downstreams"] = (
        seconds["mean_seconds"] * seconds["batch_size"] / seconds["mean_rerun_fresh_examples"]
    )
    return rows, seconds.assign(reruns=5, reruns_at_target=5)


def ours(results: Path, scale: str) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, np.ndarray], list[str]]:
    """Our fresh examples, our timed reruns, both in drawn editions, and notes on what was left out.

    Of each workload with all its studies.
    """
    chosen, trials = figures.selected(experiment.EXPERIMENT, results, scale)
    studies = chosen.studies
    rows = reach.per_study(trials, studies)
    goals = ["min"] * len(studies)
    timed = tables.wall_clock(results, scale)
    timed = timed[timed["config_hash"].isin(studies["config_hash"])]  # a rerun of another configuration tells nothing
    drawn = training_time.drawn_means(timed, rows)
    drawn["mean_fresh_examples"] = uncertainty.drawn_means(trials, studies, "fresh_examples_to_target", goals=goals)
    return rows, training_time.measured(timed, rows), drawn, chosen.notes


def draw(sources: list[Source]) -> Figure:
    """Version 1: a panel for each source and workload, a line for each R, timed points in the line's colour."""
    shown = [w for w in plots.WORKLOADS if any(w in set(rows["workload"]) for _, rows, _ in sources)]
    shape = (len(sources), len(shown))
    figure, axes = plt.subplots(
        *shape, figsize=(3.2 * shape[1] + 1.8, 3 * shape[0]), squeeze=False, sharey=True, layout="constrained"
    )
    for i, (title, rows, timed) in enumerate(sources):
        for j, workload in enumerate(shown):
            ax = axes[i, j]
            training_times(ax, rows[rows["workload"] == workload], timed[timed["workload"] == workload])
            ax.set_title(f"{plots.WORKLOADS[workload]}\n{title}", fontsize=9)
        axes[i, 0].set_ylabel("training time\n(baseline without waiting = 1)")
    lines, labels = axes[0, 0].get_legend_handles_labels()
    words = "lines: modelled"
    if any("ratio" in timed and len(timed) for *_, timed in sources):
        words += "\npoints: timed reruns (five at\nR = 6, else one), for the\nsearches' fresh examples"
    figure.legend(
        lines[::-1],
        labels[::-1],
        loc="outside right center",
        frameon=False,
        title=words,
    )
    return figure


def training_times(ax: Axes, rows: pd.DataFrame, timed: pd.DataFrame) -> Axes:
    """Draws modelled time against e, a line an R, with the timed reruns' mean and range on top."""
    for number, (ratio, line) in enumerate(training_time.modelled(rows, experiment.RATIOS).groupby("ratio")):
        colour = plt.get_cmap("viridis")(0.9 - 0.9 * number / (len(experiment.RATIOS) - 1))
        ax.plot(line["echo_factor"], line["relative_time"], color=colour, linewidth=1.2, label=f"R = {ratio:g}")
        points = timed[(timed["ratio"] == ratio) & timed["mean_relative"].notna()] if "ratio" in timed else timed[:0]
        if len(points):
            mean, low, high = (points[f"{end}_relative"] for end in ("mean", "min", "max"))
            ax.errorbar(
                points["echo_factor"], mean, [mean - low, high - mean], fmt="o", color=colour, markersize=4, capsize=2
            )
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(FixedLocator([0.5, 1, 2, 3, 4, 5, 6, 8]))
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.yaxis.set_minor_locator(FixedLocator([]))
    ax.set_xlabel("echo factor e")
    ax.set_xticks(range(1, max(experiment.ECHO_FACTORS) + 1))
    return ax


def draw_timed(sources: list[Source]) -> Figure:
    """Version 3: for each source and workload the reruns' fresh examples beside seconds, a bar an e, with speed-ups."""
    panels = []
    for title, rows, seconds in sources:
        table = training_time.with_seconds(rows, at_wall_clock_ratio(seconds))
        table = table[table["mean_seconds"].notna()]
        panels += [
            (f"{plots.WORKLOADS[str(w)]}, {title}", t)
            for w, t in table.groupby("workload")
            if 1 in set(t["echo_factor"])
        ]
    figure, axes = plt.subplots(len(panels), 2, figsize=(6.4, 2.7 * len(panels)), squeeze=False, layout="constrained")
    for pair, (title, table) in zip(axes, panels, strict=True):
        bars(pair[0], table, "rerun_fresh_examples")
        bars(pair[1], table, "seconds")
        pair[0].set_ylabel("fresh examples to target")
        pair[1].set_ylabel("seconds to target, R = 6")
        pair[0].set_title(title, fontsize=9, loc="left")
    return figure


def bars(ax: Axes, rows: pd.DataFrame, quantity: str) -> Axes:
    """Draws the mean of a quantity for each e, whiskers from minimum to maximum, dashed the baseline's over e.

    Above a bar: the speed-up, and how many reruns reached the target if not all of them did.
    """
    baseline = rows.loc[rows["variant"] == "baseline", f"mean_{quantity}"].iloc[0]
    for _, row in rows.iterrows():
        factor, mean = row["echo_factor"], row[f"mean_{quantity}"]
        echoing = row["variant"] != "baseline"
        colour = plt.get_cmap("Greens")(0.25 + 0.12 * factor) if echoing else plots.COLOURS["baseline"]
        hatch = None if echoing else "///"
        ax.bar(factor, mean, color=colour, edgecolor="#404040", linewidth=0.6, hatch=hatch, width=0.8)
        whiskers = [[mean - row[f"min_{quantity}"]], [row[f"max_{quantity}"] - mean]]
        ax.errorbar(factor, mean, whiskers, color="black", linewidth=1, capsize=3)
        if echoing:
            ax.plot([factor - 0.45, factor + 0.45], [baseline / factor] * 2, "--", color="black", linewidth=1)
        notes = [f"{baseline / mean:.2f}x"] if echoing else []
        if row["reruns_at_target"] < row["reruns"]:
            notes.insert(0, f"{row['reruns_at_target']:.0f} of {row['reruns']:.0f}\nreached")
        above = (factor, row[f"max_{quantity}"])
        ax.annotate("\n".join(notes), above, (0, 3), textcoords="offset points", ha="center", fontsize=8)
    ax.set_xlabel("echo factor e (dashed: baseline / e)")
    ax.set_xticks(rows["echo_factor"])
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set_ylim(0, 1.25 * rows[f"max_{quantity}"].max())  # room for what stands above the bars
    return ax


def at_wall_clock_ratio(seconds: pd.DataFrame) -> pd.DataFrame:
    """The rows at R = 6; published seconds, which have no R of their own, all are."""
    return seconds[seconds["ratio"] == training_time.WALL_CLOCK_RATIO] if "ratio" in seconds else seconds


def check(ours: pd.DataFrame, scale: str, drawn: Mapping[str, np.ndarray] | None = None) -> pd.DataFrame:
    """The figure's claims on the paper's numbers and on ours; not run where ours has no rows.

    Args:
      ours: fresh examples beside seconds, as `training_time.with_seconds` gives them.
      scale: for the command in the table.
      drawn: as `claims.check` takes it.
    """
    command = f"{experiment.EXPERIMENT.command} --scale={scale}"
    return claims.check(claims_figure4.figure4(), _joined(published()), ours, command, drawn=drawn)


def missed_baselines(rows: pd.DataFrame) -> list[str]:
    """A note on each workload some of whose baseline reruns at R = 6 missed the target."""
    missed = rows[(rows["variant"] == "baseline") & (rows["reruns_at_target"] < rows["reruns"])]
    return [
        f"{row['workload']}: {row['reruns_at_target']:.0f} of {row['reruns']:.0f} baseline reruns at R = 6 reached the "
        "target, so its speed-ups are more than the means"
        for _, row in missed.iterrows()
    ]


def _joined(rows_and_seconds: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    rows, seconds = rows_and_seconds
    return training_time.with_seconds(rows, at_wall_clock_ratio(seconds))


def _model_errors(seconds: pd.DataFrame) -> str:
    return report.describe_model_errors(training_time.model_errors(seconds))


def make(results: Path, scale: str) -> str:
    """Draws and writes the figure at one scale and returns its numbers in words."""
    theirs_timed = published()
    sources: list[Source] = [("published", *theirs_timed)]
    notes: list[str] = []
    folder = results / scale
    if scale == paper.PUBLISHED:
        (rows, seconds), drawn = theirs_timed, None
    else:
        rows, seconds, drawn, notes = ours(results, scale)
        sources.append((plots.title(scale), rows, seconds))
    theirs, mine = _joined(theirs_timed), _joined((rows, seconds))
    table = check(mine, scale, drawn)
    notes = [*notes, *missed_baselines(mine)]
    if scale == paper.PUBLISHED:
        table = table.drop(columns=["ours", "command"])
    files.write_together(
        plots.pictures(draw(sources), folder / "figure4")
        | plots.pictures(draw_timed(sources), folder / "figure4_timed")
        | {folder / "figure4.csv": mine.to_csv(index=False)}
        | report.claims(folder, 4, table, notes)
    )
    return "\n\n".join(
        [
            *(
                f"{title}:\n\n{report.describe_speedups(training_time.speedups(t))}"
                for (title, *_), t in zip(sources, (theirs, mine), strict=False)
            ),
            *([f"timed seconds against the model:\n\n{_model_errors(seconds)}"] if "ratio" in seconds else []),
            report.markdown(table),
            *report.bullets(notes),
            f"drawn: {folder / 'figure4.png'}, {folder / 'figure4_timed.png'}",
        ]
    )


class TrainingTime:
    """Figure 4 as `analysis.all` draws it beside the others."""

    number = experiment.EXPERIMENT.number
    make = staticmethod(make)
    check = staticmethod(check)

    def has_results(self, results: Path, scale: str) -> bool:
        """Whether a workload has all of its studies."""
        return figures.has_results(experiment.EXPERIMENT, results, scale)


ANALYSIS = TrainingTime()

if __name__ == "__main__":
    sys.exit(main(__doc__, ANALYSIS.make))
