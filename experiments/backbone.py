"""Trains an image classifier on SSD's stages and writes its weights, for SSD's backbone to start from.

    python -m experiments.backbone --scale=small --out=backbone.npz        half a minute on one core
    python -m experiments.figure3 --scale=small --panel=e --config.model.init_from=backbone.npz

The classifier is ImageNet's workload with blocks like SSD's: SSD's stages of its scale and, behind them, the
classifier's own last one, at paper scale a ResNet-34. One baseline trial is trained to its budget, whose end its
learning rate is made for, on seeds that no search has. (Not to its target, which is ResNet-50's.) Its point is the
middle of the search space, unless flags say otherwise. --config.KEY=VALUE changes settings of the classifier.
"""

import os
import sys
from pathlib import Path

from ml_collections import ConfigDict

from experiments import workloads
from experiments.command_line import Parser, exit_code, file, positive_float, share_below_one
from experiments.protocol import search, worker
from experiments.protocol.study import EngineError, Study, make_study


def classifier(scale: str, overrides: dict[str, str]) -> ConfigDict:
    """The configuration of the classifier whose first stages are SSD's; `overrides` are as typed, by key."""
    ssd, own = (workloads.load(name, scale).model for name in ("ssd_coco", "resnet50_imagenet"))
    stages = (*ssd.stages, own.stages[-1])
    model = {"model.name": "resnet_basic", "model.stages": str(stages), "model.width": str(ssd.width)}
    return workloads.load("resnet50_imagenet", scale, model | overrides)


def train(study: Study, point: dict[str, float], path: Path) -> None:
    """Trains a trial to its budget, prints what it measures and writes its weights.

    Raises:
      EngineError: it diverged.
    """
    from experiments.protocol import training, trial, weights  # import JAX and TensorFlow

    with training.pipeline_errors(study):
        result = trial.run(
            study,
            study.searches,
            0,
            point,
            bound_steps=lambda: None,
            record=lambda measured: print(
                f"{study.config['metric']} {measured.value:.3f} after {measured.sgd_steps:,} updates", flush=True
            ),
            completed=lambda trained: weights.write(path, trained.state),
        )
    if result.status == "infeasible":
        raise EngineError(f"the classifier diverged at update {result.sgd_steps:,}; give a lower --learning-rate")


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--scale", choices=workloads.SCALES, required=True)
    parser.add_argument("--out", type=file, required=True, metavar="FILE", help="of the weights, e.g. backbone.npz")
    parser.add_argument("--learning-rate", type=positive_float)
    parser.add_argument("--momentum", type=share_below_one)
    flags, overrides = parser.parse_with_overrides(argv)

    def work() -> None:
        study = make_study(classifier(flags.scale, overrides), "baseline", 1, bound=False)
        point = {dimension.name: search.value(dimension, 0.5) for dimension in study.space}
        given = {"learning_rate": flags.learning_rate, "momentum": flags.momentum}
        point |= {name: value for name, value in given.items() if value is not None}
        os.environ.update(worker.environment(flags.scale))
        train(study, point, flags.out)
        print(f"written: {flags.out}")

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
