"""What echoed examples were worth in the paper and in our searches: the evidence of `pipelines.echoing.advice`."""

from pathlib import Path

import pandas as pd

from analysis.statistics import paper
from experiments.protocol import files, tables
from pipelines.echoing.advice import worth

FIGURES = (3, 4, 5)
"""Those at a workload's own batch size, Figure 3, which has no other, first."""
OURS = "small"


def table(results: Path = tables.RESULTS) -> pd.DataFrame:
    """One row for each source, workload, variant and echo factor; `share` is of the baseline's fresh examples.

    Studies of which a search missed the target are left out.
    """
    drawn = {number: results / OURS / f"figure{number}.csv" for number in FIGURES}
    sources = {
        "paper": [paper.bars(number).assign(figure=number) for number in FIGURES],
        "ours, small scale": [pd.read_csv(path).assign(figure=n) for n, path in drawn.items() if path.exists()],
    }
    shares = [_shares(pd.concat(bars, ignore_index=True)).assign(source=name) for name, bars in sources.items() if bars]
    return pd.concat(shares)[["source", "workload", "variant", "echo_factor", "share"]]


def _shares(bars: pd.DataFrame) -> pd.DataFrame:
    bars = bars[bars["reached"] == bars["searches"]]
    bars = bars[bars["batch_size"] == bars.groupby("workload")["batch_size"].transform("first")]
    baseline = bars["variant"] == "baseline"
    setting = ["figure", "workload"]
    bars = bars[~baseline].merge(bars[baseline], on=setting, suffixes=("", "_of_baseline"))
    bars["share"] = (bars["mean_fresh_examples"] / bars["mean_fresh_examples_of_baseline"]).round(4)
    return bars.drop_duplicates(["workload", "variant", "echo_factor"])


def save(path: Path = worth.EVIDENCE, results: Path = tables.RESULTS) -> str:
    """Writes the table that comes with `pipelines.echoing.advice`; returns what it did, in words."""
    files.write(path, table(results).to_csv(index=False))
    return f"written: {path}"
