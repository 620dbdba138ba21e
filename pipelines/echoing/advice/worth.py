"""What echoed examples are worth, as measured: the fresh examples that training needs, over the baseline's.

evidence.csv has the paper's digitised Figures 3 to 5 and those of our own searches, at each workload's own batch size;
`python -m analysis.all` writes it anew. Beyond the factors that a workload was tried with, its copies are taken to be
worth less and less by one law, which `python -m analysis.reuse` judges.
"""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EVIDENCE = Path(__file__).with_name("evidence.csv")

FADING = np.linspace(0.0, 0.9999, 10_000)
"""What one copy may be worth, in fresh examples; see `speedup`."""


@dataclass(frozen=True)
class Worth:
    """One result: with this echo factor training needs `share` of the baseline's fresh examples.

    `tried` is the largest factor that was tried, where `share` is not measured but expected beyond it.
    """

    source: str
    workload: str
    variant: str
    echo_factor: float
    share: float
    tried: float | None = None


def load(path: Path = EVIDENCE) -> list[Worth]:
    """All results there are, the paper's first."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Worth(row["source"], row["workload"], row["variant"], float(row["echo_factor"]), float(row["share"]))
        for row in rows
    ]


def at(worths: Iterable[Worth], variant: str, echo_factor: float) -> list[Worth]:
    """For each source and workload with this variant, what echoing with `echo_factor` is worth.

    Between the factors that were tried, 1 among them, shares are interpolated, both on log scales. Beyond the largest
    one they are what `beyond` expects.
    """
    tried: dict[tuple[str, str], dict[float, float]] = {}
    for worth in worths:
        if worth.variant == variant:
            tried.setdefault((worth.source, worth.workload), {1.0: 1.0})[worth.echo_factor] = worth.share
    found = []
    for (source, workload), shares in tried.items():
        factors = sorted(shares)
        if echo_factor > (last := factors[-1]):
            share = beyond(shares[last], last, echo_factor)
        else:
            share = math.exp(np.interp(math.log(echo_factor), np.log(factors), np.log([shares[f] for f in factors])))
        found.append(Worth(source, workload, variant, echo_factor, share, last if echo_factor > last else None))
    return found


def speedup(e: np.ndarray, worth: float | np.ndarray) -> np.ndarray:
    """The law: the k-th copy is worth `worth` to the power of k fresh examples, so e of them 1 + worth + worth^2 ..."""
    return (1 - worth**e) / (1 - worth)


def beyond(share: float, tried: float, echo_factor: float) -> float:
    """The share that the law expects at a larger factor than `tried`, which gave `share`.

    Where copies saved nothing the share stays; where each was worth a fresh example or more it falls as 1 / e.
    """
    worth = float(np.interp(1 / share, speedup(np.array(tried), FADING), FADING))
    return share * float(speedup(np.array(tried), worth) / speedup(np.array(echo_factor), worth))


def ceiling(worths: Iterable[Worth], variant: str) -> float:
    """The largest factor that is of use by every result at this place that goes on beyond e = 2; infinite without any.

    In the paper's Figure 5 training needs the fewest fresh examples at e = 4, and more of them beyond it, while in our
    small one it still needs fewer at e = 16; the ceiling is the lowest, 4. Where no result goes beyond e = 2, it is 2.
    """
    tried: dict[tuple[str, str], list[Worth]] = {}
    for worth in worths:
        if worth.variant == variant:
            tried.setdefault((worth.source, worth.workload), []).append(worth)
    largest = {key: max(result.echo_factor for result in results) for key, results in tried.items()}
    best = [min(tried[key], key=lambda w: w.share).echo_factor for key in tried if largest[key] > 2]
    return min(best or largest.values(), default=math.inf)
