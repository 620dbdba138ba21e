"""Says whether echoing would speed a training pipeline up, where to insert it and how often to echo.

    python -m echoing.advice FILE.py              measure and advise: under a minute
    python -m echoing.advice FILE.py --confirm    then time the suggestion beside the pipeline as it is
    python -m echoing.advice FILE.py --json       the measurements and the advice as JSON

In a checkout whose package is not installed: python -m pipelines.echoing.advice, in its root.

FILE.py is yours: Python that defines `loader`, an iterable of batches or a function that returns one (or a `Pipeline`,
which names its stages), and `step(batch)`, which takes one SGD step on a batch and returns when it is done.
experiments/examples/own_dataset.py of the checkout is one to copy. From Python: `print(advise(loader, step))`.
"""

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any, NoReturn

from .advise import Advice, advise, confirm
from .loaders import Loader, NotALoader
from .report import milliseconds
from .timing import PipelineEnded, Step


class BadConfig(ValueError):
    """The file given does not define a loader and a step."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (--help lists the flags)\n")


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = _Parser(
        prog=f"python -m {__package__}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", type=Path, metavar="FILE.py")
    parser.add_argument("--epochs", type=_positive, help="how many training takes today")
    parser.add_argument("--confirm", action="store_true", help="time the suggestion as well")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    flags = parser.parse_args(argv)
    try:
        loader, step = load_config(flags.file)
        advice = advise(loader, step, epochs=flags.epochs)
        print(advice.to_json() if flags.json else advice)
        if flags.confirm:
            print_confirmation(loader, step, advice)
    except (BadConfig, PipelineEnded, NotALoader) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; nothing is written", file=sys.stderr)
        return 130
    except Exception as error:
        words = _of_tensorflow(error)
        if words is None:
            raise
        print(f"error: the pipeline failed: {words}", file=sys.stderr)
        return 1
    return 0


def print_confirmation(loader: Any, step: Step, advice: Advice) -> None:
    """Times the suggestion and prints what came out, to standard error."""
    if advice.best is None:
        print("nothing to confirm: the advice is not to echo", file=sys.stderr)
        return
    before, after = confirm(loader, step, advice)
    expected = advice.now.mean / advice.best.step_seconds
    print(
        f"confirmed by timing: a step takes {milliseconds(before)} ms as it is, {milliseconds(after)} ms as advised: "
        f"{before / after:.2f} times as many steps a second, {expected:.2f} expected",
        file=sys.stderr,
    )


def load_config(path: Path) -> tuple[Any, Step]:
    """The loader and the step that a file defines.

    Raises:
      BadConfig: there is no such file, or it does not define what is needed; errors of its own code are not caught.
    """
    if not path.is_file():
        raise BadConfig(f"{path} is not a file")
    sys.path.insert(0, str(path.parent.resolve()))  # for what it imports from beside it
    names = runpy.run_path(str(path))
    for name in ("loader", "step"):
        if name not in names:
            raise BadConfig(f"{path} must define {name}; --help says what it is")
    loader = names["loader"]
    if callable(loader) and isinstance(made := loader(), Loader):
        loader = made
    return loader, names["step"]


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text}")
    return value


def _of_tensorflow(error: Exception) -> str | None:
    """What TensorFlow says of an error in a pipeline, None if the error is not one of its own."""
    if "tensorflow" not in sys.modules or not isinstance(error, sys.modules["tensorflow"].errors.OpError):
        return None
    from ..tfdata.datasets import in_one_line

    return in_one_line(error)


if __name__ == "__main__":
    sys.exit(main())
