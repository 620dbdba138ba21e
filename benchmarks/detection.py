"""Object detection at small scale: the pipeline alone, the update alone, both together, the evaluation; mAP at COCO's.

    python -m benchmarks.detection

In one run, in turn, with one thread for the pipeline and one for XLA, as in a small trial.
"""

import os
import sys
import time
from statistics import median

from experiments import workloads
from experiments.command_line import Parser, exit_code
from experiments.protocol import worker
from experiments.protocol.study import make_study

if __name__ == "__main__":
    Parser(__doc__).parse_args()  # before TensorFlow is imported, which takes seconds
os.environ.update(worker.environment("small"))

import numpy as np

from benchmarks.timing import ratio, seconds_in_turn
from benchmarks.updates import UPDATES, Updates
from experiments.protocol.training import Training
from models.detection import mean_average_precision

IMAGES, OBJECTS, DETECTIONS, CLASSES = 5_000, 8, 100, 80
"""COCO's validation set, about: most images have fewer objects, and padding costs nothing."""


def seconds_of_metric() -> float:
    """CPU seconds of the mAP of made-up detections, most of them near an object."""
    generator = np.random.default_rng(0)
    corners = np.sort(generator.uniform(size=(IMAGES, OBJECTS, 2, 2)), axis=2).reshape(IMAGES, OBJECTS, 4)
    labels = generator.integers(CLASSES, size=(IMAGES, OBJECTS))
    truth: dict[str, np.ndarray] = {
        "image_id": np.arange(IMAGES),
        "boxes": corners.astype(np.float32),
        "labels": labels,
        "crowd": generator.uniform(size=labels.shape) < 0.02,
    }
    chosen = generator.integers(OBJECTS, size=(IMAGES, DETECTIONS))
    found = np.take_along_axis(corners, chosen[..., None], 1) + generator.normal(0, 0.05, (IMAGES, DETECTIONS, 4))
    scores = generator.uniform(size=(IMAGES, DETECTIONS))
    started = time.process_time()
    mean_average_precision(truth, found.astype(np.float32), scores, np.take_along_axis(labels, chosen, 1))
    return time.process_time() - started


def main() -> None:
    """Prints the comparison."""
    study = make_study(workloads.load("ssd_coco", "small"), "baseline", 1)
    training = Training(study)
    batches = training.batches(training.examples).as_numpy_iterator()
    ours = Updates(study.config["model"], next(batches), nesterov=study.config["nesterov"])

    def pipeline_alone() -> None:
        for _ in range(UPDATES):
            next(batches)

    seconds = seconds_in_turn(
        {
            "pipeline alone": pipeline_alone,
            "constant batch": lambda: ours.run(UPDATES),
            "real pipeline": lambda: ours.run(UPDATES, batches),
            "evaluation": lambda: training.model.evaluate(ours.state, training.validation),
        },
        rounds=15,
    )
    print(f"{study.workload} {study.setting}: {ours.parameters:,} parameters")
    for name in ("pipeline alone", "constant batch", "real pipeline"):
        each = median(seconds[name]) / UPDATES
        print(f"{name:15} {1 / each:8.1f} batches a second, {each * 1e3:7.2f} ms each")
    print(f"evaluation of {study.config['data']['validation_examples']} images: {median(seconds['evaluation']):.2f} s")
    share = ratio(seconds["constant batch"], seconds["real pipeline"])
    print(f"updates a second, real pipeline / constant batch: {share:.3f}")
    metric = median(seconds_of_metric() for _ in range(5))
    print(f"mAP of {IMAGES:,} images with {DETECTIONS} detections each: {metric:.2f} CPU seconds")


if __name__ == "__main__":
    sys.exit(exit_code(main))
