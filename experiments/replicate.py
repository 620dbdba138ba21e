"""Trains randomly chosen committed trials again and compares their measurements, bit for bit.

    python -m experiments.replicate --scale=small --trials=20              about 15 s a trial on a quiet core
    python -m experiments.replicate --scale=small --trials=5 --seed=1      five others

A trial is a function of its study, search and index: on the same kind of processor its measurements must be the same
bits, whatever the revision, and one that differs there is an error. On another processor sums differ from about the
sixth digit on; there the command says how long the two agree, to 1e-5, and how far apart the target is. Trials that
were stopped early are trained as far as they were. Writes results/<scale>/replicated.csv, a row a trial.
"""

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import engine, store, workloads
from experiments import search as quasi_random
from experiments.command_line import Parser, positive, told
from experiments.study import ConfigError, Measurement, Study, TrialResult

KEYS = ("workload", "variant", "echo_factor", "batch_size", "shuffle_buffer", "repeated_batch_buffer")
STUDY_KEYS = (*KEYS, "budget_steps", "bound")
TOLERANCE = 1e-5
"""Relative difference up to which measurements of different processors count as equal."""


class Differs(ConfigError):
    """A trial gave other numbers on the processor that it was first trained on."""


def chosen(folder: Path, count: int, seed: int) -> pd.DataFrame:
    """`count` trials of a results folder, drawn without replacement, joined with the configuration of their study.

    Raises:
      ConfigError: a table is missing, or there are fewer trials.
    """
    try:
        trials, studies = (pd.read_csv(folder / f"{name}.csv") for name in ("trials", "studies"))
    except FileNotFoundError as error:
        raise ConfigError(f"{error.filename} is missing; run `python -m analysis.collect`") from error
    if count > len(trials):
        raise ConfigError(f"--trials={count}: {folder / 'trials.csv'} has {len(trials):,}")
    drawn = trials.iloc[np.sort(np.random.default_rng(seed).choice(len(trials), count, replace=False))]
    return drawn.merge(studies[["config_hash", "config", "searches"]], on="config_hash", how="left")


def study_of(trial: dict, scale: str) -> Study:
    """The study of a committed trial.

    Raises:
      ConfigError: studies.csv has another configuration than the trial was trained with, or none.
    """
    name = f"{trial['workload']} {trial['variant']} e = {trial['echo_factor']:g}, batch {trial['batch_size']}"
    if not isinstance(trial["config"], str):
        raise ConfigError(f"studies.csv has no study {trial['config_hash']} ({name}); collect it again")
    settings = {key: trial[key] for key in STUDY_KEYS}
    study = Study(
        scale=scale, searches=int(trial["searches"]), trials=1, config=json.loads(trial["config"]), **settings
    )
    if study.config_hash != trial["config_hash"]:
        raise ConfigError(f"studies.csv: the configuration of {name} is not the one that its trials were trained with")
    return study


def retrain(study: Study, committed: dict) -> tuple[TrialResult, list[Measurement]]:
    """Trains a committed trial again, a stopped one as far as it was trained."""
    from experiments import trial  # imports JAX and TensorFlow

    search, index = committed["search"], committed["trial"]
    stopped_at = committed["sgd_steps"] if committed["status"] == "bounded" else None
    measured: list[Measurement] = []
    with trial.pipeline_errors(study):
        result = trial.run(
            study,
            search,
            index,
            quasi_random.point(study, search, index),
            bound_steps=lambda: stopped_at,
            record=measured.append,
        )
    return result, measured


def compare(committed: dict, then: pd.DataFrame, result: TrialResult, now: list[Measurement]) -> dict:
    """One row: how far a trial's committed measurements `then` and its new ones agree."""
    steps = [measurement.sgd_steps for measurement in now]
    values = np.array([measurement.value for measurement in now])
    before = then.set_index("sgd_steps")["value"].reindex(steps).to_numpy(dtype=float)
    same = np.isclose(values, before, rtol=0, atol=0)
    apart = np.abs(values - before) > TOLERANCE * np.abs(before)
    target = committed["fresh_examples_to_target"] * committed["echo_factor"] / committed["batch_size"]
    ended = (len(now), result.status, result.sgd_steps)
    as_long = ended == (len(then), committed["status"], committed["sgd_steps"])
    return {
        "evaluations": len(then),
        "agree_for": int(apart.argmax()) if apart.any() else len(now),
        "largest_difference": float(np.nanmax(np.abs(values / before - 1), initial=0.0)),
        "steps_to_target": None if np.isnan(target) else round(target),
        "steps_to_target_now": result.steps_to_target,
        "same_bits": bool(as_long and same.all()),
    }


def replicate(folder: Path, scale: str, count: int, seed: int) -> list[dict]:
    """Trains the chosen trials again and returns a row for each, printed as it comes."""
    os.environ.update(engine.worker_environment(scale))
    measurements = pd.read_parquet(folder / "measurements.parquet")
    keys = [*STUDY_KEYS, "search", "trial"]
    here, rows = str(store.provenance()["processor"]), []
    for committed in chosen(folder, count, seed).to_dict("records"):
        then = measurements[(measurements[keys] == [committed[key] for key in keys]).all(axis=1)]
        study = study_of(committed, scale)
        row = {key: committed[key] for key in (*KEYS, "search", "trial", "git_revision")}
        row |= {"processor": committed.get("processor"), "processor_now": here}
        rows.append(row | compare(committed, then, *retrain(study, committed)))
        print(describe(rows[-1]), flush=True)
    return rows


def describe(row: dict) -> str:
    """One trial in words."""
    name = f"{row['workload']} {row['variant']} e = {row['echo_factor']:g}, batch {row['batch_size']}"
    name += f", search {row['search']}, trial {row['trial']}, {_processor(row)}: "
    if row["same_bits"] and not row["evaluations"]:
        return name + "diverged before its first evaluation, after as many updates as then"
    if row["same_bits"]:
        return name + f"same bits in {row['evaluations']} evaluations"
    return name + (
        f"agrees for {row['agree_for']} of {row['evaluations']} evaluations, largest difference "
        f"{row['largest_difference']:.1e}, target after {row['steps_to_target_now']} updates, "
        f"{row['steps_to_target']} then"
    )


def _processor(row: dict) -> str:
    if not isinstance(row["processor"], str):
        return "processor unrecorded"
    return "this processor" if row["processor"] == row["processor_now"] else "another processor"


def summary(rows: list[dict]) -> str:
    """How many trials gave the same bits, by where they were first trained.

    Raises:
      Differs: one of this processor did not.
    """
    lines = []
    for kind in ("this processor", "another processor", "processor unrecorded"):
        mine = [row for row in rows if _processor(row) == kind]
        same = sum(row["same_bits"] for row in mine)
        lines.append(f"{kind}: {same} of {len(mine)} trials gave the same bits")
        if kind == "this processor" and same < len(mine):
            first = next(row for row in mine if not row["same_bits"])
            raise Differs(f"{lines[-1]}, though all should: {describe(first)}")
    return "\n".join(lines)


def save(path: Path, rows: list[dict]) -> None:
    """Writes the rows in place of what the table held."""
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(path)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--scale", choices=workloads.SCALES, required=True)
    parser.add_argument("--trials", type=positive, default=20, help="how many; default 20")
    parser.add_argument("--seed", type=positive, default=1, help="of the choice; default 1")
    parser.add_argument("--results", type=Path, default=Path("results"))
    flags = parser.parse_args(argv)
    folder = flags.results / flags.scale

    def work() -> None:
        rows = replicate(folder, flags.scale, flags.trials, flags.seed)
        save(folder / "replicated.csv", rows)
        print(summary(rows))

    return told(work)


if __name__ == "__main__":
    sys.exit(main())
