"""How much of a host's decoders the image pipeline keeps at work.

    python -m benchmarks.hosts      two minutes

First decoders that only sleep, as many as a large host has: images a second over what so many would give if none ever
waited. Then real JPEGs of 500 x 375 pixels on one core: the whole pipeline, counted and batched, over decoding and
augmentation by themselves.
"""

import os
import sys
import time
from statistics import median

from experiments.command_line import Parser, exit_code
from experiments.protocol import worker

if __name__ == "__main__":
    Parser(__doc__).parse_args()  # before TensorFlow is imported, which takes seconds
os.environ.update(worker.environment("small"))
if hasattr(os, "sched_setaffinity"):  # before TensorFlow makes its threads
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np
import tensorflow as tf

from benchmarks.timing import ratio, seconds_in_turn
from pipelines.echoing.tfdata.datasets import as_set
from pipelines.echoing.tfdata.stages import Example, Stages, build, numbered
from pipelines.transforms import images

THREADS = (16, 64, 128)
DECODING = 0.05
SECONDS = 4.0
HEIGHT, WIDTH, BATCH, ROUND = 375, 500, 16, 160


def sleeping_rate(threads: int) -> float:
    """Images a second of decoders that sleep, over `threads` / DECODING."""

    def decode(example: Example) -> Example:
        def sleep(image: np.ndarray) -> np.ndarray:
            time.sleep(DECODING)
            return image

        return {"image": tf.ensure_shape(tf.numpy_function(sleep, [example["image"]], tf.uint8), [8])}

    raw = tf.data.Dataset.from_tensors({"image": np.zeros(8, np.uint8), "name": "picture"}).repeat()
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    decoded = as_set(images.decode_all(raw, decode, parallel=threads)).with_options(options)
    iterator = iter(decoded)
    for _ in range(4 * threads):
        next(iterator)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        next(iterator)
        count += 1
    return count / (time.perf_counter() - started) / (threads / DECODING)


def jpegs() -> tf.data.Dataset:
    """Endless, of smooth random pictures whose shapes the pipeline does not know."""
    generator = np.random.default_rng(0)

    def picture(_: int) -> bytes:
        coarse = generator.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), np.uint8)
        pixels = tf.cast(tf.clip_by_value(tf.image.resize(coarse, (HEIGHT, WIDTH), method="bicubic"), 0, 255), tf.uint8)
        return bytes(tf.io.encode_jpeg(pixels).numpy())

    images_ = list(map(picture, range(32)))
    return tf.data.Dataset.from_tensor_slices({"image": images_, "name": ["picture"] * len(images_)}).repeat()


def main() -> None:
    """Prints both tables."""
    for threads in THREADS:
        print(f"{threads:4} sleeping decoders: {sleeping_rate(threads):.2f} of the ideal images a second")
    augment = images.random_resized_crop(224, smallest_area=0.08, colour_strength=0.4)
    seed = tf.constant([0, 0], tf.int64)

    def one(example: Example) -> tf.Tensor:
        pixels = tf.io.decode_image(example["image"], channels=3, expand_animations=False)
        return augment({"image": pixels[None]}, seed)["image"]

    decoded = numbered(images.decode_all(jpegs(), images.decode(), parallel=1))
    whole = build(decoded, Stages("baseline", 1, BATCH, 0, prefetch=0), seed=0, augment=augment)
    alone, batches = iter(as_set(jpegs().map(one).batch(BATCH))), iter(whole)

    def decode_and_augment() -> None:
        for _ in range(ROUND // BATCH):
            next(alone)

    def pipeline() -> None:
        for _ in range(ROUND // BATCH):
            next(batches)

    seconds = seconds_in_turn({"decode and augment alone": decode_and_augment, "whole pipeline": pipeline}, rounds=9)
    for name, taken in seconds.items():
        print(f"JPEGs of {WIDTH} x {HEIGHT}, {name:25} {ROUND / median(taken):8.1f} images a second")
    share = ratio(seconds["decode and augment alone"], seconds["whole pipeline"])
    print(f"whole pipeline / decode and augment alone: {share:.2f}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
