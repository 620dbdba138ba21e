"""Redraws every figure at every scale that has results, and the published ones.

python -m analysis.all
"""

import sys
from pathlib import Path

from analysis import figure3, figure4, figure5, figure6, figure7, figure8, load
from analysis.command_line import tell

FIGURES = (figure3, figure4, figure5, figure6, figure7, figure8)
SCALES = (load.PUBLISHED, "smoke", "small", "paper")


def redraw(results: Path = load.RESULTS) -> str:
    """Redraws what has results and returns the figures' numbers in words."""
    told = []
    for scale in SCALES:
        drawn = [figure.ANALYSIS for figure in FIGURES if figure.ANALYSIS.has_results(results, scale)]
        told += [f"# {scale}, Figure {analysis.number}\n\n{analysis.make(results, scale)}" for analysis in drawn]
    return "\n\n".join(told)


if __name__ == "__main__":
    sys.exit(tell(redraw))
