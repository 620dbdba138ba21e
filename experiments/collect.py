"""Compacts finished runs into the tables that the figures are drawn from.

    python -m experiments.collect --scale=small [--runs=runs] [--results=results] [--allow-changed] [--replace]

Writes, to results/<scale>/:

    trials.csv            one row a trial that counts
    measurements.parquet  the validation metric of each of them, over updates and fresh examples
    studies.csv           one row a study: counts by status, target, budget, search space, whole configuration

Studies that are already in the tables are replaced, others are kept, unless --replace says that a workload that is
collected has been run anew as a whole; unfinished studies are named and left out. The
tables hold what the search would have recorded one trial after the other (`protocol.search.settle`), so they do not
depend on how many workers there were. Only wall seconds do.

Above smoke scale, studies with trials of changed files or of an unknown revision are left out, for nobody else could
run them; --allow-changed takes them, and the figures drawn from them say so.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import workloads
from experiments.command_line import Parser, exit_code, folder
from experiments.protocol import search as quasi_random
from experiments.protocol import store, tables
from experiments.protocol.study import ResultsError, Study


def search_rows(root: Path, study: Study, search: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
    """Rows of trials and of measurements of one search, None while it is unfinished."""
    results = store.finished_results(root, study, search)
    settled = quasi_random.settle(study, results)
    if not quasi_random.is_finished(study, settled):
        return None
    trials, measurements = [], []
    for trial in settled:
        folder = store.TrialFolder(root, study, search, trial.index)
        description = folder.description()
        keys = tables.study_keys(study) | {"search": search, "trial": trial.index}
        values = [m for m in folder.measurements() if m.sgd_steps <= trial.sgd_steps]
        better = min if study.config["goal"] == "min" else max
        to_target = trial.steps_to_target
        trials.append(
            keys
            | {"seed": description["seed"]}
            | description["point"]
            | {
                "status": trial.status,
                "sgd_steps": trial.sgd_steps,
                "fresh_examples": study.fresh_examples(trial.sgd_steps),
                "best_metric": better((m.value for m in values if math.isfinite(m.value)), default=None),
                "reached_target": to_target is not None,
                "fresh_examples_to_target": None if to_target is None else study.fresh_examples(to_target),
                "seconds": round(results[trial.index].seconds, 2),
                "config_hash": study.config_hash,
            }
            | store.provenance_columns(description["provenance"])
        )
        measurements += [
            keys
            | {
                "sgd_steps": m.sgd_steps,
                "fresh_examples": study.fresh_examples(m.sgd_steps),
                "metric": study.config["metric"],
                "value": m.value,
            }
            for m in values
        ]
    return trials, measurements


def study_row(study: Study, trials: list[dict[str, Any]]) -> dict[str, object]:
    """One row of studies.csv."""
    statuses = [trial["status"] for trial in trials]
    feasible = [trial["search"] for trial in trials if trial["status"] != "infeasible"]
    return tables.study_keys(study) | {
        "metric": study.config["metric"],
        "goal": study.config["goal"],
        "target": study.config["target"],
        "budget_fresh_examples": study.fresh_examples(study.budget_steps),
        "searches": study.searches,
        "feasible_trials_a_search": min(feasible.count(search) for search in range(study.searches)),
        "complete": statuses.count("complete"),
        "bounded": statuses.count("bounded"),
        "infeasible": statuses.count("infeasible"),
        "config_hash": study.config_hash,
        "config": json.dumps(study.config, sort_keys=True),
    }


def collect(runs: Path, results: Path, scale: str, *, allow_changed: bool = False, replace: bool = False) -> str:
    """Updates results/<scale>/ and returns what it did, in words.

    With `allow_changed` trials of files that are in no revision count as well, as they always do at smoke scale. With
    `replace` a workload that is collected keeps none of the studies that the tables had of it.

    Raises:
      ResultsError: there are no runs at this scale, or two configurations of one study.
    """
    rows_of: dict[str, list[dict[str, Any]]] = {"trials": [], "measurements": [], "studies": []}
    words: list[str] = []
    seen: dict[tuple[Any, ...], Study] = {}
    for study in store.studies(runs, scale):
        found = [search_rows(runs, study, search) for search in range(study.searches)]
        finished = [rows for rows in found if rows is not None]
        if len(finished) < study.searches:
            words.append(f"left out, {len(finished)} of {study.searches} searches finished: {study.name}")
            continue
        other = seen.setdefault(tuple(tables.study_keys(study).values()), study)
        if other is not study:
            raise ResultsError(
                f"two configurations of one study have finished, {other.name} and {study.name}, under "
                f"{runs / scale}; move one of them away"
            )
        trials = [row for rows, _ in finished for row in rows]
        changed = sum(tables.is_changed(row.get("git_revision")) for row in trials)
        if changed and scale != "smoke" and not allow_changed:
            words.append(
                f"left out, {changed} of {len(trials)} trials are of changed files or an unknown revision: "
                f"{study.name}; run it in a clean checkout, or take it with --allow-changed"
            )
            continue
        rows_of["trials"] += trials
        rows_of["measurements"] += [row for _, rows in finished for row in rows]
        rows_of["studies"].append(study_row(study, trials))
        words.append(f"collected: {study.name}, {len(trials)} trials")
    if not words and any((runs / scale).glob("*/*")):
        raise ResultsError(f"nothing under {runs / scale} can be collected; what was left out is named above")
    if not words:
        raise ResultsError(f"no runs under {runs / scale}; run `python -m experiments.figure3 --scale={scale}`")
    if rows_of["studies"]:
        rows = {name: pd.DataFrame(found) for name, found in rows_of.items()}
        tables.update(results / scale, rows, replaced=["workload"] if replace else tables.STUDY_KEYS)
    return "\n".join(words)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--scale", required=True, choices=workloads.SCALES)
    parser.add_argument("--runs", type=folder, default=store.ROOT)
    parser.add_argument("--results", type=folder, default=tables.RESULTS)
    parser.add_argument("--allow-changed", action="store_true", help="take trials of changed files as well")
    parser.add_argument("--replace", action="store_true", help="drop a collected workload's other studies")
    flags = parser.parse_args(argv)
    options = {"allow_changed": flags.allow_changed, "replace": flags.replace}
    return exit_code(lambda: print(collect(flags.runs, flags.results, flags.scale, **options)))


if __name__ == "__main__":
    sys.exit(main())
