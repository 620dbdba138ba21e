"""Cost of the echo stage, beside the paper's one-line form and the pipeline without it.

    python -m benchmarks.echo

Prints microseconds for each example that leaves the pipeline (windows of 32 tokens, batches of 64).
"""

from functools import partial
from statistics import median

import numpy as np
import tensorflow as tf

from benchmarks.timing import ratio, seconds_in_turn
from experiments.command_line import Parser
from pipelines.echoing.tfdata.echo import echo

EXAMPLES, BATCH = 64_000, 64


def source() -> tf.data.Dataset:
    """Endless examples from memory."""
    tokens = np.random.default_rng(0).integers(1, 128, (20_000, 32), dtype=np.int32)
    return tf.data.Dataset.from_tensor_slices({"tokens": tokens}).repeat()


def one_liner(dataset: tf.data.Dataset, factor: int) -> tf.data.Dataset:
    """Echoing as the paper writes it."""
    return dataset.flat_map(lambda example: tf.data.Dataset.from_tensors(example).repeat(factor))


def drain(dataset: tf.data.Dataset) -> object:
    """Reads EXAMPLES examples in batches, inside tf.data."""
    count = dataset.batch(BATCH).take(EXAMPLES // BATCH).reduce(np.int64(0), lambda total, _: total + 1)
    return count.numpy()


def main() -> None:
    """Prints the table."""
    Parser(__doc__).parse_args()
    forms = {
        "plain pipeline": source(),
        "echo, e = 2": echo(source(), 2, seed=0),
        "echo, e = 2.5": echo(source(), 2.5, seed=0),
        "one-line flat_map, e = 2": one_liner(source(), 2),
    }
    seconds = seconds_in_turn({name: partial(drain, form) for name, form in forms.items()}, rounds=5)
    for name, taken in seconds.items():
        print(f"{name:28} {median(taken) / EXAMPLES * 1e6:7.2f} us an example")
    print(f"one-line form / echo stage: {ratio(seconds['one-line flat_map, e = 2'], seconds['echo, e = 2']):.1f}")


if __name__ == "__main__":
    main()
