"""What SSD finds after a short training: predicted and true boxes on validation images.

    python -m analysis.detections --scale=small     a second; python -m experiments.detections trains and records

Writes results/<scale>/detections.png: true boxes white, predicted ones with a score above 0.3 in the colour of their
class, with class and score.
"""

import io
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.command_line import main
from experiments import workloads
from experiments.protocol import files, tables

LEAST_SCORE = 0.3
ROWS = 3


def has_results(results: Path, scale: str) -> bool:
    """Whether there is anything to draw."""
    return (results / scale / "detections.parquet").exists()


def draw(table: pd.DataFrame) -> Figure:
    """One panel an image."""
    figure, axes = plt.subplots(ROWS, -(-len(table) // ROWS), figsize=(8, 6.2), squeeze=False, layout="constrained")
    for ax, (_, row) in zip(axes.flat, table.iterrows(), strict=False):
        draw_image(ax, row)
    for ax in axes.flat:
        ax.set_axis_off()
    figure.suptitle("white: true boxes; coloured: predicted ones, class and score", fontsize=9)
    return figure


def draw_image(ax: Axes, row: pd.Series) -> Axes:
    """Draws one image with its boxes, which are shares of its sides."""
    pixels = plt.imread(io.BytesIO(row["image"]))
    height, width = pixels.shape[:2]
    ax.imshow(pixels, extent=(0, width, height, 0))
    boxes: list[tuple[Any, ...]] = [(box, "white", "") for box in row["boxes"]]
    for box, score, label in zip(row["found_boxes"], row["scores"], row["found_labels"], strict=True):
        if score > LEAST_SCORE:
            boxes.append((box, plt.get_cmap("tab10")(int(label) % 10), f"{label}: {score:.1f}"))
    for (top, left, bottom, right), colour, text in boxes:
        corner, sides = (width * left, height * top), (width * (right - left), height * (bottom - top))
        ax.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=colour, linewidth=1.5))
        if text:
            ax.text(*corner, text, color="white", fontsize=6, va="bottom", backgroundcolor=colour)
    return ax


def make(results: Path, scale: str) -> str:
    """Draws and writes the picture and returns what it did, in words.

    Raises:
      ResultsError: nothing was recorded at this scale, or the table is damaged.
    """
    path = results / scale / "detections.png"
    columns = {"image": bytes, "boxes": list, "found_boxes": list, "scores": list, "found_labels": list}
    command = f"python -m experiments.detections --scale={scale}"
    table = tables.recorded(path.with_suffix(".parquet"), columns, command)
    picture = io.BytesIO()
    draw(table).savefig(picture, dpi=150)
    plt.close()
    files.write(path, picture.getvalue())
    return f"drawn: {path}"


if __name__ == "__main__":
    sys.exit(main(__doc__, make, scales=workloads.SCALES))
