"""The command line that all figures' analyses share."""

from collections.abc import Callable, Sequence
from pathlib import Path

from analysis.statistics import paper
from experiments import workloads
from experiments.command_line import Parser, exit_code, folder
from experiments.protocol import tables


def main(
    description: str | None,
    make: Callable[[Path, str], str],
    argv: list[str] | None = None,
    scales: Sequence[str] = (*workloads.SCALES, paper.PUBLISHED),
) -> int:
    """Runs one figure's analysis and returns its exit code.

    Args:
      description: the figure's docstring, shown by --help.
      make: draws the figure from the results folder at a scale and returns its numbers in words.
      argv: arguments, `sys.argv` if None.
      scales: those that can be drawn.
    """
    parser = Parser(description)
    parser.add_argument("--scale", required=True, choices=scales)
    parser.add_argument("--results", type=folder, default=tables.RESULTS)
    flags = parser.parse_args(argv)
    return exit_code(lambda: print(make(flags.results, flags.scale)))
