"""What handing out trials costs: thousands that train nothing, and two workers against one on trials that do.

python -m benchmarks.queue [--trials=10000]
"""

import dataclasses
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from experiments import workloads
from experiments.command_line import Parser, exit_code, positive
from experiments.protocol import cluster, worker
from experiments.protocol.progress import Progress, shown
from experiments.protocol.study import Study, TrialResult, make_study

UPDATES = 6_000


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code; `argv` is `sys.argv` if None."""
    parser = Parser(__doc__)
    parser.add_argument("--trials", type=positive, default=10_000, help="that train nothing; default 10000")
    flags = parser.parse_args(argv)

    def work() -> None:
        nothing(flags.trials)
        scaling()

    return exit_code(work)


def _study(searches: int, trials: int, updates: int) -> Study:
    config = workloads.load("transformer_lm1b", "smoke", {"searches": str(searches), "trials": str(trials)})
    study = make_study(config, "baseline", 1, bound=False, eval_every_steps=updates)
    return dataclasses.replace(study, budget_steps=updates)


def nothing(trials: int) -> None:
    """Hands out trials that end at once, of 100 searches, and prints seconds and memory."""
    study = _study(100, -(-trials // 100), 1)
    process = psutil.Process()
    before = process.memory_info().rss
    environments = worker.environments(study.scale, 2)
    with tempfile.TemporaryDirectory() as folder, cluster.connected(None, environments) as client:
        client.run(_train_nothing)
        progress = Progress([study], Path(folder))
        began = time.monotonic()
        _run(progress, client)
        seconds = time.monotonic() - began
    count = progress.counts.total()
    print(
        f"{count:,} trials that train nothing, two workers: {seconds:.0f} s, {1e3 * seconds / count:.1f} ms each; "
        f"this process with its scheduler grew by {(process.memory_info().rss - before) / 1e6:.0f} MB"
    )


def _train_nothing() -> None:
    def run_task(*_: Any) -> TrialResult:
        return TrialResult("complete", 1, None, 1, 0.0)

    worker.run_task = run_task  # type: ignore[assignment]


def scaling(trials: int = 6) -> None:
    """Trains trials of some seconds on warmed-up workers, and prints trials an hour.

    A trial's pipeline runs beside its updates, so one worker alone takes about one and a half cores. Two workers are
    therefore compared with one that is kept to one core, where the system can do that, and with one that has all.
    """
    cases: dict[str, tuple[int, bool]] = {"two workers": (2, False), "one worker that has all cores": (1, False)}
    if hasattr(psutil.Process, "cpu_affinity"):
        cases["one worker on one core"] = 1, True
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(2):
        for name, (workers, on_one_core) in cases.items():
            with (
                tempfile.TemporaryDirectory() as folder,
                cluster.connected(None, worker.environments("smoke", workers)) as client,
            ):
                if on_one_core:
                    client.run(_stay_on_one_core)
                _run(Progress([_study(1, 2 * workers, 20)], Path(folder)), client)
                timed = Progress([_study(1, trials, UPDATES)], Path(folder))
                began = time.monotonic()
                _run(timed, client)
                rates[name].append(3600 * trials / (time.monotonic() - began))
    for name, found in rates.items():
        ratio = sum(rates["two workers"]) / sum(found)
        each = " and ".join(f"{rate:,.0f}" for rate in found)
        print(f"{name}: {each} trials an hour" + (f"; two have {ratio:.2f} times as many" if ratio != 1 else ""))


def _stay_on_one_core() -> None:
    core = psutil.Process().cpu_affinity()[:1]
    for thread in psutil.Process().threads():
        psutil.Process(thread.id).cpu_affinity(core)


def _run(progress: Progress, client: Any) -> None:
    logging.disable(logging.WARNING)
    with shown(progress) as bar:
        cluster.run_trials(progress, progress.root, client, worker.CHECKPOINT_SECONDS, bar, stops_workers=True)


if __name__ == "__main__":
    sys.exit(main())
