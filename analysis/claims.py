"""The paper's claims, each checked by one rule on the paper's numbers and on ours.

A claim compares means over searches, as the paper does. It is `not run` while a variant it needs has no results, and
does not hold where a search failed to reach the target.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.plots import WORKLOADS

TOLERANCE = 0.02
"""Slack in comparisons of means: the paper's own orderings hold within it (Common Crawl's two variants tie)."""

HOLDS, FAILS, NOT_RUN = "holds", "does not hold", "not run"


class NotRun(Exception):
    """A claim needs a bar that is not there."""


class TargetNotReached(Exception):
    """A claim needs a mean over searches of which some did not reach the target."""


@dataclass(frozen=True)
class Bars:
    """The bars of one figure, one row each; looks means up by workload, variant and setting."""

    rows: Sequence[Mapping[Any, Any]]
    column: str = "mean_fresh_examples"

    def mean(self, workload: str, variant: str, **setting: float) -> float:
        """Mean result of a variant, fresh examples unless `column` says otherwise.

        Raises:
          NotRun: there is no such bar.
          TargetNotReached: some of its searches failed to reach the target.
        """
        wanted = {"workload": workload, "variant": variant} | setting
        for row in self.rows:
            if all(row[key] == value for key, value in wanted.items()):
                if row["reached"] < row["searches"]:
                    told = f"{variant}: {row['reached']} of {row['searches']} searches reached the target"
                    raise TargetNotReached(told)
                return float(row[self.column])
        raise NotRun

    def ratio(self, workload: str, variant: str, **setting: float) -> float:
        """Mean fresh examples of a variant over the baseline's at the same sizes; below 1, echoing helps."""
        sizes = {key: setting[key] for key in setting if key in ("batch_size", "shuffle_buffer")}
        return self.mean(workload, variant, **setting) / self.mean(workload, "baseline", **sizes)

    def settings(self, workload: str, key: str, count: int, variant: str | None = None) -> list[float]:
        """The values that a workload's bars have of one setting, such as `batch_size`, in rising order.

        Raises:
          NotRun: there are not `count` of them.
        """
        rows = [row for row in self.rows if row["workload"] == workload and variant in (None, row["variant"])]
        found = sorted({row[key] for row in rows})
        if len(found) != count:
            raise NotRun
        return found


@dataclass(frozen=True)
class Claim:
    """One checkable statement: `check` returns the number that it is about, as text, and whether it holds.

    `timed` claims are about reruns alone, which drawing the searches' trials again does not change.
    """

    figure: str
    workload: str
    text: str
    check: Callable[[Bars], tuple[str, bool]]
    timed: bool = False


def listed(values: Iterable[float], digits: int = 2) -> str:
    """Numbers as the claims' tables show them."""
    return ", ".join(f"{value:.{digits}f}" for value in values)


def figure3(workloads: Iterable[str] = WORKLOADS) -> list[Claim]:
    """Section 3.2: at e = 2 echoing needs fewer fresh examples, more so the earlier it is inserted."""
    claims = []
    for panel, workload in zip("abcde", workloads, strict=True):
        text = workload.startswith("transformer")
        variants = ["batch", "example"] if text else ["batch", "example_after_augmentation"]
        variants += [] if text else ["example_before_augmentation"]
        claims += [_helps(f"3{panel}", workload, variant) for variant in variants]
        claims += [_some_variant_helps(f"3{panel}", workload, variants)]
        claims += [_earlier_is_better(f"3{panel}", workload, variants)]
        claims += [_level(f"3{panel}", workload)] if workload == "transformer_common_crawl" else []
        claims += [_nearly_ideal(f"3{panel}", workload, variants[-1]), _never_beyond(f"3{panel}", workload, variants)]
    return claims


def _helps(figure: str, workload: str, variant: str) -> Claim:
    name = variant.replace("_", " ")

    def helps(bars: Bars) -> tuple[str, bool]:
        ratio = bars.ratio(workload, variant)
        return f"{ratio:.3f}", ratio < 1

    def same(bars: Bars) -> tuple[str, bool]:
        ratio = bars.ratio(workload, variant)
        return f"{ratio:.3f}", abs(ratio - 1) <= 0.1

    if (workload, variant) == ("resnet50_imagenet", "batch"):
        return Claim(figure, workload, "batch echoing / baseline: about the same (within 10 %)", same)
    return Claim(figure, workload, f"{name} echoing / baseline: below 1", helps)


def _some_variant_helps(figure: str, workload: str, variants: list[str]) -> Claim:
    def check(bars: Bars) -> tuple[str, bool]:
        best = 1 / min(bars.ratio(workload, variant) for variant in variants)
        return f"{best:.2f}", best > 1

    return Claim(figure, workload, "baseline / best variant: at least one helps, above 1", check)


def _earlier_is_better(figure: str, workload: str, variants: list[str]) -> Claim:
    def check(bars: Bars) -> tuple[str, bool]:
        means = [bars.mean(workload, variant) for variant in variants]
        ordered = all(later <= earlier * (1 + TOLERANCE) for earlier, later in itertools.pairwise(means))
        return " ≥ ".join(f"{mean:.3g}" for mean in means), ordered

    return Claim(figure, workload, "the earlier the echo, the fewer fresh examples (within 2 %)", check)


def _level(figure: str, workload: str) -> Claim:
    def check(bars: Bars) -> tuple[str, bool]:
        ratio = bars.mean(workload, "batch") / bars.mean(workload, "example")
        return f"{ratio:.3f}", abs(ratio - 1) <= 0.1

    return Claim(figure, workload, "batch / example echoing: level here (within 10 %)", check)


def _nearly_ideal(figure: str, workload: str, variant: str) -> Claim:
    def check(bars: Bars) -> tuple[str, bool]:
        share = bars.ratio(workload, variant) * 2
        return f"{share:.2f}", share <= 1.2

    return Claim(figure, workload, "earliest echo / (baseline / 2): nearly ideal, at most 1.2", check)


def _never_beyond(figure: str, workload: str, variants: list[str]) -> Claim:
    def check(bars: Bars) -> tuple[str, bool]:
        share = min(bars.ratio(workload, variant) for variant in variants) * 2
        return f"{share:.2f}", share >= 1 - TOLERANCE

    return Claim(figure, workload, "best variant / (baseline / 2): echoed never beat fresh, at least 0.98", check)


def check(
    claims: Iterable[Claim],
    published: pd.DataFrame,
    ours: pd.DataFrame,
    command: str,
    *,
    column: str = "mean_fresh_examples",
    resampled: np.ndarray | None = None,
) -> pd.DataFrame:
    """A table of claims: the paper's number beside ours, and whether the claim holds on each.

    Args:
      claims: what to check.
      published: the paper's bars.
      ours: our bars.
      command: makes our results.
      column: the bars' result.
      resampled: our results on draws of the trials, [bars, draws]; if given, a column says on how many of them a claim
        holds (see `analysis.bootstrap`).
    """
    rows = []
    our_rows = ours.to_dict("records")
    for claim in claims:
        paper, paper_verdict = _evaluate(claim, Bars(published.to_dict("records"), column))
        number, verdict = _evaluate(claim, Bars(our_rows, column))
        row = {
            "figure": claim.figure,
            "workload": WORKLOADS[claim.workload],
            "claim": claim.text,
            "paper": f"{paper} ({FAILS})" if paper_verdict == FAILS else paper,
            "ours": number,
            "verdict": verdict,
        }
        if resampled is not None:
            fixed = claim.timed or verdict == NOT_RUN
            row["when resampled"] = "" if fixed else _when_resampled(claim, our_rows, column, resampled)
        rows.append(row | {"command": command})
    return pd.DataFrame(rows)


def _when_resampled(claim: Claim, rows: list[dict], column: str, resampled: np.ndarray) -> str:
    held = 0
    for draw in resampled.T:
        drawn = [row | {column: mean} for row, mean in zip(rows, draw, strict=True)]
        held += _evaluate(claim, Bars(drawn, column))[1] == HOLDS
    return f"{held / resampled.shape[1]:.0%}"


def _evaluate(claim: Claim, bars: Bars) -> tuple[str, str]:
    try:
        number, holds = claim.check(bars)
    except NotRun:
        return "", NOT_RUN
    except TargetNotReached as error:
        return str(error), FAILS
    return number, HOLDS if holds else FAILS
