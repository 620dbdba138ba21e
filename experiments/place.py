"""Places the search space of every study by one procedure, on seeds that no result has.

    python -m experiments.place --scale=small              coarse searches, resumable; some 13 s a trial on a core
    python -m experiments.place --scale=small --workload=ssd_coco

A workload's own space is wide. For each setting that a figure studies (variant, e, batch size, buffers) one coarse
search of TRIALS feasible points is made in it, with the workload's seed moved by CALIBRATION. In each dimension on a
log scale the setting's space is then SHARE of the wide one, with the mean of the BEST points of the coarse search in
its middle, or against an end of the wide space where that is nearer. The best are those that reach the target with the
fewest fresh examples, and behind them those with the best metric. Linear dimensions, which are shares of the budget,
stay wide.

Writes experiments/workloads/spaces/<scale>.csv, which the workloads' configurations read. No result has a part in it.
"""

import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import figure3, figure4, figure5, figure6, figure7, figure8, workloads
from experiments.command_line import Parser, exit_code, folder, positive
from experiments.protocol import files, settings, store
from experiments.protocol import search as quasi_random
from experiments.protocol.study import Dimension, EngineError, Study

CALIBRATION = 1000
TRIALS = 16
BEST = 3
SHARE = 0.4

RUNS = store.ROOT / "coarse"
"""Apart from the runs that are collected: a coarse search is another configuration of the same study."""

FIGURES = (figure3, figure4, figure5, figure6, figure7, figure8)


def coarse(scale: str, names: Iterable[str]) -> list[Study]:
    """One coarse search for each setting that a figure studies, in its workload's wide space."""
    found: dict[tuple[str, str], Study] = {}
    for name in names:
        config = workloads.load(name, scale)
        space, seed = config.search_space.to_dict(), config.seed + CALIBRATION
        for figure in FIGURES:
            if name not in figure.EXPERIMENT.panels.values():
                continue
            for study in figure.studies(config):
                changed = {**study.config, "search_space": space, "seed": seed}
                wide = dataclasses.replace(study, searches=1, trials=TRIALS, bound=True, config=changed)
                found.setdefault((name, study.setting), wide)
    return list(found.values())


def best_points(study: Study, root: Path) -> list[dict[str, float]]:
    """The best points of a coarse search that was run.

    Raises:
      EngineError: too few of its trials did not diverge.
    """
    ranked = []
    for index, result in store.finished_results(root, study, 0).items():
        if result.status != "infeasible":
            values = [measured.value for measured in store.TrialFolder(root, study, 0, index).measurements()]
            best = min(values) if study.config["goal"] == "min" else -max(values)
            ranked.append((result.steps_to_target or math.inf, best, index))
    if len(ranked) < BEST:
        raise EngineError(f"{study.name}: {len(ranked)} of its trials did not diverge; its workload's space is wrong")
    return [quasi_random.point(study, 0, index) for _, _, index in sorted(ranked)[:BEST]]


def placed(dimension: Dimension, values: Sequence[float]) -> Dimension:
    """The part of a wide dimension that has these values about its middle."""
    if dimension.scale == "linear":
        return dimension
    middle = sum(quasi_random.unit(dimension, value) for value in values) / len(values)
    start = min(max(middle - SHARE / 2, 0.0), 1 - SHARE)
    low, high = (round(quasi_random.value(dimension, at), 4) for at in (start, start + SHARE))
    return dataclasses.replace(dimension, low=low, high=high)


def rows(study: Study, points: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """What the table says of a study: a row for each dimension that was placed."""
    found = []
    for dimension in study.space:
        values = [point[dimension.name] for point in points]
        if (narrow := placed(dimension, values)) != dimension:
            found.append(
                {
                    "workload": study.workload,
                    "setting": study.setting,
                    "dimension": dimension.name,
                    "low": narrow.low,
                    "high": narrow.high,
                    "wide_low": dimension.low,
                    "wide_high": dimension.high,
                    "best": " ".join(f"{value:.4g}" for value in values),
                    "coarse_study": study.config_hash,
                    "git_revision": store.provenance()["git_revision"],
                }
            )
    return found


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--scale", choices=workloads.SCALES, required=True)
    parser.add_argument("--workload", choices=workloads.WORKLOADS, action="append", help="only this; may be repeated")
    parser.add_argument("--workers", type=positive, help="local worker processes; default: one a core")
    parser.add_argument("--runs", type=folder, default=RUNS, help="folder of the raw coarse runs")
    flags = parser.parse_args(argv)
    names = flags.workload or list(workloads.WORKLOADS)

    def work() -> None:
        import pandas as pd

        from experiments.protocol import engine

        studies = coarse(flags.scale, names)
        engine.run(studies, root=flags.runs, workers=flags.workers)
        found = [row for study in studies for row in rows(study, best_points(study, flags.runs))]
        path = settings.SPACES / f"{flags.scale}.csv"
        with files.locked(settings.SPACES):
            table = [row for row in settings.placed(flags.scale) if row["workload"] not in names] + found
            files.write(path, pd.DataFrame(table).to_csv(index=False))
        print(f"{len(studies)} search spaces placed in {path}")

    return exit_code(work, stopped="stopped; finished trials are kept, the same command goes on from here")


if __name__ == "__main__":
    sys.exit(main())
