"""One page that shows what held: every claim, each figure's numbers beside the paper's, and what they stand on.

    python -m analysis.report --scale=small       a few seconds

Writes results/<scale>/REPORT.md, which reads well where code is hosted, and results/<scale>/report.html: one file that
asks nothing of the network, light and dark, with Figure 4 to play with. Both are made of the committed tables alone,
the verdicts of the `claims_figure<n>.csv` that the figures' analyses write.
"""

import importlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from analysis import figure3, figure4, figure5, figure6, figure7, figure8
from analysis.command_line import main
from analysis.drawing import plots
from analysis.editions import read as read_claims
from analysis.figures import Analysis
from analysis.statistics import paper
from analysis.statistics.claims import FAILS, HOLDS, NOT_RUN, NOT_TESTABLE, UNDECIDED
from experiments import workloads
from experiments.protocol import files, tables

FIGURES = (figure3, figure4, figure5, figure6, figure7, figure8)
PAGE = Path(__file__).parent / "page"
MARKS = {HOLDS: "✓", FAILS: "✗", UNDECIDED: "?", NOT_TESTABLE: "-", NOT_RUN: ""}
POINT = ("learning_rate", "momentum", "decay_share", "first_drop", "second_drop")
CURVE_POINTS = 40


def summary(claims: pd.DataFrame) -> str:
    """What held, in one sentence made of the verdicts."""
    count = claims["verdict"].value_counts()
    decided = claims[claims["verdict"].isin([HOLDS, FAILS]) & (claims["paper"] != "")]
    agrees = (decided["verdict"] == HOLDS) == ~decided["paper"].str.contains(FAILS)
    parts = [f"{count.get(HOLDS, 0)} hold at our scale", f"{count.get(FAILS, 0)} do not"]
    parts += [f"{count[v]} are {v}" for v in (UNDECIDED, NOT_TESTABLE, NOT_RUN) if v in count]
    return (
        f"Of {len(claims)} claims of the paper's Figures 3 to 8, {', '.join(parts[:-1])} and {parts[-1]}; of the "
        f"{len(decided)} decided ones that the paper's own numbers decide too, {agrees.sum()} agree with them."
    )


@dataclass(frozen=True)
class Cell:
    """What one claim came to for one workload."""

    verdict: str
    ours: str
    paper: str
    interval: str
    wanted: str

    @property
    def mark(self) -> str:
        """The verdict as a sign."""
        return MARKS[self.verdict]


def matrix(claims: pd.DataFrame) -> list[dict[str, Any]]:
    """The claims by figure: for each a row of cells, one a workload that it is made of."""
    blocks = []
    for number, of_figure in claims.groupby(claims["figure"].str[0]):
        rows = []
        for claim, group in of_figure.groupby("claim", sort=False):
            cells = {
                row["workload"]: Cell(row["verdict"], row["ours"], row["paper"], row["95 %"], row["holds if"])
                for row in group.to_dict("records")
            }
            rows.append({"claim": claim, "cells": cells})
        blocks.append({"number": number, "rows": rows})
    return blocks


def section(module: Any, results: Path, scale: str) -> dict[str, Any]:
    """What the page shows of a figure: its claim and command, what was run, bars, and what they stand on."""
    number = module.ANALYSIS.number
    experiment = importlib.import_module(f"experiments.figure{number}")
    analysis = module.ANALYSIS if isinstance(module.ANALYSIS, Analysis) else Analysis(experiment.EXPERIMENT, _none, ())
    studies, trials, notes = analysis.found(results, scale)
    measure = analysis.measure
    bars = measure.bars(trials, studies)
    won = measure.winners(trials, studies)
    curves = _curves(tables.read(results, scale, "measurements"), won)
    title, *text = _paragraphs(experiment.__doc__)
    return {
        "number": number,
        "title": title,
        "text": text,
        "command": f"{experiment.EXPERIMENT.command} --scale={scale}",
        "notes": notes,
        "provenance": _provenance(trials, studies),
        "differs": {
            plots.WORKLOADS[name]: {"module": f"experiments/workloads/{name}.py", "text": differences(name, scale)}
            for name in plots.WORKLOADS
            if name in set(studies["workload"])
        },
        "panels": _panels(_published(number), bars, measure.mean_column),
        "stands_on": [_standing(study, won, curves, measure.column, scale) for _, study in studies.iterrows()],
        "pictures": [name for name in PICTURES if (results / scale / name.format(number)).exists()],
    }


PICTURES = ("figure{}.png", "figure{}_timed.png", "figure{}_curves.png", "figure{}_space.png")


def _published(number: int) -> pd.DataFrame:
    return figure4.published()[0] if number == figure4.ANALYSIS.number else paper.bars(number)


def _none(rows: Any) -> Any:
    """Draws nothing: Figure 4 is drawn by its own module."""


def _paragraphs(docstring: str | None) -> list[str]:
    """The paragraphs of a docstring that are no commands, each in one line; the first without `Figure 3: `."""
    parts = [part for part in (docstring or "").strip().split("\n\n") if not part.startswith("    ")]
    return [" ".join(part.split()) for part in [parts[0].partition(": ")[2], *parts[1:]]]


def differences(workload: str, scale: str) -> list[str]:
    """What a workload keeps of the paper at a scale, what differs and why: the paragraphs its module has of it."""
    docstring = importlib.import_module(f"experiments.workloads.{workload}").__doc__ or ""
    parts = re.split(r"^(\w+) scale[:.] ", docstring, flags=re.MULTILINE)
    texts = dict(zip((name.lower() for name in parts[1::2]), parts[2::2], strict=True))
    return [" ".join(part.split()) for part in texts.get(scale, "").strip().split("\n\n")]


def _provenance(trials: pd.DataFrame, studies: pd.DataFrame) -> list[dict[str, str]]:
    """Of each workload: searches, trials, hours, processors and revisions of what was run."""
    rows = []
    for workload, mine in trials.groupby("workload", sort=False):
        of_workload = studies[studies["workload"] == workload]
        processors = sorted(mine["processor"].dropna().unique())
        revisions = sorted(mine["git_revision"].unique())
        rows.append(
            {
                "workload": plots.WORKLOADS[str(workload)],
                "studies": str(len(of_workload)),
                "searches": ", ".join(sorted({str(count) for count in of_workload["searches"]})),
                "trials": f"{len(mine):,}",
                "hours": f"{mine['seconds'].sum() / 3600:,.1f}",
                "processor": "; ".join([*processors, *["not recorded"] * bool(mine["processor"].isna().any())]),
                "revision": ", ".join(revisions),
            }
        )
    return rows


def _panels(theirs: pd.DataFrame, mine: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    """For each workload the paper's bars and ours, as shares of their baselines on one axis."""
    panels = []
    for workload in (name for name in plots.WORKLOADS if name in set(mine["workload"])):
        sides = [_shares(rows[rows["workload"] == workload], column) for rows in (theirs, mine)]
        longest = max((bar["high"] for side in sides for bar in side), default=1.0)
        panels.append({"title": plots.WORKLOADS[workload], "paper": sides[0], "ours": sides[1], "longest": longest})
    return panels


def _shares(rows: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    """One bar a row: its mean and range over the searches, as a share of the mean of its baseline."""
    sizes = [key for key in SIZES if key in rows]
    varied = [key for key in sizes if rows[key].nunique() > 1]
    baselines = rows[rows["variant"] == "baseline"]
    bars = []
    for row in rows.sort_values([*sizes, "echo_factor"], kind="stable").to_dict("records"):
        alike = baselines
        for key in sizes:
            same = alike[alike[key] == row[key]]
            alike = same if len(same) else alike
        mean = float(alike[column].iloc[0])
        ends = (row.get(f"{end}{column.removeprefix('mean')}", row[column]) for end in ("min", "max"))
        low, high = (float(end) / mean for end in ends)
        words = [plots.LABELS[row["variant"]].replace("\n", " ")]
        words += [f"e = {row['echo_factor']:g}"] if row["variant"] != "baseline" else []
        words += [f"{SIZES[key]} {row[key]:,.0f}" for key in varied]
        bars.append(
            {
                "label": ", ".join(words),
                "variant": row["variant"],
                "share": float(row[column]) / mean,
                "low": low,
                "high": high,
                "missed": row["reached"] < row["searches"],
            }
        )
    return [bar for bar in bars if np.isfinite(bar["share"])]


SIZES = {"batch_size": "batch", "shuffle_buffer": "buffer", "repeated_batch_buffer": "repeated batches"}


def _curves(measurements: pd.DataFrame, won: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The measurements of the winning trials, by the trial's keys."""
    keys = tables.KEYS["trials"]
    mine = measurements.merge(won[keys], on=keys)
    return {name if isinstance(name, tuple) else (name,): rows for name, rows in mine.groupby(keys)}


def _standing(
    study: pd.Series, won: pd.DataFrame, curves: Mapping[tuple[Any, ...], pd.DataFrame], column: str, scale: str
) -> dict[str, Any]:
    """A study and the winner of each of its searches: result, point, curve, and the command that trains it again."""
    keys = tables.STUDY_KEYS
    winners = won[(won[keys] == study[keys]).all(axis=1)].sort_values("search")
    rows = []
    for winner in winners.to_dict("records"):
        curve = curves[tuple(winner[key] for key in tables.KEYS["trials"])]
        name = f"{winner['config_hash']}/{winner['search']}/{winner['trial']}"
        rows.append(
            {
                "search": winner["search"],
                "trial": winner["trial"],
                "result": f"{winner[column]:,.0f}" if column != "best_metric" else f"{winner[column]:.4f}",
                "point": ", ".join(f"{key} {winner[key]:.3g}" for key in POINT if pd.notna(winner.get(key))),
                "curve": polyline(curve["fresh_examples"], curve["value"]),
                "command": f"python -m experiments.replicate --scale={scale} --trial={name}",
            }
        )
    space = json.loads(study["config"])["search_space"]
    searched = ", ".join(f"{key} {edge['low']:g} to {edge['high']:g}" for key, edge in sorted(space.items()))
    label = plots.LABELS[study["variant"]].replace("\n", " ")
    return {
        "name": f"{plots.WORKLOADS[study['workload']]}: {label}, e = {study['echo_factor']:g}, batch "
        f"{study['batch_size']:,}, buffer {study['shuffle_buffer']:,}",
        "target": f"{study['metric']} {study['target']:g}",
        "searched": searched,
        "winners": rows,
    }


def polyline(x: Iterable[float], y: Iterable[float], width: float = 100, height: float = 24) -> str:
    """Points of an SVG polyline that shows a curve in a frame of this size, at most CURVE_POINTS of them."""
    across, up = np.asarray(list(x), float), np.asarray(list(y), float)
    if len(across) > CURVE_POINTS:
        kept = np.linspace(0, len(across) - 1, CURVE_POINTS).round().astype(int)
        across, up = across[kept], up[kept]
    right, (low, high) = across.max() or 1.0, (np.nanmin(up), np.nanmax(up))
    scaled = (up - low) / ((high - low) or 1.0)
    return " ".join(
        f"{width * a / right:.1f},{height * (1 - b):.1f}" for a, b in zip(across, scaled, strict=True) if np.isfinite(b)
    )


def training_times(results: Path, scale: str) -> list[dict[str, Any]]:
    """What Figure 4's model needs: fresh examples of each e as a share of the baseline's, the paper's and ours."""
    sources = [("the paper", figure4.published()[0]), (plots.title(scale), figure4.ours(results, scale)[0])]
    found = []
    for title, rows in sources:
        for workload, group in rows[rows["reached"] == rows["searches"]].groupby("workload", sort=False):
            baseline = group.loc[group["variant"] == "baseline", "mean_fresh_examples"]
            if len(baseline):
                shares = group["mean_fresh_examples"] / baseline.iloc[0]
                name = f"{plots.WORKLOADS[str(workload)]}, {title}"
                echoed = sorted(zip(group["echo_factor"], shares, strict=True))
                found.append({"name": name, "shares": [[float(e), float(share)] for e, share in echoed]})
    return found


def make(results: Path, scale: str) -> str:
    """Writes both pages of a scale and returns where they are.

    Raises:
      ResultsError: there are no claims; `python -m analysis.all` writes them.
    """
    claims = read_claims(results / scale)
    drawn = [figure for figure in FIGURES if figure.ANALYSIS.has_results(results, scale)]
    data = {
        "scale": scale,
        "summary": summary(claims),
        "workloads": [title for title in plots.WORKLOADS.values() if title in set(claims["workload"])],
        "matrix": matrix(claims),
        "sections": [section(figure, results, scale) for figure in drawn],
        "training_times": training_times(results, scale) if figure4 in drawn else [],
        "marks": {mark: verdict for verdict, mark in MARKS.items() if mark},
        "style": (PAGE / "page.css").read_text(encoding="utf-8"),
        "script": (PAGE / "figure4.js").read_text(encoding="utf-8"),
    }
    folder = results / scale
    pages = {folder / "report.html": _rendered("page.html", data), folder / "REPORT.md": _rendered("page.md", data)}
    files.write_together(pages)
    return f"{data['summary']}\n\nwritten: {', '.join(map(str, pages))}"


def _rendered(name: str, data: Mapping[str, Any]) -> str:
    loader = jinja2.FileSystemLoader(PAGE)
    environment = jinja2.Environment(
        loader=loader,
        autoescape=name.endswith("html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(data)


if __name__ == "__main__":
    sys.exit(main(__doc__, make, scales=workloads.SCALES))
