"""How results look: DataFrames in, matplotlib Axes out. One colour a variant throughout the suite.

The colours differ in lightness as well as in hue, and the baseline is hatched, so that the plots read in grey and
without red and green.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

COLOURS = {
    "baseline": "#d9d9d9",
    "batch": "#3b6fb6",
    "example": "#a6dba0",
    "example_after_augmentation": "#a6dba0",
    "example_before_augmentation": "#1b5e20",
}
LABELS = {
    "baseline": "baseline",
    "batch": "batch\nechoing",
    "example": "example\nechoing",
    "example_after_augmentation": "example\nechoing\nafter aug.",
    "example_before_augmentation": "example\nechoing\nbefore aug.",
}
WORKLOADS = {
    "transformer_lm1b": "Transformer on LM1B",
    "transformer_common_crawl": "Transformer on Common Crawl",
    "resnet32_cifar10": "ResNet-32 on CIFAR-10",
    "resnet50_imagenet": "ResNet-50 on ImageNet",
    "ssd_coco": "SSD on COCO",
}

plt.rcParams.update(
    {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "svg.hashsalt": "data-echoing"}
)


def fresh_example_bars(ax: Axes, rows: pd.DataFrame) -> Axes:
    """Draws mean fresh examples of each variant of one workload, with whiskers from minimum to maximum.

    Args:
      ax: where to draw.
      rows: one row a variant, as `reach.per_study` gives them. The dashed line across an echoing variant's bar lies
        at the baseline's mean divided by its echo factor: echoed examples as useful as fresh ones. A variant that
        reached its target in some searches only says so; one that never did has no bar.
    """
    rows = rows.sort_values("variant", key=lambda column: column.map(list(LABELS).index), ignore_index=True)
    baseline = rows.loc[rows["variant"] == "baseline", "mean_fresh_examples"]
    for x, (_, row) in enumerate(rows.iterrows()):
        mean, low, high = (row[f"{end}_fresh_examples"] for end in ("mean", "min", "max"))
        hatch = "///" if row["variant"] == "baseline" else None
        ax.bar(x, mean, color=COLOURS[row["variant"]], edgecolor="#404040", linewidth=0.6, hatch=hatch, width=0.8)
        if row["reached"]:
            ax.errorbar(x, mean, [[mean - low], [high - mean]], color="black", linewidth=1, capsize=3)
        if row["reached"] < row["searches"]:
            ax.annotate(f"{row['reached']} of {row['searches']}\nreached", (x, 0), ha="center", va="bottom", fontsize=7)
        if row["variant"] != "baseline" and len(baseline):
            ideal = baseline.iloc[0] / row["echo_factor"]
            ax.plot([x - 0.45, x + 0.45], [ideal, ideal], "--", color="black", linewidth=1)
    ax.set_xticks(range(len(rows)), [LABELS[variant] for variant in rows["variant"]], fontsize=7.5)
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set_ylim(bottom=0)
    return ax


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG and SVG beside each other, the same bytes for the same figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"), dpi=150, metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
    plt.close(figure)
