"""Records when upstream and downstream work in real runs at R = 2, without echoing and with e = 2 (Figures 1 and 2).

    python -m experiments.timeline --scale=small [--workload=transformer_lm1b] [--ratio=2]     half a minute
    python -m analysis.timeline --scale=small                                                  draws it

Without echoing the steps idle half of the time; with e = R neither side has time to spare, and the steps wait only
where the other one is late. Writes results/<scale>/timeline.csv: for each run and side the spans in which it worked, in
seconds since the first batch, with revision, processor and threads. Needs a quiet machine.
"""

import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import workloads
from experiments.command_line import Parser, exit_code, folder, positive_float
from experiments.figure4 import earliest
from experiments.protocol import files, store, tables, worker
from experiments.protocol.study import Study, make_study
from pipelines.sources import presence

TIMES = ("workload", "variant", "echo_factor", "ratio", "side", "start_seconds", "end_seconds")
MADE_BY = ("git_revision", *store.MACHINE)
UPSTREAM_BATCHES = 48


def record(study: Study, ratio: float, downstream: float, updates: int) -> list[dict[str, Any]]:
    """Runs `updates` updates behind a source slowed down to R = `ratio`; a row a span."""
    from experiments.protocol.training import Training, pipeline_errors  # imports JAX and TensorFlow
    from pipelines.echoing.tfdata.runs import Watch, drive

    training, watch = Training(study, overlap=True), Watch()
    training.warm_up()
    slow = training.slowed_down(ratio * downstream)
    batches = training.batches(slow, lambda items: watch.watch(items, study.batch_size))
    with pipeline_errors(study):
        run = drive(batches, training.step, updates)
    first_batch = run.started + run.fill_seconds
    sides = {"upstream": watch.spans - first_batch, "downstream": run.steps - run.fill_seconds}
    rows = []
    for side, spans in sides.items():
        for start, end in spans[spans[:, 1] > 0]:
            times = {"start_seconds": round(max(start, 0.0), 5), "end_seconds": round(end, 5)}
            rows.append(_keys(study) | {"ratio": ratio, "side": side} | times)
    return rows


def _keys(study: Study) -> dict[str, Any]:
    return {"workload": study.workload, "variant": study.variant, "echo_factor": study.echo_factor}


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the rows in place of what the table held."""
    with files.locked(path.parent):
        files.write(path, pd.DataFrame(rows, columns=[*TIMES, *MADE_BY]).to_csv(index=False))


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--scale", choices=workloads.SCALES, required=True)
    parser.add_argument("--workload", choices=workloads.WORKLOADS, default="transformer_lm1b")
    parser.add_argument("--ratio", type=positive_float, default=2.0, help="R, and the echo factor of the second run")
    parser.add_argument("--results", type=folder, default=tables.RESULTS)
    flags, overrides = parser.parse_with_overrides(argv)
    if flags.ratio < 1:
        parser.error(f"--ratio must be at least 1, as an echo factor, got {flags.ratio:g}")
    path = flags.results / flags.scale / "timeline.csv"

    def work() -> None:
        config = workloads.load(flags.workload, flags.scale, overrides)
        studies = [make_study(config, "baseline", 1), make_study(config, earliest(config), flags.ratio)]
        presence.check(config.data)
        os.environ.update(worker.environment(flags.scale))
        from experiments.protocol.training import Training, device, pipeline_errors  # imports JAX and TensorFlow

        with pipeline_errors(studies[-1]):
            downstream = Training(studies[-1], overlap=True).downstream_seconds()
        runs = [record(s, flags.ratio, downstream, round(UPSTREAM_BATCHES * s.echo_factor)) for s in studies]
        provenance = store.provenance() | device()
        made_by = {key: provenance[key] for key in MADE_BY}
        save(path, [row | made_by for rows in runs for row in rows])
        print(f"written: {path}; next: python -m analysis.timeline --scale={flags.scale}")

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
