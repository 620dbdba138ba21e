"""Redraws every figure at every scale that has results, and the published ones.

python -m analysis.all
"""

import sys
from pathlib import Path

from analysis import figure3, figure4, load

FIGURES = (figure3, figure4)
SCALES = (load.PUBLISHED, "smoke", "small", "paper")


def redraw(results: Path = load.RESULTS) -> str:
    """Redraws what has results and returns the figures' numbers in words."""
    scales = [scale for scale in SCALES if scale == load.PUBLISHED or load.has_results(results, scale)]
    return "\n\n".join(f"# {scale}\n\n{figure.make(results, scale)}" for scale in scales for figure in FIGURES)


if __name__ == "__main__":
    sys.exit(load.tell(redraw))
