"""Trains SSD briefly and records what it finds on the first validation images, beside the true boxes.

    python -m experiments.detections --scale=small                 about a minute on two cores
    python -m experiments.detections --scale=small --updates=6000 --learning-rate=0.05 --momentum=0.9
    python -m analysis.detections --scale=small                    draws it

Trains one baseline model, on seeds that no search has, at a constant rate after a warm-up over the first tenth. Writes
results/<scale>/detections.parquet, a row an image: the image as PNG, true `boxes` and `labels`, and for each box found
its `found_boxes`, `scores` and `found_labels`. Boxes are top, left, bottom and right as shares of the image.
"""

import dataclasses
import io
import os
import sys
from pathlib import Path
from typing import Any

from experiments import workloads
from experiments.command_line import Parser, exit_code, folder, positive, positive_float, share_below_one
from experiments.protocol import files, tables, worker
from experiments.protocol.study import Study, make_study
from pipelines.sources import presence

IMAGES = 12


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--scale", choices=workloads.SCALES, required=True)
    parser.add_argument("--updates", type=positive, default=3000)
    parser.add_argument("--learning-rate", type=positive_float, default=0.1)
    parser.add_argument("--momentum", type=share_below_one, default=0.8)
    parser.add_argument("--results", type=folder, default=tables.RESULTS)
    flags, overrides = parser.parse_with_overrides(argv)

    def work() -> None:
        study = make_study(workloads.load("ssd_coco", flags.scale, overrides), "baseline", 1)
        presence.check(study.config["data"])
        os.environ.update(worker.environment(flags.scale))
        path = flags.results / flags.scale / "detections.parquet"
        point = {"learning_rate": flags.learning_rate, "momentum": flags.momentum}
        mean_average_precision = record(study, flags.updates, point, path)
        print(f"mAP {mean_average_precision:.3f} after {flags.updates} updates; written: {path}")
        print(f"next: python -m analysis.detections --scale={flags.scale}")

    return exit_code(work)


def record(study: Study, updates: int, point: dict[str, float], path: Path) -> float:
    """Trains, writes what is found on the first validation images and returns the mAP over all of them."""
    import numpy as np  # with JAX and TensorFlow, only once the arguments are known to be good
    from PIL import Image

    from experiments.protocol.training import Training, pipeline_errors

    warm_up = {"warm_up_examples": updates / 10 * study.batch_size}
    training = Training(dataclasses.replace(study, config={**study.config, **warm_up}), point, search=study.searches)
    with pipeline_errors(study):
        batches = training.batches(training.examples).as_numpy_iterator()
        for _ in range(updates):
            training.update(next(batches))
    truth = {name: np.asarray(part) for name, part in training.validation[0].items()}
    boxes, scores, labels = (np.asarray(part) for part in training.outputs(training.validation[:1])[0])
    rows = []
    for i in range(min(IMAGES, len(truth["image"]))):
        png = io.BytesIO()
        Image.fromarray(truth["image"][i]).save(png, format="png")
        real = truth["labels"][i] >= 0
        rows.append(
            {
                "image": png.getvalue(),
                "boxes": truth["boxes"][i][real].tolist(),
                "labels": truth["labels"][i][real].tolist(),
                "found_boxes": boxes[i].tolist(),
                "scores": scores[i].tolist(),
                "found_labels": labels[i].tolist(),
            }
        )
    save(path, rows)
    return training.evaluate()


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the rows in place of what the table held."""
    import pandas as pd

    with files.locked(path.parent):
        files.write(path, pd.DataFrame(rows).to_parquet(index=False))


if __name__ == "__main__":
    sys.exit(main())
