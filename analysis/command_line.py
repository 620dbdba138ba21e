"""The command line that all figures' analyses share."""

from collections.abc import Callable
from pathlib import Path

from analysis import load
from experiments.command_line import Parser


def main(description: str | None, make: Callable[[Path, str], str], argv: list[str] | None = None) -> int:
    """Runs one figure's analysis and returns its exit code.

    Args:
      description: the figure's docstring, shown by --help.
      make: draws the figure from the results folder at a scale and returns its numbers in words.
      argv: arguments, `sys.argv` if None.
    """
    parser = Parser(description)
    parser.add_argument("--scale", required=True, choices=("smoke", "small", "paper", load.PUBLISHED))
    parser.add_argument("--results", type=Path, default=load.RESULTS)
    flags = parser.parse_args(argv)
    return load.tell(lambda: make(flags.results, flags.scale))
