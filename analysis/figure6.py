"""Figure 6: fresh examples to the target of each variant at e = 2, over batch sizes, a panel a workload.

    python -m analysis.figure6 --scale=small        ours beside the paper's; a few seconds
    python -m analysis.figure6 --scale=published    the paper's bars alone

Writes results/<scale>/figure6.png, .svg and .csv; the claims as claims_figure6.md; of
ours also figure6_curves, the winners' learning curves, and figure6_space, the search spaces.
"""

import itertools
import sys

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import plots
from analysis.claims import TOLERANCE, Bars, Claim, listed
from analysis.command_line import main
from analysis.figures import Analysis, Rows
from experiments import figure6 as experiment

SIZES = 4
EXAMPLE_VARIANTS = {
    "transformer_lm1b": ["example"],
    "resnet50_imagenet": ["example_after_augmentation", "example_before_augmentation"],
}


def draw(rows: Rows) -> Figure:
    """Draws the bars of each row's title, a panel a workload."""
    return plots.sheet(rows, plots.by_workload(rows), _draw_panel, legend=True)


def _draw_panel(ax: Axes, bars: pd.DataFrame) -> str:
    plots.grouped_bars(ax, bars, "batch_size", "{:,}".format)
    ax.set_xlabel("batch size")
    return plots.WORKLOADS[bars["workload"].iloc[0]]


def claims() -> list[Claim]:
    """Section 3.4: as the batch grows, batch echoing gains on the baseline and example echoing does not."""
    made = []
    for panel, workload in experiment.PANELS.items():
        made.append(_batch_echoing_gains(f"6{panel}", workload))
        made += [_does_not_gain(f"6{panel}", workload, variant) for variant in EXAMPLE_VARIANTS[workload]]
        made.append(_gap_closes(f"6{panel}", workload))
    return made


def _ratios(bars: Bars, workload: str, variant: str) -> list[float]:
    """A variant's share of the baseline's fresh examples, from the smallest batch size to the largest."""
    sizes = bars.settings(workload, "batch_size", SIZES)
    return [bars.ratio(workload, variant, echo_factor=2, batch_size=size) for size in sizes]


def _batch_echoing_gains(figure: str, workload: str) -> Claim:
    def check(bars: Bars) -> tuple[str, bool]:
        ratios = _ratios(bars, workload, "batch")
        falling = all(b <= a + TOLERANCE for a, b in itertools.pairwise(ratios))
        return listed(ratios, digits=3), falling and ratios[-1] <= ratios[0]

    return Claim(figure, workload, "batch echoing / baseline: never rises with the batch size (by over 0.02)", check)


def _does_not_gain(figure: str, workload: str, variant: str) -> Claim:
    name = variant.replace("_", " ")
    aside = "; the paper's own data fall" if variant == "example_after_augmentation" else ""

    def check(bars: Bars) -> tuple[str, bool]:
        ratios = _ratios(bars, workload, variant)
        return listed(ratios, digits=3), ratios[-1] >= min(ratios[:-1])

    text = f"{name} echoing / baseline: at the largest batch no less than at the best smaller one{aside}"
    return Claim(figure, workload, text, check)


def _gap_closes(figure: str, workload: str) -> Claim:
    earliest = EXAMPLE_VARIANTS[workload][-1]

    def check(bars: Bars) -> tuple[str, bool]:
        both = zip(_ratios(bars, workload, "batch"), _ratios(bars, workload, earliest), strict=True)
        gaps = [batch - example for batch, example in both]
        return f"{gaps[0]:.2f} to {gaps[-1]:.2f}", abs(gaps[-1]) < abs(gaps[0])

    text = "(batch - earliest echo) / baseline: less at the largest batch than at the smallest"
    return Claim(figure, workload, text, check)


ANALYSIS = Analysis(6, experiment, draw, claims())

if __name__ == "__main__":
    sys.exit(main(__doc__, ANALYSIS.make))
