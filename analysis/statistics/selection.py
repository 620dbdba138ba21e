"""Which of the committed studies a figure is drawn from: those that were run of its settings, whatever is run today."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import workloads
from experiments.protocol import tables
from experiments.protocol.experiment import Experiment
from experiments.protocol.study import ResultsError, Study
from experiments.protocol.tables import SETTING_KEYS, STATUSES, STUDY_KEYS

SAME_FOR_ALL = ("data", "model", "target", "goal", "divergence_factor")
"""What the configurations of all studies of a figure and workload have in common."""


@dataclass
class Selection:
    """Rows of studies.csv that a figure is drawn from; `notes` say what it lacks and what differs from today's plan."""

    studies: pd.DataFrame
    notes: list[str] = field(default_factory=list)


def select(experiment: Experiment, results: Path, scale: str) -> Selection:
    """A figure's studies of each workload that has all of them, those without the bound where there are no others.

    A study is known by its setting: workload, variant, echo factor, sizes. Of several with one setting the one that
    would be run today counts; a single one counts with whatever budget it was given, and a note says so. A workload
    that lacks a study is left out, for a part of them compares with nothing, and a note says which are missing.

    Raises:
      ResultsError: the studies of a workload do not compare, or several of one setting could be meant.
    """
    table = tables.read(results, scale, "studies")
    chosen = Selection(table.iloc[:0])
    by_setting = dict(list(table.groupby([*SETTING_KEYS, "bound"])))
    for workload in dict.fromkeys(experiment.panels.values()):
        config = workloads.load(workload, scale)
        panels = [_panel(by_setting, experiment.studies(config, bound=bound)) for bound in (True, False)]
        complete = [panel for panel in panels if not panel.missing]
        if complete:
            _check_same(complete[0].studies, workload, results / scale)
            chosen.studies = pd.concat([chosen.studies, complete[0].studies])
            chosen.notes += complete[0].notes
        else:
            chosen.notes.append(f"{workload} is left out, for want of results of {', '.join(panels[0].missing)}")
    chosen.studies = chosen.studies.sort_index().reset_index(drop=True)
    return chosen


@dataclass
class _Panel:
    """The rows found of one workload's studies, notes on them, and the settings of which there are none."""

    studies: pd.DataFrame
    notes: list[str]
    missing: list[str]


def _panel(by_setting: Mapping[Any, pd.DataFrame], wanted: list[Study]) -> _Panel:
    found, notes, missing = [], [], []
    for study in wanted:
        row = _row(by_setting, study)
        if row is None:
            missing.append(study.setting)
            continue
        found.append(row)
        if row["budget_steps"].iloc[0] != study.budget_steps:
            notes.append(
                f"{study.workload} {study.setting} was run with a budget of {row['budget_steps'].iloc[0]:,} updates; "
                f"today's configuration has {study.budget_steps:,}"
            )
    rows = pd.concat(found).drop_duplicates(STUDY_KEYS).sort_index() if found else pd.DataFrame()
    return _Panel(rows, notes, missing)


def _row(by_setting: Mapping[Any, pd.DataFrame], study: Study) -> pd.DataFrame | None:
    keys = tables.study_keys(study)
    same = by_setting.get(tuple(keys[key] for key in (*SETTING_KEYS, "bound")))
    if same is None:
        return None
    planned = same[same["budget_steps"] == study.budget_steps]
    if len(planned) or len(same) == 1:
        return planned if len(planned) else same
    budgets = ", ".join(f"{steps:,}" for steps in same["budget_steps"])
    raise ResultsError(
        f"{study.workload} {study.setting} was run with budgets of {budgets} updates, none of which is today's "
        f"{study.budget_steps:,}: remove the rows that are not meant"
    )


def _check_same(studies: pd.DataFrame, workload: str, folder: Path) -> None:
    """Raises ResultsError, naming the setting, where the studies of a workload do not compare."""
    configs = [json.loads(config) for config in studies["config"]]
    for key in SAME_FOR_ALL:
        values = [config.get(key) for config in configs]
        if key == "model":  # virtual batches are smaller where batches are
            values = [{name: value for name, value in model.items() if name != "ghost_batch_size"} for model in values]
        if any(value != values[0] for value in values):
            raise ResultsError(
                f"the studies of {workload} in {folder} differ in {key}: they do not compare; collect runs of one "
                "configuration"
            )


def trials_of(selection: Selection, results: Path, scale: str) -> pd.DataFrame:
    """The trials of the selected studies; a note is added where some were made by changed files.

    Raises:
      ResultsError: a study has other trials than studies.csv counts, as where a table was cut off.
    """
    trials = tables.of_rows(tables.read(results, scale, "trials"), selection.studies)
    counts = trials.groupby([*STUDY_KEYS, "status"]).size()
    for _, study in selection.studies.iterrows():
        for status in STATUSES:
            found = counts.get((*(study[key] for key in STUDY_KEYS), status), 0)
            if found != study[status]:
                setting = (
                    f"{study['workload']} {study['variant']} e = {study['echo_factor']:g}, batch {study['batch_size']}"
                )
                raise ResultsError(
                    f"{results / scale}: trials.csv has {found} {status} trials of {setting}, studies.csv counts "
                    f"{study[status]}; restore both, or collect the study again"
                )
    if "git_revision" in trials and (changed := trials["git_revision"].map(tables.is_changed)).any():
        for workload, rows in trials[changed].groupby("workload"):
            total = (trials["workload"] == workload).sum()
            selection.notes.append(
                f"{workload}: {len(rows):,} of {total:,} trials are of changed files, which no revision holds"
            )
    return trials
