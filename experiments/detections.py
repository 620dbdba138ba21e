"""Draws what SSD finds after a short training: predicted and true boxes on validation images.

    python -m experiments.detections --scale=small                 about a minute on two cores
    python -m experiments.detections --scale=small --updates=6000 --learning-rate=0.05 --momentum=0.9

Trains one baseline model, at a constant rate after a warm-up over the first tenth, and writes
results/<scale>/detections.png: true boxes white, predicted ones with a score above 0.3 in the colour of their class,
with class and score.
"""

import os
import sys
from pathlib import Path

from experiments import workloads
from experiments.command_line import Parser, positive, positive_float, told
from experiments.protocol import engine
from experiments.protocol.study import Study, make_study

SHOWN = 12
LEAST_SCORE = 0.3


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--scale", choices=workloads.SCALES, required=True)
    parser.add_argument("--updates", type=positive, default=3000)
    parser.add_argument("--learning-rate", type=positive_float, default=0.1)
    parser.add_argument("--momentum", type=float, default=0.8)
    parser.add_argument("--results", type=Path, default=Path("results"))
    flags = parser.parse_args(argv)

    def work() -> None:
        os.environ.update(engine.worker_environment(flags.scale))
        study = make_study(workloads.load("ssd_coco", flags.scale), "baseline", 1)
        path = flags.results / flags.scale / "detections.png"
        from experiments.protocol.trial import pipeline_errors  # imports JAX and TensorFlow

        with pipeline_errors(study):
            mean_average_precision = draw(study, flags.updates, flags.learning_rate, flags.momentum, path)
        print(f"mAP {mean_average_precision:.3f} after {flags.updates} updates; drawn: {path}")

    return told(work)


def draw(study: Study, updates: int, learning_rate: float, momentum: float, path: Path) -> float:
    """Trains, draws the first validation images to `path` and returns the mAP over all of them."""
    import numpy as np  # with JAX and TensorFlow, only once the arguments are known to be good
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    from experiments.protocol import trial
    from pipelines.echoing.stages import ReadCounter

    trainer, validation = trial.open_study(study)
    batches = trial.pipeline(study, study.seed("detections"), ReadCounter()).as_numpy_iterator()
    batch = trainer.put(next(batches))
    state = trainer.init(study.seed("init", "detections"), batch)
    for step in range(1, updates + 1):
        rate = learning_rate * min(1.0, 10 * step / updates)
        state, _ = trainer.update(state, batch, {"learning_rate": np.float32(rate), "momentum": np.float32(momentum)})
        batch = trainer.put(next(batches))
    images, truth, labels = (np.asarray(validation[0][name]) for name in ("image", "boxes", "labels"))
    found, scores, classes = (np.asarray(part) for part in trainer.outputs(state, validation[:1])[0])
    size = images.shape[1]
    figure, axes = pyplot.subplots(3, SHOWN // 3, figsize=(8, 6.2), layout="constrained")
    for i, ax in enumerate(axes.flat[: len(images)]):
        ax.imshow(images[i], extent=(0, size, size, 0))
        shown = scores[i] > LEAST_SCORE
        boxes = [(box, "white", "") for box in truth[i][labels[i] >= 0]]
        for box, score, label in zip(found[i][shown], scores[i][shown], classes[i][shown], strict=True):
            boxes.append((box, pyplot.get_cmap("tab10")(label % 10), f"{label}: {score:.1f}"))
        for (top, left, bottom, right), colour, text in boxes:
            corner, sides = (size * left, size * top), (size * (right - left), size * (bottom - top))
            ax.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=colour, linewidth=1.5))
            ax.text(*corner, text, color="white", fontsize=6, va="bottom", backgroundcolor=colour if text else "none")
        ax.set_axis_off()
    figure.suptitle("white: true boxes; coloured: predicted ones, class and score", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return trainer.evaluate(state, validation)


if __name__ == "__main__":
    sys.exit(main())
