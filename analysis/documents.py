"""The tables of README and docs/results.md, from our small results and the paper's; `analysis.all` writes them.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`, and is made anew there; the rest is written by hand.
"""

import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import figure4
from analysis.drawing import plots
from analysis.editions import read as read_claims
from analysis.statistics import paper, training_time
from analysis.statistics.claims import FAILS, HOLDS, NOT_TESTABLE, UNDECIDED
from experiments import figure7 as experiment7
from experiments import workloads
from experiments.protocol import files, tables
from experiments.protocol.study import ResultsError

ROOT = Path(__file__).parents[1]
SCALE = "small"
SIZES = ["batch_size", "shuffle_buffer", "repeated_batch_buffer"]
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


def regime(results: Path) -> str:
    """Target, batch, updates of the baseline to the target, and batches in the shuffle buffer."""
    studies = tables.read(results, SCALE, "studies").to_dict("records")
    targets = {
        (study["workload"], study["variant"], *(study[size] for size in SIZES)): study["target"] for study in studies
    }
    theirs, mine = (
        {row["workload"]: row for row in bars.to_dict("records") if row["variant"] == "baseline"}
        for bars in _bars(results, 3).values()
    )
    rows = []
    for workload, title in plots.WORKLOADS.items():
        if row := mine.get(workload):
            target = targets[workload, "baseline", *(row[size] for size in SIZES)]
            cells = zip(
                (f"{workloads.load(workload, 'paper').target:g}", *_sizes(theirs[workload])),
                (f"{target:g}", *_sizes(row)),
                strict=True,
            )
            rows.append([title, *(cell for pair in cells for cell in pair)])
    columns = ("target", "batch", "updates to it", "batches in the shuffle buffer")
    return _markdown(["baseline", *(f"{column}: {whose}" for column in columns for whose in ("paper", "ours"))], rows)


def _sizes(row: Mapping[Any, Any]) -> list[str]:
    """Of a baseline's bar: batch, updates, and the shuffle buffer in batches."""
    batch = row["batch_size"]
    return [f"{batch:,}", f"{row['mean_fresh_examples'] / batch:,.0f}", f"{row['shuffle_buffer'] / batch:,.3g}"]


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


def figure4_speedups(results: Path) -> str:
    """Fresh examples and seconds that each e saves, the paper's reruns and ours."""
    theirs = training_time.with_seconds(*figure4.published())
    bars = {"paper": theirs, OURS: pd.read_csv(results / SCALE / "figure4.csv")}
    found = {source: training_time.speedups(rows) for source, rows in bars.items()}
    factors = sorted({factor for table in found.values() for factor in table["echo_factor"] if factor > 1})
    quantities = {"rerun_fresh_speedup": "fresh examples", "wall_clock_speedup": "wall time"}
    rows = []
    for workload in (name for name in plots.WORKLOADS if name in set(bars[OURS]["workload"])):
        for column, quantity in quantities.items():
            for source, table in found.items():
                mine = table[table["workload"] == workload].set_index("echo_factor")[column].dropna()
                if len(mine) > 1:
                    cells = [f"{mine[factor]:.2f}" if factor in mine else "" for factor in factors]
                    rows.append([f"{plots.WORKLOADS[workload]}, {quantity}: {source}", *cells])
    return _markdown(["speed-up at R = 6", *(f"e = {factor:g}" for factor in factors)], rows)


def figure5(results: Path) -> str:
    """How many times fewer fresh examples each e needs, at both batch sizes."""
    rows_of = []
    for source, bars in _bars(results, 5).items():
        rows = []
        for size, group in bars.groupby("batch_size"):
            fresh = group.set_index("echo_factor")["mean_fresh_examples"]
            factors = [factor for factor in fresh.index if factor > 1]
            rows.append([f"batch {size:,}: {source}", *(f"{fresh[1] / fresh[factor]:.2f}" for factor in factors)])
        rows_of.append(rows)
    title = plots.WORKLOADS["transformer_lm1b"]
    head = [f"{title}, baseline / example echoing", *(f"e = {factor:g}" for factor in factors)]
    return _markdown(head, [row for of_one_size in zip(*rows_of, strict=True) for row in of_one_size])


def figure7(results: Path) -> str:
    """Echoing over the baseline, by the buffer that its copies are shuffled in."""
    rows: dict[str, list[str]] = {}
    for bars in _bars(results, 7).values():
        fresh = bars.drop_duplicates(["variant", *SIZES]).set_index(["variant", *SIZES])["mean_fresh_examples"]
        buffers = sorted(bars["shuffle_buffer"].unique())
        batch, own = bars["batch_size"].iloc[0], buffers[len(buffers) // 2]
        for repeated in experiment7.REPEATED_BATCH_BUFFERS:
            name = f"batch echoing / baseline, repeated batches in a buffer of {max(repeated, 1)}"
            ratio = fresh["batch", batch, own, repeated] / fresh["baseline", batch, own, 0]
            rows.setdefault(name, []).append(f"{ratio:.3f}")
        for buffer in buffers:
            name = f"example echoing / baseline, shuffle buffer of {buffer / own:g} times the workload's own"
            ratio = fresh["example", batch, buffer, 0] / fresh["baseline", batch, buffer, 0]
            rows.setdefault(name, []).append(f"{ratio:.3f}")
    title = plots.WORKLOADS["transformer_lm1b"]
    return _markdown([f"{title}, e = 2", "paper", OURS], [[name, *cells] for name, cells in rows.items()])


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
    "regime": regime,
    "figure 3": figure3,
    "figure 4": figure4_speedups,
    "figure 5": figure5,
    "figure 6": figure6,
    "figure 7": figure7,
    "figure 8": figure8,
}
DOCUMENTS: Mapping[Path, tuple[str, ...]] = {
    ROOT / "README.md": ("verdicts", "figure 3", "figure 6", "figure 8"),
    ROOT / "docs" / "results.md": tuple(TABLES),
}


def filled(path: Path, text: str, results: Path) -> str:
    """A document with its tables made anew.

    Raises:
      ResultsError: a table has no place in it.
    """
    for name in DOCUMENTS[path]:
        place = re.compile(rf"(<!-- table: {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        parts = place.split(text)
        if len(parts) != 4:  # before, both marks, behind
            raise ResultsError(f"{path.name} must have `<!-- table: {name} -->` once, and `<!-- end -->` after it")
        text = "\n".join(["".join(parts[:2]), TABLES[name](results), "".join(parts[2:])])
    return text


def save() -> str:
    """Fills the documents in place."""
    for path in DOCUMENTS:
        files.write(path, filled(path, path.read_text(encoding="utf-8"), tables.RESULTS))
    return f"written: {', '.join(str(path.relative_to(ROOT)) for path in DOCUMENTS)}"
