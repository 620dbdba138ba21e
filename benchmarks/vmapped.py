"""Whether several trials of a study pay as one update over all of them (`jax.vmap`), against one after the other.

    python -m benchmarks.vmapped [--scale=small] [--workload=transformer_lm1b]      two minutes a workload on two cores

On random batches on the device, a batch and a state a trial. Prints milliseconds an update of one trial, and how many
times the updates of trials one by one they are.
"""

import os
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.accelerator import random_batch
from benchmarks.timing import ratio, seconds_in_turn
from experiments import workloads
from experiments.command_line import Parser, exit_code
from experiments.protocol import worker
from experiments.protocol.study import PROGRAM, Study, make_study

TOGETHER = (2, 4, 8)
UPDATES = 16
ROUNDS = 7


def report(study: Study) -> None:
    """Prints the comparison for one study."""
    import jax
    import jax.numpy as jnp

    from experiments.protocol.model import CompiledModel

    model = CompiledModel(**{key: study.config[key] for key in PROGRAM})
    batch = model.put(random_batch(study, study.batch_size, False))
    point = {"learning_rate": jnp.float32(1e-3), "momentum": jnp.float32(0.9)}
    one = model.init(0, batch), batch, point
    vmapped = jax.jit(jax.vmap(model.update), donate_argnums=0)
    works = {"one by one": _updates(model.update, *one)}
    for count in TOGETHER:
        several = jax.tree.map(lambda leaf, count=count: jnp.stack([leaf] * count), one)
        works[f"{count} together"] = _updates(vmapped, *several)
    seconds = seconds_in_turn(works, rounds=ROUNDS)
    print(f"{study.workload} {study.scale}, batches of {study.batch_size}, {jax.devices()[0].device_kind}")
    for (name, taken), count in zip(seconds.items(), (1, *TOGETHER), strict=True):
        each = median(taken) / UPDATES / count
        gain = count / ratio(taken, seconds["one by one"])
        print(f"{name:12} {each * 1e3:9.2f} ms an update of a trial, {gain:.2f} times the updates", flush=True)


def _updates(update: Callable[..., Any], state: Any, batch: Any, point: Any) -> Callable[[], None]:
    import jax

    def run() -> None:
        nonlocal state
        for _ in range(UPDATES):
            state, loss = update(state, batch, point)
        jax.block_until_ready((state, loss))

    return run


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--scale", choices=workloads.SCALES, default="small")
    parser.add_argument("--workload", choices=workloads.WORKLOADS, action="append", help="only this; may be repeated")
    flags = parser.parse_args(argv)

    def work() -> None:
        os.environ.update(worker.environment(flags.scale))
        for name in flags.workload or workloads.WORKLOADS:
            report(make_study(workloads.load(name, flags.scale), "baseline", 1))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
