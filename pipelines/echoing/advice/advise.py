"""What to advise from what was measured: where to echo, which e to try, and when not to."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import tensorflow as tf

from ..tfdata.stages import Stages, Transform, split
from . import worth
from .timing import Step, Timing, measure, model_seconds, overlapping, seconds_per_batch
from .worth import Worth

WORTHWHILE_RATIO = 1.1
"""Below this R there is next to no idle time to fill, and R is not measured more exactly than that."""

TIMED_BUFFER_BATCHES = 16
"""A shuffle buffer of more batches than this is timed as one of so many: it costs the same once it is full."""

PLACES = {
    "example": "behind reading, before the shuffle buffer",
    "example_before_augmentation": "behind reading and decoding, before the shuffle buffer and augmentation",
    "example_after_augmentation": "behind augmentation, before the shuffle buffer",
    "batch": "behind batching",
}


@dataclass(frozen=True)
class Pipeline:
    """A training pipeline in the parts that echoing can be inserted between.

    `examples`: read and decoded, endless. `augment`: the stage that augments them, dataset to dataset, None if there
    is none. `shuffle_buffer` counts examples. `run_as` sets the options of every dataset that is timed; by default
    they are the examples' own, and TensorFlow's where those say nothing.
    """

    examples: tf.data.Dataset
    batch_size: int
    shuffle_buffer: int
    augment: Transform | None = None
    run_as: Transform = lambda dataset: dataset

    @property
    def variants(self) -> tuple[str, ...]:
        """The places to echo at."""
        if self.augment is None:
            return ("example", "batch")
        return ("example_before_augmentation", "example_after_augmentation", "batch")

    def build(self, stages: Stages, seed: int = 0) -> tf.data.Dataset:
        """The pipeline's batches with these stages."""
        upstream, downstream = split(stages, seed=seed, augment=self.augmented, run_as=self.run_as)
        return downstream(upstream(self.examples))

    def timed(self, variant: str, echo_factor: float) -> Stages:
        """The stages to time it with, both sides of the echo point working at the same time."""
        buffer = min(self.shuffle_buffer, TIMED_BUFFER_BATCHES * self.batch_size)
        return overlapping(Stages(variant, echo_factor, self.batch_size, buffer))

    def augmented(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The augmentation stage, if there is one."""
        return dataset if self.augment is None else self.augment(dataset)


@dataclass(frozen=True)
class Choice:
    """One place to echo at, with the factor to try there, 1 for none, and what that would give.

    `ideal_speedup`: training time now over training time then, if echoed data were as good as fresh. `likely`: the
    same by each workload's results for this place.
    """

    variant: str
    timing: Timing
    echo_factor: float
    ideal_speedup: float
    likely: tuple[tuple[Worth, float], ...]

    @property
    def promise(self) -> float:
        """The speed-up to rank places by: the mean of the likely ones, the ideal one where no result is known."""
        return fmean(speedup for _, speedup in self.likely) if self.likely else self.ideal_speedup


@dataclass(frozen=True)
class Advice:
    """What was measured and what follows from it, the most promising place first; as text it is the report."""

    choices: tuple[Choice, ...]

    @property
    def best(self) -> Choice | None:
        """What to try first, None if echoing would not help."""
        first = self.choices[0]
        return first if first.echo_factor > 1 and first.promise > 1 else None

    def __str__(self) -> str:
        return "\n".join([*_measurements(self.choices), "", *_conclusion(self.choices)])


def advise(
    pipeline: Pipeline,
    step: Step,
    *,
    seconds: float = 0.3,
    rounds: int = 3,
    known: Sequence[Worth] | None = None,
) -> Advice:
    """Measures R at each place where echoing could be inserted (sections 2 and 3.2) and says what to try.

    Args:
      pipeline: the pipeline, in parts.
      step: takes a batch and returns when its SGD step is done.
      seconds: length of one round of one measurement; four measurements and some more of `rounds` + 1 each a place.
      rounds: rounds that count.
      known: what echoed examples were worth where that was measured; by default in the paper and in our searches.
    """
    choices = []
    for variant in pipeline.variants:
        stages = pipeline.timed(variant, 2)
        timing = measure(
            pipeline.examples,
            stages,
            step,
            augment=pipeline.augmented,
            run_as=pipeline.run_as,
            seconds=seconds,
            rounds=rounds,
        )
        choices.append(choose(variant, timing, worth.load() if known is None else known))
    return Advice(tuple(sorted(choices, key=lambda choice: (choice.echo_factor > 1, choice.promise), reverse=True)))


def choose(variant: str, timing: Timing, known: Sequence[Worth]) -> Choice:
    """The factor to try at one place: e = R, which the paper recommends, to one decimal, rounded down.

    It is never larger than any of which a result is known for this place.
    """
    if timing.ratio < WORTHWHILE_RATIO:
        return Choice(variant, timing, 1.0, 1.0, ())
    tried = [result.echo_factor for result in known if result.variant == variant]
    factor = min([int(timing.ratio * 10) / 10, *([max(tried)] if tried else [])])
    upstream, downstream = timing.upstream.mean, timing.downstream.mean

    def speedup(echo_factor: float, share: float) -> float:
        now = model_seconds(upstream, downstream, 1, 1)
        return now / model_seconds(upstream, downstream, echo_factor, share)

    likely = tuple((w, speedup(w.echo_factor, w.share)) for w in worth.at(known, variant, factor))
    return Choice(variant, timing, factor, speedup(factor, 1 / factor), likely)


def confirm(pipeline: Pipeline, step: Step, choice: Choice, seconds: float = 2.0) -> tuple[float, float]:
    """Times the pipeline without echoing and as `choice` suggests: seconds for each SGD step, both reading ahead."""
    now, then = pipeline.timed("baseline", 1), pipeline.timed(choice.variant, choice.echo_factor)
    before, after = (seconds_per_batch(pipeline.build(stages), step, seconds, 3).mean for stages in (now, then))
    return before, after


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}"


def _measurements(choices: Sequence[Choice]) -> list[str]:
    lines = [
        f"{'milliseconds a batch, echo at':32}{'upstream':>10}{'downstream':>12}{'step':>8}"
        f"{'echo':>8}{'shuffle':>9}{'R':>8}{'lowest - highest':>20}"
    ]
    for choice in sorted(choices, key=lambda choice: list(PLACES).index(choice.variant)):
        timing, (low, high) = choice.timing, choice.timing.ratio_range
        sides = [_milliseconds(side.mean) for side in (timing.upstream, timing.downstream, timing.step)]
        lines.append(
            "{:32}{:>10}{:>12}{:>8}".format(choice.variant, *sides)
            + f"{_milliseconds(timing.echo):>8}{_milliseconds(timing.shuffle):>9}"
            + f"{timing.ratio:8.2f}{f'{low:.2f} - {high:.2f}':>20}"
        )
    return lines


def _conclusion(choices: Sequence[Choice]) -> list[str]:
    best = choices[0]
    if best.echo_factor == 1:
        return [
            "Do not echo: R is about 1 or below at every place, so the SGD step and the stages that echoing would",
            "repeat are the bottleneck. Speed those up first.",
        ]
    if best.promise <= 1:
        return [
            "Do not echo: what is behind upstream idles, but where this has been tried echoed data were of no use.",
            *_known(best),
        ]
    timing = best.timing
    idle = 1 - timing.downstream.mean / timing.upstream.mean
    lines = [
        f"The bottleneck is upstream: what is behind it idles {idle:.0%} of the time, seen from the place to echo at.",
        f"Echo {PLACES[best.variant]} ({best.variant}), e = {best.echo_factor:g}.",
        f"Were echoed data as good as fresh, training would take 1/{best.ideal_speedup:.2f} of its time "
        f"({1 - 1 / best.ideal_speedup:.0%} less).",
    ]
    if best.echo_factor < int(timing.ratio * 10) / 10:
        lines.append(f"e = R would be {timing.ratio:.1f}; nothing is known of e above {best.echo_factor:g} there.")
    lines += _known(best)
    half = f" Try also e = {best.echo_factor / 2:g}." if best.echo_factor >= 2 else ""
    lines.append(f"Tune the learning rate again: the best one changes with e.{half} e above R costs time.")
    refused = [choice.variant for choice in choices if choice.echo_factor == 1]
    return lines + [f"Not at {variant}: R is about 1 or below there." for variant in refused]


def _known(choice: Choice) -> list[str]:
    lines = ["What has been measured elsewhere, between the echo factors tried there:"] if choice.likely else []
    for known, speedup in choice.likely:
        lines.append(
            f"  {known.workload} ({known.source}): {known.share:.2f} of the fresh examples at "
            f"e = {known.echo_factor:g}, so {speedup:.2f} times as fast"
        )
    return lines


def report(pipeline: Pipeline, step: Step, confirming: bool) -> None:
    """Prints the advice, and its confirmation if asked for."""
    advice = advise(pipeline, step)
    print(advice)
    if confirming and advice.best is not None:
        before, after = confirm(pipeline, step, advice.best)
        print(
            f"confirmed by timing: {_milliseconds(before)} ms an SGD step now, {_milliseconds(after)} ms with the "
            f"echo; {before / after:.2f} times as many steps a second, {advice.best.ideal_speedup:.2f} predicted"
        )
