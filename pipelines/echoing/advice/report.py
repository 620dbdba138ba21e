"""Advice as text: one sentence that says what to do, then how, what to expect, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .advise import Advice, Choice

WIDTH = 100
CODE = "       "
"""Margin of lines that are code, which are not wrapped."""

PLACES = {
    "example": "examples, behind reading and in front of the shuffle buffer",
    "example_before_augmentation": "examples, behind reading and in front of the shuffle buffer and augmentation",
    "example_after_augmentation": "examples, behind augmentation and in front of the shuffle buffer",
    "batch": "batches, between the loader and the step",
}


def text(advice: Advice) -> str:
    """The report."""
    parts = [("", [summary(advice)]), ("What to do", _steps(advice)), ("What to expect", _expectations(advice))]
    parts += [("What changes in your code", _changes(advice)), ("Memory", _memory(advice))]
    lines: list[str] = []
    for title, paragraphs in parts:
        if paragraphs:
            lines += [*([title] if title else []), *(_wrapped(paragraph, bool(title)) for paragraph in paragraphs), ""]
    return "\n".join([*lines, *_measurements(advice)])


def summary(advice: Advice) -> str:
    """Who is the bottleneck, by how much, what to do."""
    read, step = milliseconds(advice.read.mean), milliseconds(advice.step.mean)
    waiting = max(0.0, 1 - advice.step.mean / advice.now.mean)
    if not advice.remedy and not advice.best:
        if not advice.reading_is_slower and waiting < 0.1:
            return (
                f"Do not echo: the SGD step is the bottleneck. It takes {step} ms, a batch is read in {read} ms "
                f"(R = {advice.ratio:.2f}), so reading faster would gain nothing either. Make the step faster."
            )
        return (
            f"Do not echo: a step waits {waiting:.0%} of its time for a batch, but at no place would echoing pay "
            f"(reading takes {read} ms a batch, the step {step} ms, R = {advice.ratio:.2f})."
        )
    bottleneck = "Reading is the bottleneck" if advice.reading_is_slower else "Reading and the step take turns"
    found = (
        f"{bottleneck}: a batch takes {read} ms to read and {step} ms to train on (R = {advice.ratio:.3g}), so a step "
        f"waits {waiting:.0%} of its time."
    )
    cache = ""
    if advice.cached:
        cache = (
            f" The data set takes {size(advice.cached.bytes)}: where reading draws nothing at random, cache it instead."
        )
    return f"{found} {_what_to_do(advice)}{cache}"


def _what_to_do(advice: Advice) -> str:
    remedy, best = advice.remedy, advice.best
    first = "" if remedy is None else f"{remedy.what.partition(':')[0]} ({_times(advice, remedy.seconds.mean)}, timed)"
    if best is None:
        return f"{first.capitalize()}; that is enough, do not echo."
    sooner = advice.now.mean / remedy.seconds.mean if remedy else 1.0
    low, likely_gain, high = (sooner * gain for gain in (best.promise_range[0], best.promise, best.promise_range[1]))
    likely = (
        f"likely {likely_gain:.1f} times as fast as now to the same target{', both together' if remedy else ''} "
        f"({low:.1f} to {high:.1f} by results elsewhere)"
    )
    echo = f"echo {PLACES[best.place].partition(',')[0]} with e = {best.echo_factor:g}"
    return f"{first.capitalize()}, then {echo}: {likely}." if first else f"{echo.capitalize()}: {likely}."


def _times(advice: Advice, seconds: float) -> str:
    return f"{advice.now.mean / seconds:.2f} times as many steps a second"


def _steps(advice: Advice) -> list[str]:
    lines: list[tuple[str, str]] = []
    if advice.remedy:
        what, _, code = advice.remedy.what.partition(": ")
        lines.append((what[0].upper() + what[1:] + ".", code))
    if advice.cached:
        cache = (
            "If reading draws nothing at random, cache the data set instead of echoing: nothing is read after the "
            "first epoch. Else cache in front of what is random, or echo."
        )
        lines.append((cache, ""))
    best = advice.best
    if best:
        lines.append((f"Echo {PLACES[best.place]}, e = {best.echo_factor:g}:", best.code))
        tune = "Tune the learning rate again: the best one changes with e."
        if best.free_factor > best.echo_factor:
            more = min(best.free_factor, 2 * best.echo_factor)
            tune += (
                f" e = {best.free_factor:g} would cost no time either, but above e = {best.ceiling:g} results "
                f"elsewhere disagree, or there are none for this place; try {more:g} as well if you tune."
            )
        lines.append((tune, ""))
    numbered = [(f"{number}. {line}", code) for number, (line, code) in enumerate(lines, 1)]
    return [paragraph for line, code in numbered for paragraph in (line, *([f"{CODE}{code}"] if code else []))]


def _expectations(advice: Advice) -> list[str]:
    best = advice.best
    if best is None:
        return []
    least, most = (share * best.echo_factor for share in _shares(best))
    lines = [
        f"A step takes {milliseconds(best.step_seconds)} ms instead of {milliseconds(advice.now.mean)} "
        f"({_times(advice, best.step_seconds)}).",
        f"A copy is worth less than a fresh example, so training takes {least:.2f} to {most:.2f} times as many steps "
        "to the same target; at equal steps echoing costs quality.",
    ]
    for known, speedup in best.likely:
        expected = "" if known.tried is None else f" (expected from e = {known.tried:g})"
        lines.append(
            f"- {known.workload} ({known.source}): {known.share:.2f} of the fresh examples at e = "
            f"{known.echo_factor:g}{expected}, {speedup:.2f} times as fast"
        )
    return lines


def _shares(choice: Choice) -> tuple[float, float]:
    shares = [known.share for known, _ in choice.likely] or [1 / choice.echo_factor]
    return min(shares), max(shares)


def _changes(advice: Advice) -> list[str]:
    best = advice.best
    if best is None:
        return []
    e = best.echo_factor
    length = f" ({advice.length} batches become {round(advice.length * e)})" if advice.length else ""
    lines = [
        f"- An epoch is {e:g} times as long{length}. Schedules, evaluations and checkpoints that count epochs come "
        f"later: count steps, or take 1/{e:g} of the epochs.",
    ]
    if advice.epochs:
        least, most = _shares(best)
        lines.append(
            f"- Instead of {advice.epochs:g} epochs of fresh data, {advice.epochs * least:.1f} to "
            f"{advice.epochs * most:.1f} are read."
        )
    if best.place == "batch":
        lines.append("- Copies of a batch follow each other; each is a copy of its own, so a step may write into it.")
    return lines


def _memory(advice: Advice) -> list[str]:
    lines = []
    if advice.cached:
        lines.append(
            f"- cache: {size(advice.cached.bytes)} of {size(advice.memory)} for {advice.length} batches of "
            f"{size(advice.batch_bytes)}."
        )
    elif advice.length and advice.memory:
        whole = advice.length * advice.batch_bytes
        lines.append(f"- cache: the data set takes {size(whole)}, too much for {size(advice.memory)}, or is of no use.")
    if advice.best and advice.best.place == "batch":
        lines.append(f"- echo: {size(3 * advice.batch_bytes)}, the batch that is repeated and two that wait.")
    elif advice.best and advice.buffer:
        e = advice.best.echo_factor
        lines.append(
            f"- echo: a buffer of {advice.buffer} copies holds {advice.buffer / e:.0f} different examples at "
            f"e = {e:g}, which costs quality where it is small; make it {round(e * advice.buffer)}. The copies of an "
            "example share its memory."
        )
    return lines


def _measurements(advice: Advice) -> Iterator[str]:
    yield f"{'Measured, milliseconds a batch':58}{'mean':>10}{'lowest - highest':>22}"
    rows = [("a step as it is, waiting included", advice.now), ("the loader alone", advice.read)]
    rows += [("the step alone", advice.step), *((remedy.what, remedy.seconds) for remedy in advice.remedies)]
    for choice in advice.choices:
        rows.append((f"in front of the place {choice.place}", choice.timing.upstream))
        rows.append((f"behind it (R = {choice.timing.ratio:.2f})", choice.timing.downstream))
    for what, seconds in rows:
        between = f"{milliseconds(seconds.low)} - {milliseconds(seconds.high)}"
        yield f"{what.partition(':')[0]:58}{milliseconds(seconds.mean):>10}{between:>22}"


def _wrapped(paragraph: str, indented: bool) -> str:
    if paragraph.startswith(CODE):
        return paragraph
    margin = "  " if indented else ""
    return fill(paragraph, WIDTH, initial_indent=margin, subsequent_indent=2 * margin, break_long_words=False)


def milliseconds(seconds: float) -> str:
    """With three digits."""
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def size(bytes_: float) -> str:
    """Bytes with their unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if bytes_ < 1000:
            return f"{bytes_:.3g} {unit}"
        bytes_ /= 1000
    return f"{bytes_:.3g} TB"
