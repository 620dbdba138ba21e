"""Says whether echoing would speed a training pipeline up, where to insert it and how often to echo.

    python -m pipelines.echoing.advice --config=FILE.py             measure and advise: under a minute
    python -m pipelines.echoing.advice --config=FILE.py --confirm  then time the suggestion beside the pipeline as it is

FILE.py is yours: Python that defines `pipeline()`, which returns a `advise.Pipeline`, and
`step(batch)`, which takes one SGD step on a batch of NumPy arrays and returns when it is done.
experiments/examples/own_dataset.py is one to copy. From Python: `print(advise(pipeline, step))`. For workloads of this
repository: `experiments.advise`.
"""

import argparse
import runpy
import sys
from pathlib import Path

import tensorflow as tf

from ..tfdata.datasets import in_one_line
from .advise import Pipeline, report
from .timing import PipelineEnded, Step


class BadConfig(ValueError):
    """The file given does not define a pipeline and a step."""


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE.py")
    parser.add_argument("--confirm", action="store_true", help="time the suggestion as well")
    flags = parser.parse_args(argv)
    try:
        report(*load_config(flags.config), flags.confirm)
    except tf.errors.OpError as error:
        print(f"error: the pipeline failed: {in_one_line(error)}", file=sys.stderr)
        return 1
    except (BadConfig, PipelineEnded) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def load_config(path: Path) -> tuple[Pipeline, Step]:
    """The pipeline and the step that a file defines.

    Raises:
      BadConfig: there is no such file, or it does not define what is needed; errors of its own code are not caught.
    """
    if not path.is_file():
        raise BadConfig(f"{path} is not a file")
    sys.path.insert(0, str(path.parent.resolve()))  # for what it imports from beside it
    names = runpy.run_path(str(path))
    for name in ("pipeline", "step"):
        if not callable(names.get(name)):
            raise BadConfig(f"{path} must define a function {name}(); --help says what it does")
    pipeline = names["pipeline"]()
    if not isinstance(pipeline, Pipeline):
        raise BadConfig(f"pipeline() of {path} must return an advise.Pipeline, got {type(pipeline).__name__}")
    return pipeline, names["step"]


if __name__ == "__main__":
    sys.exit(main())
