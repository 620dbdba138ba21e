"""Reruns chosen trials to their target and times them at set R (Figure 4): seconds, with the source slowed down.

    python -m experiments.wall_clock --scale=small                              R = 6, five reruns each, every panel
    python -m experiments.wall_clock --scale=small --ratio=1 --ratio=2 --reruns=1    points for other R
    python -m experiments.wall_clock --scale=small --panel=a --echo-factor=5    one workload, one echo factor

For each echo factor the chosen trial is the one of results/<scale>/trials.csv that needed the fewest fresh examples.
(The paper chose at 75.3 % and reported at 75 %; here both are the workload's target, so a rerun may miss it.) A rerun
takes its metaparameters and seeds that no search has used. The number of updates to the target is found at full
speed; then the same updates are timed behind the slow source, from the first read to the last update, evaluations left
out. R is relative to t_downstream as measured for the largest echo factor, shortly before. Needs a quiet machine.

Writes results/<scale>/wall_clock.csv, a row a rerun with its provenance; rows of the same rerun are replaced.
"""

import csv
import functools
import io
import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from ml_collections import ConfigDict

from experiments import workloads
from experiments.command_line import Parser, exit_code, folder, positive, positive_float
from experiments.figure4 import EXPERIMENT, studies
from experiments.protocol import files, store, tables, worker
from experiments.protocol import search as quasi_random
from experiments.protocol.study import ConfigError, Study
from pipelines.sources import presence

RATIO = 6.0
RERUNS = 5


class NoTrial(ConfigError):
    """A study has no trial to rerun; the message says which and what to do."""


def chosen_trial(trials: pd.DataFrame, study: Study) -> tuple[int, int]:
    """Search and index of the study's trial that reached the target with the fewest fresh examples.

    Raises:
      NoTrial: there is none.
    """
    reached = trials[(trials["config_hash"] == study.config_hash) & trials["fresh_examples_to_target"].notna()]
    if reached.empty:
        raise NoTrial(
            f"trials.csv has no trial of {study.workload} {study.setting} that reached its target; run "
            f"`python -m experiments.figure4 --scale={study.scale}` and "
            f"`python -m experiments.collect --scale={study.scale}`"
        )
    fewest = reached.sort_values(["fresh_examples_to_target", "search", "trial"]).iloc[0]
    return int(fewest["search"]), int(fewest["trial"])


class Rerun:
    """A chosen trial, trained to its target with seeds that no search has used, ready to be timed.

    `updates` is how many that took, None if it missed the target.
    """

    def __init__(self, study: Study, trial_of_search: tuple[int, int], number: int) -> None:
        from experiments.protocol import trial  # imports JAX and TensorFlow
        from experiments.protocol.training import Training, pipeline_errors

        self._study, self._number = study, number
        point = quasi_random.point(study, *trial_of_search)
        unused_search = study.searches + number
        with pipeline_errors(study):
            result = trial.run(study, unused_search, 0, point, bound_steps=lambda: None, record=lambda _: None)
            self.updates = result.steps_to_target
            self._training = Training(study, point, unused_search, overlap=True)
            self._training.warm_up()

    def timed(self, ratio: float, downstream: float) -> dict[str, Any]:
        """Takes the same updates behind a source that needs `ratio * downstream` seconds a batch; returns their row.

        A rerun that missed the target has a row without seconds.
        """
        from experiments.protocol.training import device, pipeline_errors
        from pipelines.echoing.tfdata.runs import drive

        study, training = self._study, self._training
        row = {
            "workload": study.workload,
            "variant": study.variant,
            "echo_factor": study.echo_factor,
            "ratio": ratio,
            "rerun": self._number,
            "reached_target": self.updates is not None,
            "t_downstream": downstream,
        }
        if self.updates is not None:
            training.restart()
            examples = training.slowed_down(ratio * downstream)
            with pipeline_errors(study):
                run = drive(training.batches(examples), training.step, self.updates)
            row |= {
                "updates": self.updates,
                "fresh_examples": study.fresh_examples(self.updates),
                "examples_read": training.examples_read,
                "seconds": round(run.seconds, 3),
                "fill_seconds": round(run.fill_seconds, 3),
                "idle_seconds": round(run.idle_seconds, 3),
                "step_seconds": (run.seconds - run.fill_seconds - run.idle_seconds) / self.updates,
            }
        made_by = store.provenance_columns(store.provenance() | device())
        return row | {"config_hash": study.config_hash} | made_by


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    """Puts rows into the table, in place of those that it has of the same reruns."""
    with files.locked(path.parent):
        files.write(path, _with_rows(path, rows))


def _with_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    old: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            old = list(csv.DictReader(file))
    table = {_key(row): row for row in [*old, *rows]}
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(name for row in table.values() for name in row), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table[key] for key in sorted(table))
    return text.getvalue()


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    workload, variant, *numbers = (row[name] for name in tables.KEYS["wall_clock"])
    return (workload, variant, *map(float, numbers))


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--scale", choices=workloads.SCALES, required=True)
    parser.add_argument(
        "--panel", choices=sorted(EXPERIMENT.panels), action="append", help="only this panel; may be repeated"
    )
    parser.add_argument("--ratio", type=positive_float, action="append", help="R; may be repeated; default 6")
    parser.add_argument("--echo-factor", type=positive_float, action="append", help="may be repeated; default 1 to 6")
    parser.add_argument("--reruns", type=positive, default=RERUNS, help="reruns of each chosen trial; default 5")
    parser.add_argument("--results", type=folder, default=tables.RESULTS)
    flags, overrides = parser.parse_with_overrides(argv)

    def work() -> None:
        for panel in flags.panel or EXPERIMENT.panels:
            config = workloads.load(EXPERIMENT.panels[panel], flags.scale, overrides)
            factors = [study.echo_factor for study in studies(config)]
            wanted = flags.echo_factor or factors
            if unknown := set(wanted) - set(factors):
                raise ConfigError(f"Figure 4 has no study with e = {min(unknown):g}")
            folder = flags.results / flags.scale
            chosen = choose(config, wanted, tables.read(flags.results, flags.scale, "trials"))
            time_studies(studies(config)[-1], chosen, flags.ratio or [RATIO], flags.reruns, folder)

    return exit_code(work, stopped="stopped; what was timed is kept")


def choose(config: ConfigDict, wanted: list[float], trials: pd.DataFrame) -> list[tuple[Study, tuple[int, int]]]:
    """Each study with a wanted echo factor and its chosen trial; of searches without the bound if others are not there.

    Raises:
      NoTrial: there is none.
    """
    bounded, full = (
        [study for study in studies(config, bound=bound) if study.echo_factor in wanted] for bound in (True, False)
    )
    try:
        return [(study, chosen_trial(trials, study)) for study in bounded]
    except NoTrial as missing:
        try:
            return [(study, chosen_trial(trials, study)) for study in full]
        except NoTrial:
            raise missing from None


def time_studies(
    slowest: Study, chosen: list[tuple[Study, tuple[int, int]]], ratios: list[float], reruns: int, folder: Path
) -> None:
    """Times the chosen trial of each study, R relative to the t_downstream of the one with the largest e.

    t_downstream is measured anew for each R, before its runs; all of them read from a source of the same speed. Reruns
    are in the outer loop, so that a machine that drifts treats all e alike.
    """
    presence.check(slowest.config["data"])
    os.environ.update(worker.environment(slowest.scale))
    from experiments.protocol.training import Training  # imports JAX and TensorFlow

    @functools.cache
    def trained(place: int, number: int) -> Rerun:
        return Rerun(*chosen[place], number)

    for ratio in ratios:
        downstream = Training(slowest, overlap=True).downstream_seconds()
        for number in range(reruns):
            for place in range(len(chosen)):
                row = trained(place, number).timed(ratio, downstream)
                save(folder / "wall_clock.csv", [row])
                print(describe(row), flush=True)


def describe(row: dict[str, Any]) -> str:
    """One rerun in words."""
    words = f"{row['workload']} e = {row['echo_factor']:g}, R = {row['ratio']:g}, rerun {row['rerun']}: "
    if not row["reached_target"]:
        return words + "target not reached"
    return words + (
        f"{row['seconds']:.1f} s, of them {row['fill_seconds']:.1f} s to fill the buffer and "
        f"{row['idle_seconds']:.1f} s waiting, for {row['fresh_examples']:,.0f} fresh examples"
    )


if __name__ == "__main__":
    sys.exit(main())
