"""Image pipelines and updates: decode and augment alone, then with the update, then the paper's shapes on this CPU.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.images

Everything in one run, on one thread for the pipeline and one for XLA, as in a small trial. The update is timed against
the same network in PyTorch. For the paper's shapes only the batch is smaller.
"""

import os
import sys
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any

from experiments import workloads
from experiments.command_line import Parser, exit_code
from experiments.protocol import worker
from experiments.protocol.study import make_study

if __name__ == "__main__":
    Parser(__doc__).parse_args()  # before TensorFlow is imported, which takes seconds
os.environ.update(worker.environment("small"))

import numpy as np
import tensorflow as tf

from benchmarks.step import against_torch, report
from benchmarks.timing import seconds_in_turn
from benchmarks.updates import Updates
from pipelines.echoing.tfdata.stages import Stages, build
from pipelines.sources.registry import load
from pipelines.transforms import images

EXAMPLES = 1_024  # drawn at a time: several of the chunks that are decoded together
PAPER_BATCH = 8


def stage_rates(workload: str) -> None:
    """Prints examples a second that reading and decoding give, and what is left of them after augmentation."""
    study = make_study(workloads.load(workload, "small"), "baseline", 1)
    source = load(study.config["data"])
    settings = Stages("baseline", 1, study.batch_size, 0)
    iterators = {
        "read and decode": iter(source.train(0).batch(study.batch_size)),
        "read, decode and augment": iter(build(source.train(0), settings, seed=0, augment=source.augment)),
    }
    print_rates(workload, study.batch_size, iterators)


def full_size_rates(size: int = 400, batch: int = 8) -> None:
    """The same for JPEGs of ImageNet's usual size, made of a smooth random picture."""
    coarse = np.random.default_rng(0).integers(0, 256, (size // 16, size // 16, 3), np.uint8)
    picture = tf.cast(tf.image.resize(coarse, (size, size), method="bicubic"), tf.uint8)
    raw = {"image": tf.io.encode_jpeg(picture), "label": np.int32(0), "name": "picture"}
    examples = tf.data.Dataset.from_tensors(raw).repeat()
    decoded = images.decode_all(examples, images.decode(size))
    augment = images.random_resized_crop(224, smallest_area=0.08, colour_strength=0.4)
    augmented = build(decoded, Stages("baseline", 1, batch, 0), seed=0, augment=augment)
    iterators = {"decode": iter(decoded.batch(batch)), "decode and augment": iter(augmented)}
    print_rates(f"JPEGs of {size} px", batch, iterators)


def print_rates(title: str, batch_size: int, batches: dict[str, Iterator[Any]]) -> None:
    """Times endless iterators over batches."""

    def draw(iterator: Iterator[Any]) -> None:
        for _ in range(EXAMPLES // batch_size):
            next(iterator)

    works = {name: partial(draw, iterator) for name, iterator in batches.items()}
    for name, taken in seconds_in_turn(works).items():
        each = median(taken) / EXAMPLES
        print(f"{title}, {name:25} {1 / each:10,.0f} examples a second, {each * 1e6:8.1f} us each")


def paper_shapes(workload: str) -> None:
    """Prints how the update of the paper's model compares with PyTorch's, in float32."""
    config = workloads.load(workload, "paper", {"model.dtype": "float32"})
    model = make_study(config, "baseline", 1).config["model"] | {"ghost_batch_size": None}
    size = config.data.get("size", 32)
    generator = np.random.default_rng(0)
    batch = {
        "image": generator.integers(0, 256, (PAPER_BATCH, size, size, 3), np.uint8),
        "label": generator.integers(0, model["num_classes"], PAPER_BATCH, np.int32),
    }
    print(f"{workload}, the paper's network, batch {PAPER_BATCH}")
    against_torch(model, batch, Updates(model, batch), {}, updates=2, rounds=3)


def main() -> None:
    """Prints all of it."""
    for workload in ("resnet32_cifar10", "resnet50_imagenet"):
        stage_rates(workload)
    full_size_rates()
    for workload in ("resnet32_cifar10", "resnet50_imagenet"):
        report(make_study(workloads.load(workload, "small"), "baseline", 1))
    for workload in ("resnet32_cifar10", "resnet50_imagenet"):
        paper_shapes(workload)


if __name__ == "__main__":
    sys.exit(exit_code(main))
