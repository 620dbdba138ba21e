"""What echoed examples are worth, as measured: the fresh examples that training needs, over the baseline's.

Read from the paper's digitised Figures 3 to 5 in results/published/figures.csv, and from the tables of our own searches
that `analysis` writes to results/small/.
"""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parents[1] / "results"
PAPER_FIGURES = ("3", "4", "5")
OUR_TABLES = ("figure3.csv", "figure4.csv", "figure5.csv")


@dataclass(frozen=True)
class Worth:
    """One result: with this echo factor training needs `share` of the baseline's fresh examples."""

    source: str
    workload: str
    variant: str
    echo_factor: float
    share: float


def load(results: Path = RESULTS) -> list[Worth]:
    """All results there are, the paper's first, at the workload's own batch size.

    Figure 3 is the first to be read and has no other batch size.
    """
    found: dict[tuple, Worth] = {}
    own_sizes: dict[tuple, str] = {}
    for path in (results / "published" / "figures.csv", *(results / "small" / name for name in OUR_TABLES)):
        if path.exists():
            source = "paper" if path.parent.name == "published" else "ours, small scale"
            with path.open(newline="") as file:
                for batch_size, worth in _worths(list(csv.DictReader(file)), source):
                    if batch_size == own_sizes.setdefault((worth.source, worth.workload), batch_size):
                        found.setdefault((worth.source, worth.workload, worth.variant, worth.echo_factor), worth)
    return list(found.values())


def at(worths: Iterable[Worth], variant: str, echo_factor: float) -> list[Worth]:
    """For each source and workload with this variant, what echoing with `echo_factor` is worth.

    Between the factors that were tried, 1 among them, shares are interpolated, both on log scales; beyond the largest
    one nothing is known, so it is that one's result.
    """
    tried: dict[tuple[str, str], dict[float, float]] = {}
    for worth in worths:
        if worth.variant == variant:
            tried.setdefault((worth.source, worth.workload), {1.0: 1.0})[worth.echo_factor] = worth.share
    found = []
    for (source, workload), shares in tried.items():
        factors = sorted(shares)
        factor = min(echo_factor, factors[-1])
        share = math.exp(np.interp(math.log(factor), np.log(factors), np.log([shares[f] for f in factors])))
        found.append(Worth(source, workload, variant, factor, share))
    return found


def _worths(rows: list[dict[str, str]], source: str) -> Iterable[tuple[str, Worth]]:
    """The results of one table, each with its batch size; none of studies of which a search missed the target."""
    rows = [
        row
        for row in rows
        if row.get("figure", PAPER_FIGURES[0]) in PAPER_FIGURES and row.get("reached") == row.get("searches")
    ]

    def setting(row: dict[str, str]) -> tuple[str | None, ...]:
        return tuple(row.get(key) for key in ("figure", "panel", "workload", "batch_size"))

    baselines = {setting(row): float(row["mean_fresh_examples"]) for row in rows if row["variant"] == "baseline"}
    for row in rows:
        if row["variant"] != "baseline" and setting(row) in baselines:
            share = float(row["mean_fresh_examples"]) / baselines[setting(row)]
            worth = Worth(source, row["workload"], row["variant"], float(row["echo_factor"]), share)
            yield row["batch_size"], worth
