"""Trains randomly chosen committed trials again and compares their measurements, bit for bit.

    python -m experiments.replicate --scale=small --trials=20              about 15 s a trial on a quiet core
    python -m experiments.replicate --scale=small --trials=5 --seed=1      five others
    python -m experiments.replicate --scale=small --trials=5 --workload=ssd_coco
    python -m experiments.replicate --scale=small --trial=21fecbe5/0/3         that of this config_hash/search/trial

A trial is a function of its study, search and index: on the same kind of processor its measurements must be the same
bits, whatever the revision, and one that differs there is an error. On another processor or device sums differ from
about the sixth digit on; there the command says how long the two agree, to 1e-5, and how far apart the target is.
Trials that were stopped early are trained as far as they were. Writes results/<scale>/replicated.csv, a row a trial,
but for one that was named.
"""

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments import workloads
from experiments.command_line import Parser, exit_code, folder, natural, positive
from experiments.protocol import files, store, tables, worker
from experiments.protocol.study import ConfigError, Measurement, Study, TrialResult

TOLERANCE = 1e-5
"""Relative difference up to which measurements of different processors count as equal."""


class Differs(ConfigError):
    """A trial gave other numbers on the processor that it was first trained on."""


def chosen(results: Path, scale: str, count: int, seed: int, workload: str | None) -> pd.DataFrame:
    """`count` committed trials, drawn without replacement, joined with the configuration of their study.

    With `workload` only its trials are drawn.

    Raises:
      ResultsError: a table is missing or damaged.
      ConfigError: there are fewer trials.
    """
    trials, studies = (tables.read(results, scale, name) for name in ("trials", "studies"))
    if workload is not None:
        trials = trials[trials["workload"] == workload]
    if count > len(trials):
        of_workload = f" of {workload}" if workload is not None else ""
        raise ConfigError(f"--trials={count}: {results / scale / 'trials.csv'} has {len(trials):,}{of_workload}")
    drawn = trials.iloc[np.sort(np.random.default_rng(seed).choice(len(trials), count, replace=False))]
    return _with_studies(drawn, studies)


def named(results: Path, scale: str, trial: str) -> pd.DataFrame:
    """The committed trial `config_hash/search/trial`, as `chosen` gives those that it draws.

    Raises:
      ResultsError: a table is missing or damaged.
      ConfigError: there is no such trial.
    """
    trials, studies = (tables.read(results, scale, name) for name in ("trials", "studies"))
    names = trials["config_hash"] + "/" + trials["search"].astype(str) + "/" + trials["trial"].astype(str)
    if not (names == trial).any():
        raise ConfigError(
            f"--trial={trial}: {results / scale / 'trials.csv'} has none of this config_hash/search/trial"
        )
    return _with_studies(trials[names == trial], studies)


def _with_studies(trials: pd.DataFrame, studies: pd.DataFrame) -> pd.DataFrame:
    return trials.merge(studies[["config_hash", "config", "searches"]], on="config_hash", how="left")


def study_of(trial: dict[str, Any], scale: str) -> Study:
    """The study of a committed trial.

    Raises:
      ConfigError: studies.csv has another configuration than the trial was trained with, or none.
    """
    named = f"{trial['workload']} {trial['variant']} e = {trial['echo_factor']:g}, batch {trial['batch_size']}"
    if not isinstance(trial["config"], str):
        raise ConfigError(f"studies.csv has no study {trial['config_hash']} ({named}); collect it again")
    settings = {key: trial[key] for key in tables.STUDY_KEYS}
    study = Study(
        scale=scale, searches=int(trial["searches"]), trials=1, config=json.loads(trial["config"]), **settings
    )
    if study.config_hash != trial["config_hash"]:
        raise ConfigError(f"studies.csv: the configuration of {named} is not the one that its trials were trained with")
    return study


def retrain(study: Study, committed: dict[str, Any]) -> tuple[TrialResult, list[Measurement]]:
    """Trains a committed trial again, a stopped one as far as it was trained.

    Its point is the committed one: studies.csv does not keep the order of the search space, on which a draw depends.
    """
    from experiments.protocol import training, trial  # import JAX and TensorFlow

    search, index = committed["search"], committed["trial"]
    stopped_at = committed["sgd_steps"] if committed["status"] == "bounded" else None
    measured: list[Measurement] = []
    with training.pipeline_errors(study):
        result = trial.run(
            study,
            search,
            index,
            {dimension.name: committed[dimension.name] for dimension in study.space},
            bound_steps=lambda: stopped_at,
            record=measured.append,
        )
    return result, measured


def compare(
    committed: dict[str, Any], then: pd.DataFrame, result: TrialResult, now: list[Measurement]
) -> dict[str, Any]:
    """One row: how far a trial's committed measurements `then` and its new ones agree."""
    after = pd.Series({measurement.sgd_steps: measurement.value for measurement in now}, dtype=float)
    before, after = then.set_index("sgd_steps")["value"].align(after)  # NaN where only one of them evaluated
    equal = before == after
    difference = ((after - before).abs() / before.abs()).mask(equal, 0.0)
    target = committed["fresh_examples_to_target"] * committed["echo_factor"] / committed["batch_size"]
    ended_alike = (result.status, result.sgd_steps) == (committed["status"], committed["sgd_steps"])
    return {
        "status": committed["status"],
        "status_now": result.status,
        "sgd_steps": committed["sgd_steps"],
        "sgd_steps_now": result.sgd_steps,
        "evaluations": len(then),
        "evaluations_equal": int(equal.sum()),
        "agree_for": int((difference <= TOLERANCE).cumprod().sum()),
        "largest_difference": max(difference.dropna(), default=0.0),
        "steps_to_target": None if np.isnan(target) else round(target),
        "steps_to_target_now": result.steps_to_target,
        "same_bits": bool(ended_alike and equal.all()),
    }


def replicate(results: Path, scale: str, drawn: list[dict[Any, Any]]) -> list[dict[str, Any]]:
    """Trains the drawn trials again and returns a row for each, printed as it comes.

    Raises:
      ConfigError: a study cannot be made again; raised before anything is trained.
    """
    studies = [study_of(committed, scale) for committed in drawn]
    measurements = tables.read(results, scale, "measurements")
    os.environ.update(worker.environment(scale))
    from experiments.protocol import training  # imports JAX and TensorFlow

    here = {"processor_now": store.provenance()["processor"], "device_now": training.device()["device"]}
    keys, rows = tables.KEYS["trials"], []
    for committed, study in zip(drawn, studies, strict=True):
        then = measurements[(measurements[keys] == [committed[key] for key in keys]).all(axis=1)]
        row = {key: committed[key] for key in (*keys, "git_revision")}
        row |= {key: committed[key] if isinstance(committed.get(key), str) else None for key in ("processor", "device")}
        row |= here
        rows.append(row | compare(committed, then, *retrain(study, committed)))
        print(f"{name(rows[-1])}: {verdict(rows[-1])}", flush=True)
    return rows


def name(row: dict[str, Any]) -> str:
    """One trial, and where it was first trained."""
    setting = f"{row['workload']} {row['variant']} e = {row['echo_factor']:g}, batch {row['batch_size']}"
    return f"{setting}, search {row['search']}, trial {row['trial']}, {_processor(row)}"


def verdict(row: dict[str, Any]) -> str:
    """How far one trial agrees, in words."""
    if row["same_bits"] and not row["evaluations"]:
        return "diverged before its first evaluation, after as many updates as then"
    if row["same_bits"]:
        return f"same bits in {row['evaluations']} evaluations"
    target, target_now = (
        "never" if row[key] is None else f"after {row[key]} updates"
        for key in ("steps_to_target", "steps_to_target_now")
    )
    words = (
        f"agrees for {row['agree_for']} of {row['evaluations']} evaluations to {TOLERANCE:g} relative, largest "
        f"difference {row['largest_difference']:.1e}, target {target_now}, then {target}"
    )
    if row["status"] != row["status_now"] or (target == target_now and row["sgd_steps"] != row["sgd_steps_now"]):
        ends = (f"{row[f'status{when}']} at update {row[f'sgd_steps{when}']}" for when in ("_now", ""))
        words += f", {' instead of '.join(ends)}"
    return words


def _processor(row: dict[str, Any]) -> str:
    if not isinstance(row["processor"], str):
        return "processor unrecorded"
    here = (row["processor"], row["device"]) == (row["processor_now"], row["device_now"])
    return "this processor" if here else "another processor"


def summary(rows: list[dict[str, Any]]) -> str:
    """All verdicts as a Markdown table, then one line: how many trials gave the same bits, here and elsewhere."""
    lines = ["| trial | verdict |", "|---|---|", *(f"| {name(row)} | {verdict(row)} |" for row in rows), ""]
    here = [row["same_bits"] for row in rows if _processor(row) == "this processor"]
    same, elsewhere = sum(row["same_bits"] for row in rows), len(rows) - len(here)
    lines.append(
        f"{len(rows)} trials run, {same} gave the same bits: {sum(here)} of {len(here)} of this processor, "
        f"{same - sum(here)} of {elsewhere} of other or unrecorded processors"
    )
    return "\n".join(lines)


def check(rows: list[dict[str, Any]]) -> None:
    """Does nothing if all trials of this processor gave the same bits.

    Raises:
      Differs: one did not.
    """
    for row in rows:
        if _processor(row) == "this processor" and not row["same_bits"]:
            raise Differs(f"a trial of this processor gave other numbers: {name(row)}: {verdict(row)}")


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the rows in place of what the table held."""
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with files.locked(path.parent):
        files.write(path, table.getvalue())


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--scale", choices=workloads.SCALES, required=True)
    parser.add_argument("--trials", type=positive, default=20, help="how many; default 20")
    parser.add_argument("--trial", metavar="HASH/SEARCH/TRIAL", help="only this one, and nothing is written")
    parser.add_argument("--seed", type=natural, default=0, help="of the choice; default 0")
    parser.add_argument("--workload", help="draw only its trials, e.g. ssd_coco")
    parser.add_argument("--results", type=folder, default=tables.RESULTS)
    flags = parser.parse_args(argv)

    def work() -> None:
        if flags.trial:
            drawn = named(flags.results, flags.scale, flags.trial)
        else:
            drawn = chosen(flags.results, flags.scale, flags.trials, flags.seed, flags.workload)
        rows = replicate(flags.results, flags.scale, drawn.to_dict("records"))
        if not flags.trial:
            save(flags.results / flags.scale / "replicated.csv", rows)
        print(f"\n{summary(rows)}")
        check(rows)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
