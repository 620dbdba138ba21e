"""What the analyses of all figures share: our bars beside the paper's, drawn, tabled and judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing import curves, plots, report, space
from analysis.statistics import claims, paper, reach, selection, uncertainty
from experiments.protocol import files, tables
from experiments.protocol.experiment import Experiment
from experiments.protocol.study import ResultsError

Rows = Sequence[tuple[str, pd.DataFrame]]
Table = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Measure:
    """What a figure's bars are of: a column of the trials, of which the best of each search counts.

    `winners` and `bars` take trials and studies; `goal` is `min` or `max`, None for each workload's own.
    """

    column: str
    mean_column: str
    goal: str | None
    winners: Table
    bars: Table
    describe: Callable[[pd.DataFrame], str]


FRESH_EXAMPLES = Measure(
    column="fresh_examples_to_target",
    mean_column="mean_fresh_examples",
    goal="min",
    winners=lambda trials, studies: reach.winners(trials),
    bars=reach.per_study,
    describe=report.describe,
)
BEST_VALUE = Measure(
    column="best_metric",
    mean_column="mean_best_value",
    goal=None,
    winners=reach.best_trials,
    bars=reach.best_values,
    describe=report.describe_best,
)


def selected(experiment: Experiment, results: Path, scale: str) -> tuple[selection.Selection, pd.DataFrame]:
    """The studies that a figure is drawn from, and their trials.

    Raises:
      ResultsError: no workload has all of its studies, or what there is contradicts itself.
    """
    found = selection.select(experiment, results, scale)
    if found.studies.empty:
        raise ResultsError(
            f"{results / scale} has no workload with all studies of Figure {experiment.number}; run "
            f"`{experiment.command} --scale={scale}`, then `python -m experiments.collect --scale={scale}`"
        )
    return found, selection.trials_of(found, results, scale)


def has_results(experiment: Experiment, results: Path, scale: str) -> bool:
    """Whether there is anything of a figure to draw."""
    if scale == paper.PUBLISHED:
        return True
    return tables.has_results(results, scale) and len(selection.select(experiment, results, scale).studies) > 0


@dataclass(frozen=True)
class Analysis:
    """One figure of the paper: its studies, how it is drawn, what it claims.

    `draw` takes rows of (title, bars): the paper's and ours.
    """

    experiment: Experiment
    draw: Callable[[Rows], Figure]
    claims: Sequence[claims.Claim]
    measure: Measure = FRESH_EXAMPLES

    @property
    def number(self) -> int:
        """The figure's number in the paper."""
        return self.experiment.number

    def has_results(self, results: Path, scale: str) -> bool:
        """Whether there is anything to draw."""
        return has_results(self.experiment, results, scale)

    def make(self, results: Path, scale: str) -> str:
        """Draws and writes the figure at one scale, its table and its claims; returns its numbers in words."""
        published = paper.bars(self.number)
        if scale == paper.PUBLISHED:
            table = self.check(published, scale).drop(columns=["ours", "command"])
            return self._write(results / scale, [("published", published)], published, table, {}, [])
        studies, trials, notes = self.found(results, scale)
        measurements = tables.read(results, scale, "measurements")
        goals = [self.measure.goal or goal for goal in studies["goal"]]
        editions = uncertainty.drawn_means(trials, studies, self.measure.column, goals=goals)
        bars = self.measure.bars(trials, studies)
        bars["trials"] = studies["feasible_trials_a_search"]
        bars["interval_low"], bars["interval_high"] = uncertainty.interval(editions)
        bars["misses"] = uncertainty.misses(trials, studies, self.measure.column, goals=goals)
        table = self.check(bars, scale, {self.measure.mean_column: editions})
        rows = [("published", published[published["workload"].isin(bars["workload"])]), (plots.title(scale), bars)]
        winners = self.measure.winners(trials, studies)
        folder = results / scale
        pictures = plots.pictures(
            curves.draw(curves.curves(measurements, winners), studies),
            folder / f"figure{self.number}_curves",
            svg=False,
        ) | plots.pictures(space.draw(trials, studies, winners), folder / f"figure{self.number}_space", svg=False)
        words = [
            report.describe_edges(reach.edges(winners, studies)),
            report.describe_statuses(reach.statuses(trials, studies)),
        ]
        return self._write(folder, rows, bars, table, pictures, words, notes)

    def check(self, ours: pd.DataFrame, scale: str, drawn: Mapping[str, np.ndarray] | None = None) -> pd.DataFrame:
        """The figure's claims on the paper's bars and on ours, as `claims.check` gives them; not run without bars."""
        return claims.check(
            self.claims,
            paper.bars(self.number),
            ours,
            f"{self.experiment.command} --scale={scale}",
            column=self.measure.mean_column,
            drawn=drawn,
        )

    def found(self, results: Path, scale: str) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
        """The figure's studies and their trials, equally many a search in all studies of a workload, and notes on them.

        A study that figures share may have more trials than this figure's other ones; then the first of each search
        count.

        Raises:
          ResultsError: no workload has all of its studies, or they are not of one model, data and target.
        """
        chosen, trials = selected(self.experiment, results, scale)
        studies = chosen.studies.sort_values(["workload", "batch_size"], kind="stable", ignore_index=True)
        fewest = studies.groupby("workload")["feasible_trials_a_search"].min()
        kept = [reach.first_feasible(rows, fewest[workload]) for workload, rows in trials.groupby("workload")]
        studies["feasible_trials_a_search"] = studies["workload"].map(fewest)
        return studies, pd.concat(kept, ignore_index=True), chosen.notes

    def _write(
        self,
        folder: Path,
        rows: Rows,
        bars: pd.DataFrame,
        table: pd.DataFrame,
        pictures: Mapping[Path, bytes],
        words: list[str],
        notes: Sequence[str] = (),
    ) -> str:
        path = folder / f"figure{self.number}.png"
        files.write_together(
            {
                **pictures,
                **plots.pictures(self.draw(rows), path),
                path.with_suffix(".csv"): bars.to_csv(index=False),
                **report.claims(folder, self.number, table, notes),
            }
        )
        parts = [self.measure.describe(bars), *words, report.markdown(table), *report.bullets(notes), f"drawn: {path}"]
        return "\n\n".join(parts)
