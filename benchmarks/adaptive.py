"""Adaptive echoing behind a source that stalls for a second every four, and behind one that is fast.

    python -m benchmarks.adaptive       two minutes; needs a quiet machine

Prints how long downstream waited, without the stage and with it, and the realised echo factor. The step sleeps, so only
the pipelines' own work runs on the cores.
"""

import sys
import time

from experiments.command_line import Parser, exit_code

if __name__ == "__main__":
    Parser(__doc__).parse_args()  # before TensorFlow is imported, which takes seconds

import tensorflow as tf

from pipelines.echoing.tfdata.adaptive import AdaptiveEcho
from pipelines.echoing.tfdata.runs import drive
from pipelines.sources.slow import Storage, slow

BATCH, STEP_SECONDS, SECONDS = 32, 0.05, 20
MOST = 4


def source(ratio: float, stalls: bool) -> tf.data.Dataset:
    """Batches from a source that takes `ratio` times as long for one as a step does, stalls not counted."""
    examples = tf.data.Dataset.range(10**6).map(lambda i: {"index": i})
    storage = Storage(
        examples_per_second=BATCH / (ratio * STEP_SECONDS),
        request_examples=BATCH,
        jitter=0.2,
        stall_seconds=1.0 if stalls else 0.0,
        stall_every_seconds=4.0,
    )
    return slow(examples, storage).batch(BATCH)


def main() -> None:
    """Prints the table."""
    print(f"{'source':24}{'echo':>10}{'seconds':>9}{'waiting':>9}{'factor':>8}{'fresh':>7}{'echoed':>8}")
    for name, ratio, stalls in (
        ("R = 0.5", 0.5, False),
        ("R = 0.9, stalls", 0.9, True),
        ("R = 2", 2.0, False),
        ("R = 2, stalls", 2.0, True),
    ):
        for adaptive in (False, True):
            stage = AdaptiveEcho(MOST if adaptive else 1)
            batches = stage.echo(source(ratio, stalls))
            run = drive(batches, lambda _: time.sleep(STEP_SECONDS), round(SECONDS / STEP_SECONDS))
            words = f"1 to {MOST}" if adaptive else "none"
            print(
                f"{name:24}{words:>10}{run.seconds:9.1f}{run.idle_seconds:9.1f}{stage.factor:8.2f}"
                f"{stage.fresh_items:7}{stage.echoed_items:8}"
            )


if __name__ == "__main__":
    sys.exit(exit_code(main))
