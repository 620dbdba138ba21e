"""The paper's claims: of each one number, a range that it must lie in, and a verdict on the paper's and on ours.

The paper's numbers are known as means over searches, and its verdict is that of their number. Ours come with those of
other editions of the same searches (`uncertainty`): a claim holds where the middle 95 % of them lie in its
range, does not hold where they lie outside it, and is undecided where they lie on both sides. A study with a search
that found nothing is evidence for nothing: what rests on it is undecided.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.drawing.plots import WORKLOADS
from analysis.statistics import uncertainty
from experiments import workloads

TOLERANCE = 0.02
"""Slack in comparisons of means: the paper's own orderings hold within it (Common Crawl's two variants tie)."""

RESULTS = {
    "mean_fresh_examples",
    "mean_best_value",
    "mean_seconds",
    "mean_rerun_fresh_examples",
    "batch_downstreams",
}
"""The columns of bars that claims are about."""
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
NOT_RUN, NOT_TESTABLE = "not run", "not testable here"


class NotRun(Exception):
    """A claim needs a bar that is not there."""


class TargetNotReached(Exception):
    """A claim needs a mean over searches of which some did not reach the target."""


@dataclass(frozen=True)
class Bars:
    """The bars of one figure, one row each; looks results up by workload, variant and setting.

    A result is an array: the edition that was run, then, of ours, drawn ones.
    """

    rows: Sequence[Mapping[Any, Any]]
    column: str = "mean_fresh_examples"

    def mean(self, workload: str, variant: str, **setting: float) -> np.ndarray:
        """Mean result of a variant, fresh examples unless `column` says otherwise.

        Raises:
          NotRun: there is no such bar.
          TargetNotReached: some of its searches failed to reach the target.
        """
        return self.of(self.row(workload, variant, **setting))

    def row(self, workload: str, variant: str, **setting: float) -> Mapping[Any, Any]:
        """The bar of a variant at a setting.

        Raises:
          NotRun: there is no such bar.
        """
        wanted = {"workload": workload, "variant": variant} | setting
        for row in self.rows:
            if all(row[key] == value for key, value in wanted.items()):
                return row
        raise NotRun

    def of(self, row: Mapping[Any, Any]) -> np.ndarray:
        """The result of a bar.

        Raises:
          TargetNotReached: some of its searches failed to reach the target.
        """
        if row["reached"] < row["searches"]:
            raise TargetNotReached(
                f"{row['variant']}, e = {row['echo_factor']:g}: {row['reached']} of {row['searches']} searches reached "
                "the target"
            )
        return row[self.column]

    def ratio(self, workload: str, variant: str, **setting: float) -> np.ndarray:
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


Numbers = Sequence[np.ndarray]
"""What a claim is made from, each an array as `Bars` gives them."""


@dataclass(frozen=True)
class Claim:
    """One checkable statement about the number that `judge` makes of `numbers`: it must lie in `range`.

    `digits` are shown after the point. `untestable` says why our runs cannot test it, where they cannot.
    """

    figure: str
    workload: str
    text: str
    numbers: Callable[[Bars], Numbers]
    range: pd.Interval
    judge: Callable[[Numbers], np.ndarray] = lambda numbers: numbers[0]
    digits: int = 3
    untestable: str | None = None


def below(value: float) -> pd.Interval:
    """Numbers below a value."""
    return pd.Interval(-np.inf, value, closed="left")


def at_most(value: float) -> pd.Interval:
    """Numbers up to a value."""
    return pd.Interval(-np.inf, value, closed="both")


def above(value: float) -> pd.Interval:
    """Numbers above a value."""
    return pd.Interval(value, np.inf, closed="right")


def at_least(value: float) -> pd.Interval:
    """Numbers from a value on."""
    return pd.Interval(value, np.inf, closed="both")


def between(low: float, high: float) -> pd.Interval:
    """Numbers from one value to another."""
    return pd.Interval(low, high, closed="both")


def smallest(numbers: Numbers) -> np.ndarray:
    """The smallest of several numbers."""
    return np.min(numbers, axis=0)


def largest(numbers: Numbers) -> np.ndarray:
    """The largest of several numbers."""
    return np.max(numbers, axis=0)


def largest_step(numbers: Numbers) -> np.ndarray:
    """The largest quotient of a number and the one before it."""
    return np.max(np.divide(numbers[1:], numbers[:-1]), axis=0)


def smallest_step(numbers: Numbers) -> np.ndarray:
    """The smallest quotient of a number and the one before it."""
    return np.min(np.divide(numbers[1:], numbers[:-1]), axis=0)


def last_over_first(numbers: Numbers) -> np.ndarray:
    """The last number over the first."""
    return numbers[-1] / numbers[0]


def figure3() -> list[Claim]:
    """Section 3.2: at e = 2 echoing needs fewer fresh examples, more so the earlier it is inserted."""
    found = workloads.panels(3).items()
    return [claim for panel, name in found for claim in _of_panel(f"3{panel}", name, workloads.echoing(name))]


def _of_panel(figure: str, workload: str, variants: list[str]) -> list[Claim]:
    def ratio(variant: str) -> Callable[[Bars], Numbers]:
        return lambda bars: [bars.ratio(workload, variant)]

    def ratios(bars: Bars) -> Numbers:
        return [bars.ratio(workload, variant) for variant in variants]

    def level(bars: Bars) -> Numbers:
        return [bars.mean(workload, "batch") / bars.mean(workload, "example")]

    claims = []
    for variant in variants:
        name = f"{variant.replace('_', ' ')} echoing / baseline"
        if (workload, variant) == ("resnet50_imagenet", "batch"):
            claims.append(Claim(figure, workload, f"{name}: about the same", ratio(variant), between(0.9, 1.1)))
        else:
            claims.append(Claim(figure, workload, name, ratio(variant), below(1)))
    claims.append(Claim(figure, workload, "best variant / baseline: at least one helps", ratios, below(1), smallest))
    order = "the earlier the echo, the fewer fresh examples: largest step from one variant to the next earlier one"
    claims.append(Claim(figure, workload, order, ratios, at_most(1 + TOLERANCE), largest_step))
    if workload == "transformer_common_crawl":
        claims.append(Claim(figure, workload, "batch / example echoing: level here", level, between(0.9, 1.1)))
    earliest = "earliest echo / (baseline / 2): nearly ideal"
    claims.append(Claim(figure, workload, earliest, ratio(variants[-1]), at_most(1.2), lambda found: 2 * found[0]))
    never = "best variant / (baseline / 2): echoed never beat fresh"
    beyond = at_least(1 - TOLERANCE)
    claims.append(Claim(figure, workload, never, ratios, beyond, lambda found: 2 * smallest(found)))
    return claims


def check(
    claims: Iterable[Claim],
    published: pd.DataFrame,
    ours: pd.DataFrame,
    command: str,
    *,
    column: str = "mean_fresh_examples",
    drawn: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """A table of claims: the paper's number beside ours with its interval, and a verdict on each.

    Args:
      claims: what to check.
      published: the paper's bars.
      ours: our bars.
      command: makes our results.
      column: the bars' result.
      drawn: results of drawn editions, [bars, editions], by the column of the bars that they are drawn of. Without,
        our verdicts are those of our numbers alone.
    """
    theirs, mine = Bars(_rows(published, {}), column), Bars(_rows(ours, drawn or {}), column)
    rows = []
    for claim in claims:
        paper = _evaluate(replace(claim, untestable=None), theirs)
        found = _evaluate(claim, mine)
        rows.append(
            {
                "figure": claim.figure,
                "workload": WORKLOADS[claim.workload],
                "claim": claim.text,
                "holds if": _in_words(claim.range),
                "paper": f"{paper.number} ({FAILS})" if paper.verdict == FAILS else paper.number,
                "ours": found.number,
                "95 %": found.interval,
                "verdict": found.verdict,
                "command": command,
            }
        )
    return pd.DataFrame(rows)


def _rows(bars: pd.DataFrame, drawn: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The bars with their results as arrays: the edition that was run, then the drawn ones."""
    rows = [{str(column): value for column, value in row.items()} for row in bars.to_dict("records")]
    for number, row in enumerate(rows):
        for column in RESULTS & row.keys():
            row[column] = np.append(float(row[column]), drawn[column][number] if column in drawn else [])
    return rows


@dataclass(frozen=True)
class _Finding:
    number: str
    interval: str
    verdict: str


def _evaluate(claim: Claim, bars: Bars) -> _Finding:
    try:
        numbers = claim.numbers(bars)
    except NotRun:
        return _Finding("", "", NOT_RUN)
    except TargetNotReached as error:
        return _Finding(str(error), "", UNDECIDED)
    judged = claim.judge(numbers)
    digits = f".{claim.digits}f"
    shown = f"{judged[0]:{digits}}"
    if len(numbers) > 1:
        shown += f" ({', '.join(f'{number[0]:{digits}}' for number in numbers)})"
    if claim.untestable:
        return _Finding(f"{shown}; {claim.untestable}", "", NOT_TESTABLE)
    if len(judged) == 1:
        return _Finding(shown, "", HOLDS if judged[0] in claim.range else FAILS)
    low, high = (float(end) for end in uncertainty.interval(judged[1:]))
    return _Finding(shown, f"{low:{digits}} to {high:{digits}}", _verdict(claim.range, low, high))


def _verdict(wanted: pd.Interval, low: float, high: float) -> str:
    if low in wanted and high in wanted:
        return HOLDS
    return UNDECIDED if wanted.overlaps(pd.Interval(low, high, closed="both")) else FAILS


def _in_words(wanted: pd.Interval) -> str:
    if np.isinf(wanted.left):
        return f"{'at most' if wanted.closed_right else 'below'} {wanted.right:g}"
    if np.isinf(wanted.right):
        return f"{'at least' if wanted.closed_left else 'above'} {wanted.left:g}"
    return f"{wanted.left:g} to {wanted.right:g}"
