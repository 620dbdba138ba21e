"""What a copy is worth: fresh examples saved against e, batch size and buffer, the paper's and ours in one plot.

    python -m analysis.reuse --scale=small       a few seconds

A study that needs a share s of its baseline's fresh examples saves with e - 1 copies of each what 1/s - 1 fresh ones
would have given. Simple forms of 1/s are fitted to every setting that was run at three e or more, by least squares on
its logarithm, and judged by their error at a point that they were not fitted to. Writes results/<scale>/reuse.png and
.csv, and prints the fits.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import least_squares

from analysis import figure3, figure4, figure5, figure6, figure7
from analysis.command_line import main
from analysis.drawing import plots, report
from analysis.statistics import paper, reach
from experiments import workloads
from experiments.protocol import files
from experiments.protocol.study import ResultsError
from pipelines.echoing.advice import worth

FIGURES = (figure3, figure5, figure6, figure7)
SETTING = ["source", "workload", "variant", "batch_size", "shuffle_buffer", "repeated_batch_buffer"]
FEWEST = 3
"""Echo factors that a setting needs for a fit."""


@dataclass(frozen=True)
class Form:
    """A form of the speed-up 1/s over e, with one parameter in `range`, and what it says in words."""

    words: str
    speedup: Callable[[np.ndarray, float], np.ndarray]
    range: tuple[float, float]


FORMS: Mapping[str, Form] = {
    "constant worth": Form(
        "each copy is worth w fresh examples: 1 + w (e - 1)", lambda e, w: 1 + w * (e - 1), (0.0, 2.0)
    ),
    "power": Form("doubling e does the same each time: e to the power of w", lambda e, w: e**w, (0.0, 1.5)),
    "irreplaceable share": Form(
        "a share 1 - w of the fresh examples cannot be replaced: 1 / (1 - w + w / e)",
        lambda e, w: 1 / (1 - w + w / e),
        (0.0, 1.0),
    ),
    "fading worth": Form(
        "the k-th copy is worth w to the power of k: 1 + w + w^2 + ...",
        worth.speedup,
        (0.0, 0.9999),
    ),
}


def points(bars: pd.DataFrame, source: str) -> pd.DataFrame:
    """Of each echoing bar of a figure the speed-up over its baseline, of its batch size, and buffer if any."""
    rows = []
    reached = bars[bars["reached"] == bars["searches"]]
    baselines = reached[reached["variant"] == "baseline"]
    for row in reached[reached["variant"] != "baseline"].to_dict("records"):
        alike = baselines[(baselines[["workload", "batch_size"]] == [row["workload"], row["batch_size"]]).all(axis=1)]
        same = alike[alike["shuffle_buffer"] == row["shuffle_buffer"]]
        alike = same if len(same) else alike
        if len(alike):
            speedup = alike["mean_fresh_examples"].iloc[0] / row["mean_fresh_examples"]
            kept = {key: row[key] for key in SETTING[1:]}
            rows.append({"source": source, **kept, "e": row["echo_factor"], "speedup": speedup})
    return pd.DataFrame(rows, columns=[*SETTING, "e", "speedup"])


def found(results: Path, scale: str) -> pd.DataFrame:
    """The points of Figures 3, 5, 6 and 7, ours, where they were run, and the paper's; Figure 4's of both."""
    tables = [points(paper.bars(figure.ANALYSIS.number), paper.PUBLISHED) for figure in FIGURES]
    tables.append(points(figure4.published()[0].assign(repeated_batch_buffer=0), paper.PUBLISHED))
    for figure in FIGURES:
        if figure.ANALYSIS.has_results(results, scale):
            studies, trials, _ = figure.ANALYSIS.found(results, scale)
            tables.append(points(reach.per_study(trials, studies), scale))
    if figure4.ANALYSIS.has_results(results, scale):
        tables.append(points(figure4.ours(results, scale)[0], scale))
    return pd.concat(tables, ignore_index=True).drop_duplicates([*SETTING, "e"], ignore_index=True)


def fitted(form: Form, e: np.ndarray, speedup: np.ndarray) -> float:
    """The form's parameter that fits best, by least squares on the logarithm."""
    low, high = form.range

    def residuals(w: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(form.speedup(e, w[0])) - np.log(speedup))

    return float(least_squares(residuals, [(low + high) / 2], bounds=form.range).x[0])


def fits(table: pd.DataFrame) -> pd.DataFrame:
    """A row a setting and form: its parameter, its residuals, and its error at each point when fitted to the others.

    `residual` and `left_out` are root mean squares and `worst` the largest error of a point left out, as shares of the
    speed-up; `worst_e` is where that is.
    """
    rows = []
    for setting, group in table.groupby(SETTING, sort=False):
        e, speedup = group["e"].to_numpy(float), group["speedup"].to_numpy(float)
        if len(e) < FEWEST:
            continue
        for name, form in FORMS.items():
            w = fitted(form, e, speedup)
            residuals = form.speedup(e, w) / speedup - 1
            others = [np.arange(len(e)) != i for i in range(len(e))]
            out = np.array(
                [
                    float(form.speedup(e[~kept], fitted(form, e[kept], speedup[kept]))[0] / speedup[~kept][0] - 1)
                    for kept in others
                ]
            )
            rows.append(
                dict(zip(SETTING, setting, strict=True))
                | {
                    "factors": len(e),
                    "form": name,
                    "w": w,
                    "residual": float(np.sqrt(np.mean(residuals**2))),
                    "left_out": float(np.sqrt(np.mean(out**2))),
                    "worst": float(out[np.abs(out).argmax()]),
                    "worst_e": float(e[np.abs(out).argmax()]),
                }
            )
    return pd.DataFrame(rows)


def best(table: pd.DataFrame) -> str:
    """The form with the smallest error at points left out, over all settings."""
    errors = table.groupby("form")["left_out"].apply(lambda column: float(np.sqrt(np.mean(column**2))))
    return str(errors.idxmin())


def beyond_two(table: pd.DataFrame) -> pd.DataFrame:
    """What the advisor would expect of each e over 2 from the same setting's e = 2, over what was found: a row an e.

    `law` is by `worth.beyond`, `stays` as if no copy beyond the first were worth anything; each the mean over settings
    of the expected speed-up over the measured one, with `worst` the one farthest from 1.
    """
    twice = table[table["e"] == 2].set_index(SETTING)["speedup"]
    later = table[table["e"] > 2].join(twice.rename("at_two"), on=SETTING, how="inner")
    expected = [1 / worth.beyond(1 / two, 2, e) for two, e in zip(later["at_two"], later["e"], strict=True)]
    later = later.assign(law=expected / later["speedup"], stays=later["at_two"] / later["speedup"])
    by_e = later.groupby("e")
    rows = by_e[["law", "stays"]].mean().assign(settings=by_e.size())
    return rows.assign(worst=by_e["law"].agg(lambda ratios: ratios.iloc[np.abs(np.log(ratios)).argmax()])).reset_index()


def draw(table: pd.DataFrame, fit: pd.DataFrame) -> Figure:
    """Speed-up over e with the best form's curves; what the one copy of e = 2 is worth over batch size and buffer."""
    figure, axes = plt.subplots(3, 1, figsize=(6.4, 14), layout="constrained")
    form = best(fit)
    _over_e(axes[0], table, fit[fit["form"] == form], FORMS[form])
    twice = table[table["e"] == 2].assign(worth=lambda rows: rows["speedup"] - 1)
    plain = twice[twice["repeated_batch_buffer"] == 0]
    _over_size(axes[1], plain, "batch_size", "shuffle_buffer", "batch size")
    _over_size(axes[2], plain, "shuffle_buffer", "batch_size", "shuffle buffer, examples")
    return figure


def _legend(ax: Axes) -> None:
    ax.legend(fontsize=6.5, frameon=False, handlelength=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _name(row: Mapping[Any, Any]) -> str:
    source = "paper" if row["source"] == paper.PUBLISHED else "ours"
    label = plots.LABELS[row["variant"]].replace("\n", " ")
    return f"{plots.WORKLOADS[row['workload']]}, {label}, {source}"


def _over_e(ax: Axes, table: pd.DataFrame, fit: pd.DataFrame, form: Form) -> None:
    across = np.linspace(1, table["e"].max(), 100)
    for number, row in enumerate(fit.to_dict("records")):
        mine = table[(table[SETTING] == [row[key] for key in SETTING]).all(axis=1)]
        colour = plt.get_cmap("tab10")(number % 10)
        filled = row["source"] == paper.PUBLISHED
        label = f"{_name(row)}, batch {row['batch_size']:,}: w = {row['w']:.2f}"
        ax.plot(mine["e"], mine["speedup"], "o", color=colour, fillstyle="full" if filled else "none", label=label)
        ax.plot(across, form.speedup(across, row["w"]), "-" if filled else "--", color=colour, linewidth=1)
    ax.plot(across, across, color="grey", linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlabel="echo factor e", ylabel="baseline / fresh examples")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
        axis.set_ticks([1, 2, 4, 8, 16])
    ax.set_title(f"{form.words}; grey: copies as good as fresh", fontsize=8)
    _legend(ax)


def _over_size(ax: Axes, twice: pd.DataFrame, key: str, other: str, label: str) -> None:
    """A line for each workload and variant that was run at several sizes, at the other size that has most of them."""
    for number, (_, group) in enumerate(twice.groupby(["source", "workload", "variant"], sort=False)):
        kept = group if key == "batch_size" else group[group[other] == group[other].mode().iloc[0]]
        line = kept.drop_duplicates(key).sort_values(key)
        if len(line) > 1:
            row = line.iloc[0].to_dict()
            style = "-" if row["source"] == paper.PUBLISHED else "--"
            colour, marker = plots.COLOURS[row["variant"]], "osD^v"[list(plots.WORKLOADS).index(row["workload"])]
            ax.plot(line[key], line["worth"], style, marker=marker, color=colour, label=_name(row), zorder=number)
    ax.axhline(1, color="grey", linewidth=0.8)
    ax.set(xscale="log", xlabel=label, ylabel="worth of the copy at e = 2")
    ax.set_ylim(bottom=min(0.0, *ax.get_ylim()))
    _legend(ax)


def make(results: Path, scale: str) -> str:
    """Draws and writes the plot and the fits, and returns them in words.

    Raises:
      ResultsError: nothing of the figures was run at this scale.
    """
    if not has_results(results, scale):
        raise ResultsError(f"{results / scale} has no results of Figures 3 to 7")
    table = found(results, scale)
    fit = fits(table)
    path = results / scale / "reuse.png"
    files.write_together(
        {**plots.pictures(draw(table, fit), path, svg=False), path.with_suffix(".csv"): fit.to_csv(index=False)}
    )
    shown = fit.assign(**{key: fit[key].map("{:.1%}".format) for key in ("residual", "left_out", "worst")})
    shown = shown.assign(w=fit["w"].map("{:.3f}".format)).astype(str)
    errors = fit.groupby("form", sort=False)["left_out"].agg(lambda column: float(np.sqrt(np.mean(column**2))))
    words = "; ".join(f"{name}: {error:.1%}" for name, error in errors.items())
    expected = beyond_two(table).map("{:.3g}".format)
    return (
        f"{report.markdown(shown)}\n\nerror at a point left out, all settings: {words}; best: {best(fit)}, "
        f"{FORMS[best(fit)].words}\n\nExpected from e = 2 alone, over measured:\n\n{report.markdown(expected)}"
        f"\n\ndrawn: {path}"
    )


def has_results(results: Path, scale: str) -> bool:
    """Whether any of the figures was run, at a scale of ours."""
    return scale != paper.PUBLISHED and any(figure.ANALYSIS.has_results(results, scale) for figure in FIGURES)


if __name__ == "__main__":
    sys.exit(main(__doc__, make, scales=workloads.SCALES))
