"""Speed of an update: with the real pipeline against one constant batch, and against the same model in PyTorch.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.step [--workload=transformer_lm1b] [--scale=small]

All in one run, in turn. Ours runs as a trial does, with one thread for XLA and the pipeline beside it; PyTorch is timed
on one thread and on every core.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from experiments import workloads
from experiments.command_line import Parser, exit_code
from experiments.protocol import worker
from experiments.protocol.study import Study, make_study

WITH_PEERS = ("transformer_lm1b", "resnet32_cifar10", "resnet50_imagenet")


def arguments() -> argparse.Namespace:
    """Those of the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--workload", choices=WITH_PEERS, default="transformer_lm1b")
    parser.add_argument("--scale", choices=("smoke", "small"), default="small")
    return parser.parse_args()


if __name__ == "__main__":
    arguments()  # before JAX and PyTorch are imported, which takes seconds
os.environ.update(worker.environment("small"))

import jax
import jax.numpy as jnp

from benchmarks.peers import set_threads, torch_updates
from benchmarks.timing import ratio, seconds_in_turn
from benchmarks.updates import UPDATES, Updates
from experiments.protocol.model import Batch
from experiments.protocol.training import Training


def report(study: Study, rounds: int = 15) -> None:
    """Prints the comparison for one study."""
    training = Training(study)
    batches = training.batches(training.examples).as_numpy_iterator()
    batch = next(batches)
    ours = Updates(study.config["model"], batch)

    def pipeline_alone() -> None:
        for _ in range(UPDATES):
            next(batches)

    works = {
        "pipeline alone": pipeline_alone,
        "real pipeline": lambda: ours.run(UPDATES, batches),
    }
    print(f"{study.workload} {study.setting}")
    seconds = against_torch(study.config["model"], batch, ours, works, UPDATES, rounds)
    share = ratio(seconds["constant batch"], seconds["real pipeline"])
    print(f"updates a second, real pipeline / constant batch: {share:.3f}")


def against_torch(
    model: Mapping[str, Any],
    batch: Batch,
    ours: Updates,
    works: Mapping[str, Callable[[], None]],
    updates: int,
    rounds: int,
) -> dict[str, list[float]]:
    """Times updates on one batch, ours and PyTorch's, in turn with other works of `updates` updates, and prints all."""
    peer, peer_parameters = torch_updates(model, batch, updates)

    def torch_on(threads: int) -> None:
        set_threads(threads)
        peer()

    seconds = seconds_in_turn(
        {
            **works,
            "constant batch": lambda: ours.run(updates),
            "PyTorch, one thread": lambda: torch_on(1),
            "PyTorch, every core": lambda: torch_on(os.cpu_count() or 1),
        },
        rounds=rounds,
    )
    print(f"{ours.parameters:,} parameters (PyTorch's model: {peer_parameters:,})")
    for name, taken in seconds.items():
        each = median(taken) / updates
        print(f"{name:20} {1 / each:8.1f} a second, {each * 1e3:9.2f} ms each")
    for threads in ("one thread", "every core"):
        print(f"time, ours / PyTorch {threads}: {ratio(seconds['constant batch'], seconds[f'PyTorch, {threads}']):.2f}")
    reached = ours.operations * updates / median(seconds["constant batch"])
    print(f"{reached / 1e9:.1f} GFLOP/s, {reached / matrix_rate():.0%} of a large float32 matrix product's")
    return seconds


def matrix_rate(size: int = 1024) -> float:
    """Floating-point operations a second of a large float32 matrix product."""
    a = jnp.ones((size, size))
    product = jax.jit(lambda x: x @ x)
    product(a).block_until_ready()
    taken = seconds_in_turn({"product": lambda: product(a).block_until_ready()}, rounds=20)["product"]
    return 2 * size**3 / median(taken)


def main() -> None:
    """Prints the comparison for one workload, at the variant whose pipeline works hardest."""
    flags = arguments()
    report(make_study(workloads.load(flags.workload, flags.scale), "baseline", 1))


if __name__ == "__main__":
    sys.exit(exit_code(main))
