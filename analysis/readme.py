"""README's tables, from the claims and the bars of our small results and the paper's; `analysis.all` writes them.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`, and is made anew there; the rest is README's own.
"""

import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from analysis.drawing import plots
from analysis.editions import read as read_claims
from analysis.statistics import paper
from analysis.statistics.claims import FAILS, HOLDS, NOT_TESTABLE, UNDECIDED
from experiments.protocol import files, tables
from experiments.protocol.study import ResultsError

README = Path(__file__).parents[1] / "README.md"
SCALE = "small"
OURS = "ours, small stand-in"
QUESTIONS = {
    3: "does e = 2 save fresh examples, and where is it best inserted?",
    4: "how much time does that save, at which R and e?",
    5: "how large may e be?",
    6: "what does the batch size change?",
    7: "what do larger shuffle buffers change?",
    8: "does echoing cost final quality?",
}
Rows = list[list[str]]


def _markdown(head: list[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdicts(results: Path) -> str:
    """How many claims of each figure hold, and how many do not."""
    shown = {HOLDS: "holds", UNDECIDED: "undecided", FAILS: "does not hold", NOT_TESTABLE: "not testable at this scale"}
    claims = read_claims(results / SCALE)
    rows = []
    for number, question in QUESTIONS.items():
        counts = claims.loc[claims["figure"].str[0] == str(number), "verdict"].value_counts()
        rows.append([str(number), question, *(str(counts.get(verdict, "")) for verdict in shown)])
    return _markdown(["figure", "question", *shown.values()], rows)


def _bars(results: Path, number: int) -> dict[str, pd.DataFrame]:
    return {"paper": paper.bars(number), OURS: pd.read_csv(results / SCALE / f"figure{number}.csv")}


def _label(variant: str) -> str:
    words = " ".join(plots.LABELS[variant].split())
    return words.replace(" echoing", "").replace("example ", "example, ").replace("aug.", "augmentation")


def _shares(bars: pd.DataFrame, workload: str, variant: str) -> list[str]:
    """Of each batch size, the smallest first, a variant's fresh examples over the baseline's."""
    mine = bars[bars["workload"] == workload].set_index(["variant", "batch_size"])["mean_fresh_examples"]
    return [f"{share:.3f}" for share in (mine[variant] / mine["baseline"]).sort_index()]


def _variants(bars: pd.DataFrame, workload: str) -> list[str]:
    found = set(bars.loc[bars["workload"] == workload, "variant"])
    return [variant for variant in plots.LABELS if variant in found]


def figure3(results: Path) -> str:
    """Fresh examples of each echoing variant over the baseline's."""
    bars = _bars(results, 3)
    rows = []
    for workload, title in plots.WORKLOADS.items():
        for number, variant in enumerate(_variants(bars[OURS], workload)[1:]):
            name = _label(variant) if number else f"{title}: {_label(variant)}"
            rows.append([name, *(_shares(of_source, workload, variant)[0] for of_source in bars.values())])
    return _markdown(["fresh examples / baseline, e = 2", *bars], rows)


def figure6(results: Path) -> str:
    """The same over batch sizes, a table a workload; then which searches missed the target."""
    bars = _bars(results, 6)
    parts, missed = [], []
    for workload in (name for name in plots.WORKLOADS if name in set(bars[OURS]["workload"])):
        rows = []
        for number, variant in enumerate(_variants(bars[OURS], workload)[1:]):
            for source, of_source in bars.items():
                sizes = sorted(of_source.loc[of_source["workload"] == workload, "batch_size"].unique())
                name = f"{_label(variant)} echoing: paper" if source == "paper" else source
                shown = f" (batch {', '.join(f'{size:,}' for size in sizes)})" if not number else ""
                rows.append([name + shown, *_shares(of_source, workload, variant)])
        head = f"{plots.WORKLOADS[workload]}, e = 2, over the baseline"
        parts.append(_markdown([head, "smallest batch", *[""] * (len(rows[0]) - 3), "largest"], rows))
    for row in bars[OURS].query("reached < searches").to_dict("records"):
        count = f"{row['searches'] - row['reached']} of {row['searches']}"
        missed.append(
            f"{plots.WORKLOADS[row['workload']]}, {_label(row['variant'])}, batch {row['batch_size']}: {count}"
        )
    if missed:
        parts.append(f"Searches that missed the target, so that a mean is of the others: {'; '.join(missed)}.")
    return "\n\n".join(parts)


def figure8(results: Path) -> str:
    """The best values on the same fresh examples."""
    theirs, mine = (
        {(row["workload"], row["variant"]): row for row in bars.to_dict("records")}
        for bars in _bars(results, 8).values()
    )
    rows = []
    for workload, variant in itertools.product(plots.WORKLOADS, plots.LABELS):
        if ours := mine.get((workload, variant)):
            metric = f"{plots.WORKLOADS[workload]}, {ours['metric'].replace('_', ' ')}: "
            name = (metric if variant == "baseline" else "") + _label(variant)
            ends = f"{ours['min_best_value']:.4f} to {ours['max_best_value']:.4f}"
            published = theirs[workload, variant]["mean_best_value"]
            rows.append([name, f"{published:.4f}", f"{ours['mean_best_value']:.4f}", ends])
    head = ["best value on the same fresh examples, e = 4", "paper", OURS, "min to max of the searches"]
    return _markdown(head, rows)


TABLES: Mapping[str, Callable[[Path], str]] = {
    "verdicts": verdicts,
    "figure 3": figure3,
    "figure 6": figure6,
    "figure 8": figure8,
}


def filled(text: str, results: Path) -> str:
    """A README with its tables made anew.

    Raises:
      ResultsError: a table has no place in it.
    """
    for name, make in TABLES.items():
        place = re.compile(rf"(<!-- table: {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        parts = place.split(text)
        if len(parts) != 4:  # before, both marks, behind
            raise ResultsError(f"README.md must have `<!-- table: {name} -->` once, and `<!-- end -->` after it")
        text = "\n".join(["".join(parts[:2]), make(results), "".join(parts[2:])])
    return text


def save() -> str:
    """Fills README in place."""
    files.write(README, filled(README.read_text(encoding="utf-8"), tables.RESULTS))
    return f"written: {README}"
