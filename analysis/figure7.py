"""Figure 7: fresh examples to the target at e = 2 over the sizes of the buffers that shuffle what was repeated.

    python -m analysis.figure7 --scale=small        ours beside the paper's; a few seconds
    python -m analysis.figure7 --scale=published    the paper's bars alone

Writes results/<scale>/figure7.png, .svg and .csv; the claims as claims_figure7.md; of
ours also figure7_curves, the winners' learning curves, and figure7_space, the search spaces.
"""

import itertools
import sys

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import plots
from analysis.claims import TOLERANCE, Bars, Claim
from analysis.command_line import main
from analysis.figures import Analysis, Rows
from experiments import figure7 as experiment

WORKLOAD = "transformer_lm1b"
BUFFERS = len(experiment.SHUFFLE_BUFFERS)
FLAT = 0.1
"""Baselines that differ by at most this share of their mean count as equal; the paper's differ by 4 %."""


def draw(rows: Rows) -> Figure:
    """Draws the bars of each row's title: batch echoing in one panel, example echoing in the other."""
    return plots.sheet(rows, [_batch_panel, _example_panel], _draw_panel, legend=True)


def _batch_panel(bars: pd.DataFrame) -> pd.DataFrame:
    batch = bars[bars["variant"] == "batch"]
    same_buffer = bars["shuffle_buffer"].isin(batch["shuffle_buffer"])
    return bars[(bars["variant"] == "batch") | ((bars["variant"] == "baseline") & same_buffer)].drop_duplicates(
        ["variant", "repeated_batch_buffer"]
    )


def _example_panel(bars: pd.DataFrame) -> pd.DataFrame:
    return bars[bars["variant"] != "batch"].drop_duplicates(["variant", "shuffle_buffer"])


def _draw_panel(ax: Axes, bars: pd.DataFrame) -> str:
    if "batch" in set(bars["variant"]):
        # The baseline stands by itself: it has no repeated batches.
        groups = bars["repeated_batch_buffer"].clip(lower=1).where(bars["variant"] == "batch", 0)
        plots.grouped_bars(
            ax, bars.assign(group=groups), "group", lambda batches: f"{batches:g}" if batches else "baseline"
        )
        ax.set_xlabel("buffer of repeated batches (batches)")
        return f"{plots.WORKLOADS[WORKLOAD]}, batch echoing"
    plots.grouped_bars(ax, bars, "shuffle_buffer", "{:,.0f}".format)
    ax.set_xlabel("shuffle buffer (examples)")
    return f"{plots.WORKLOADS[WORKLOAD]}, example echoing"


def claims() -> list[Claim]:
    """Section 3.5: echoing gains from more shuffling, the baseline does not."""
    return [
        Claim("7a", WORKLOAD, "batch echoing / baseline: falls with a larger buffer (within 2 %)", _batch_gains),
        Claim("7b", WORKLOAD, "example echoing: falls with a larger buffer (within 2 %)", _example_gains),
        Claim("7b", WORKLOAD, "baseline over buffers, (max - min) / mean: flat, at most 10 %", _baseline_is_flat),
        Claim(
            "7b", WORKLOAD, "smallest to largest buffer, saved by echoing, by the baseline: more", _echoing_gains_more
        ),
    ]


def _batch_gains(bars: Bars) -> tuple[str, bool]:
    buffers = bars.settings(WORKLOAD, "repeated_batch_buffer", len(experiment.REPEATED_BATCH_BUFFERS), "batch")
    default = bars.settings(WORKLOAD, "shuffle_buffer", 1, "batch")[0]
    ratios = [bars.ratio(WORKLOAD, "batch", repeated_batch_buffer=buffer, shuffle_buffer=default) for buffer in buffers]
    return ", ".join(f"{ratio:.3f}" for ratio in ratios), _falls(ratios)


def _example_gains(bars: Bars) -> tuple[str, bool]:
    means = _over_buffers(bars, "example")
    return ", ".join(f"{mean:,.0f}" for mean in means), _falls(means)


def _baseline_is_flat(bars: Bars) -> tuple[str, bool]:
    means = _over_buffers(bars, "baseline")
    spread = (max(means) - min(means)) / (sum(means) / len(means))
    return f"{spread:.1%}", spread <= FLAT


def _echoing_gains_more(bars: Bars) -> tuple[str, bool]:
    echoing, baseline = (
        1 - means[-1] / means[0] for means in (_over_buffers(bars, v) for v in ("example", "baseline"))
    )
    return f"{echoing:.1%}, {baseline:.1%}", echoing > baseline


def _over_buffers(bars: Bars, variant: str) -> list[float]:
    sizes = bars.settings(WORKLOAD, "shuffle_buffer", BUFFERS, variant)
    return [bars.mean(WORKLOAD, variant, shuffle_buffer=size) for size in sizes]


def _falls(numbers: list[float]) -> bool:
    """Never rises by over 2 %, and ends below where it began."""
    falling = all(b <= a * (1 + TOLERANCE) for a, b in itertools.pairwise(numbers))
    return falling and numbers[-1] < numbers[0]


ANALYSIS = Analysis(7, experiment, draw, claims())

if __name__ == "__main__":
    sys.exit(main(__doc__, ANALYSIS.make))
