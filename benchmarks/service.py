"""What k machines upstream gain, and what echoing k times with one: seconds to the target, machines, money.

    python -m benchmarks.service [--workload=transformer_lm1b] [--scale=small]      three minutes; a quiet machine

The source of each upstream machine is throttled so that one alone takes R = 6 times as long for a batch as an update
does. A run without echoing reads from k of them, each a tf.data service of this process with a part of the input; a
run with e = k reads from one. Seconds an update are measured here, updates to the target are those of Figure 4's
reruns at R = 6. Money is the machines' time, an upstream machine's at PRICE of the trainer's: an assumption.
"""

import dataclasses
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.command_line import echoed_study
from experiments.command_line import exit_code
from experiments.protocol.study import Study

RATIO = 6.0
MACHINES = (1, 2, 4)
PRICE = 0.25
FIRST_PORT = 5150
FILL_UPDATES = 120
"""Those taken before the time is: buffers of trainer and services empty or fill until then."""
TIMED_UPDATES = 120


def throttled(inner: Mapping[str, Any], examples_per_second: float) -> Any:
    """A source that gives no more than so many examples a second, of each part that is read."""
    from pipelines.sources import registry, slow

    source = registry.load(inner)
    storage = slow.Storage(examples_per_second, request_examples=8)
    return dataclasses.replace(
        source,
        train=lambda seed: slow.slow(source.train(seed), storage),
        part=lambda seed, part, parts: slow.slow(source.training(seed, part, parts), storage),
    )


def seconds_per_update(study: Study) -> float:
    """Of a trial of the study, once its buffers are as full as they stay."""
    from experiments.protocol.training import Training
    from pipelines import service

    training = Training(study)
    batches = service.watched(training.own_batches().as_numpy_iterator(), training.services)
    for _ in range(FILL_UPDATES):
        training.step(next(batches))
    started = time.perf_counter()
    for _ in range(TIMED_UPDATES):
        training.step(next(batches))
    return (time.perf_counter() - started) / TIMED_UPDATES


def main() -> None:
    """Prints the table."""
    echoed = echoed_study(__doc__)
    reruns = pd.read_csv(Path("results") / echoed.scale / "wall_clock.csv")
    reruns = reruns[(reruns.workload == echoed.workload) & (reruns.ratio == RATIO) & reruns.reached_target]
    updates = reruns.groupby("echo_factor").updates.mean()
    from experiments.protocol.training import Training
    from pipelines import service

    names = [f"localhost:{FIRST_PORT + 3 * number}" for number in range(max(MACHINES))]
    kept = [service.serve(name) for name in names]
    downstream = Training(echoed).downstream_seconds()
    rate = echoed.batch_size / (RATIO * downstream)
    source = {"source": "benchmarks.service:throttled", "inner": echoed.config["data"], "examples_per_second": rate}
    print(f"{echoed.workload}, R = {RATIO:g}, {downstream * 1e3:.1f} ms an update alone")
    print(f"{'machines':>9}{'e':>4}{'ms an update':>14}{'updates':>9}{'seconds':>9}{'faster':>8}{'money':>8}")
    first: tuple[float, float] | None = None
    for machines, factor in [(k, 1) for k in MACHINES] + [(1, k) for k in MACHINES[1:]]:
        os.environ[service.VARIABLE] = ",".join(names[:machines])
        variant = echoed.variant if factor > 1 else "baseline"
        config = {**echoed.config, "data": source, "input_parts": machines}
        study = dataclasses.replace(echoed, variant=variant, echo_factor=factor, config=config)
        each = seconds_per_update(study)
        seconds = each * updates[factor]
        money = seconds * (1 + machines * PRICE)
        first = first or (seconds, money)
        print(
            f"{machines:9}{factor:4}{each * 1e3:14.1f}{updates[factor]:9.0f}{seconds:9.1f}"
            f"{first[0] / seconds:7.2f}x{money / first[1]:8.2f}",
            flush=True,
        )
    del kept


if __name__ == "__main__":
    code = exit_code(main)
    sys.stdout.flush()
    os._exit(code)  # threads of the services would sleep for iterators that are gone
