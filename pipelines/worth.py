"""What echoed examples are worth, as measured: the fresh examples that training needs, over the baseline's.

Read from results/paper/figures.csv (the paper's Figures 3 to 5, digitised) and from the tables of our own searches that
`analysis` writes to results/small/.
"""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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
    """All results there are, the paper's first, at the default batch size where there are several."""
    found: dict[tuple, Worth] = {}
    for path in (results / "paper" / "figures.csv", *(results / "small" / name for name in OUR_TABLES)):
        if path.exists():
            source = "paper" if path.parent.name == "paper" else "ours, small scale"
            with path.open(newline="") as file:
                for worth in _worths(list(csv.DictReader(file)), source):
                    found.setdefault((worth.source, worth.workload, worth.variant, worth.echo_factor), worth)
    return list(found.values())


def nearest(worths: Iterable[Worth], variant: str, echo_factor: float) -> list[Worth]:
    """For each source and workload with this variant, its result at the factor nearest to `echo_factor`."""
    best: dict[tuple[str, str], Worth] = {}
    for worth in worths:
        key = worth.source, worth.workload
        if worth.variant == variant and (
            key not in best or _distance(worth, echo_factor) < _distance(best[key], echo_factor)
        ):
            best[key] = worth
    return list(best.values())


def _distance(worth: Worth, echo_factor: float) -> float:
    return abs(math.log(worth.echo_factor / echo_factor))


def _worths(rows: list[dict[str, str]], source: str) -> Iterable[Worth]:
    rows = [row for row in rows if row.get("figure", PAPER_FIGURES[0]) in PAPER_FIGURES and row["mean_fresh_examples"]]

    def setting(row: dict[str, str]) -> tuple[str | None, ...]:
        return tuple(row.get(key) for key in ("figure", "panel", "workload", "batch_size"))

    baselines = {setting(row): float(row["mean_fresh_examples"]) for row in rows if row["variant"] == "baseline"}
    for row in rows:
        if row["variant"] != "baseline" and setting(row) in baselines:
            share = float(row["mean_fresh_examples"]) / baselines[setting(row)]
            yield Worth(source, row["workload"], row["variant"], float(row["echo_factor"]), share)
