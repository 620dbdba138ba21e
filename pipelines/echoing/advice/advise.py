"""What to advise from what was measured: whether to echo, where, which e to try, and what to do before it."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from statistics import median
from typing import Any

from ..iterables import leaves
from . import report, worth
from .loaders import HELD_BATCHES, Loader, as_loader, held
from .timing import PipelineEnded, Seconds, Step, Timing, seconds_per_batch, step_seconds
from .worth import Worth

WORTHWHILE_RATIO = 1.1
"""Below this R there is next to no idle time to fill, and R is not measured more exactly than that."""

WORTHWHILE_SPEEDUP = 1.05
"""What a remedy, or echoing, has to promise."""

CACHED_SHARE = 0.5
"""The share of the machine's memory that a cached data set may take."""


@dataclass(frozen=True)
class Choice:
    """One place to echo at, with the factor to try there, 1 for none, and what that would give.

    `step_seconds`: what a step is expected to take then, waiting included. `likely`: by each workload's results for
    this place, training time to the target without echoing over that with it. `free_factor`: the largest e that costs
    no time; `ceiling`: the largest that results agree is of use there. `code`: how to insert the echo.
    """

    place: str
    timing: Timing
    echo_factor: float
    free_factor: float
    ceiling: float
    step_seconds: float
    likely: tuple[tuple[Worth, float], ...]
    code: str

    @property
    def promise(self) -> float:
        """The median of the likely speed-ups; where no result is known, as if echoed data were as good as fresh."""
        return median(speedup for _, speedup in self.likely) if self.likely else self.echo_factor

    @property
    def promise_range(self) -> tuple[float, float]:
        """The least and the most of the likely speed-ups."""
        speedups = [speedup for _, speedup in self.likely] or [self.promise]
        return min(speedups), max(speedups)


@dataclass(frozen=True)
class Remedy:
    """Something cheaper than echoing: what it is, seconds a step with it, and bytes of memory where it takes much."""

    what: str
    seconds: Seconds
    bytes: float = 0

    def pays(self, now: Seconds) -> bool:
        """Whether a step takes less than it does `now`, by enough."""
        return now.mean / self.seconds.mean >= WORTHWHILE_SPEEDUP


@dataclass(frozen=True)
class Advice:
    """What was measured and what follows from it; as text it is the report.

    `now`: seconds a step takes as it is, waiting included; `read`: a batch, with nothing behind the loader; `step`:
    the step alone. `remedies`: what was tried before echoing, the fastest first. `choices`: places to echo at, the most
    promising first, in the loader with the first of the remedies, if that pays.
    """

    now: Seconds
    read: Seconds
    step: Seconds
    remedies: tuple[Remedy, ...]
    choices: tuple[Choice, ...]
    batch_bytes: float
    length: int | None
    buffer: int
    memory: float
    epochs: float | None

    @property
    def ratio(self) -> float:
        """R = t_upstream / t_downstream of the loader as it is, at the batch place."""
        return self.read.mean / self.step.mean

    @property
    def reading_is_slower(self) -> bool:
        """Whether R is beyond what it is measured to."""
        return self.ratio >= WORTHWHILE_RATIO

    @property
    def remedy(self) -> Remedy | None:
        """What to do first, None if nothing that is cheaper than echoing would help."""
        first = self.remedies[0] if self.remedies else None
        return first if first and first.pays(self.now) else None

    @property
    def best(self) -> Choice | None:
        """Where to echo and how often, None if echoing would not help."""
        first = self.choices[0]
        return first if first.echo_factor > 1 and first.promise >= WORTHWHILE_SPEEDUP else None

    @property
    def cached(self) -> Remedy | None:
        """Keeping the data set in memory, None if it does not fit or its length is unknown."""
        size = self.batch_bytes * (self.length or 0)
        if not 0 < size <= CACHED_SHARE * self.memory or self.step.mean * WORTHWHILE_SPEEDUP > self.now.mean:
            return None
        return Remedy("cache the data set in memory", self.step, size)

    def __str__(self) -> str:
        return report.text(self)

    def to_json(self) -> str:
        """The measurements, the choices and the first sentence as JSON."""
        fields = dataclasses.asdict(self)
        best = self.choices.index(self.best) if self.best else None
        return json.dumps({"summary": report.summary(self), "best": best, "ratio": self.ratio, **fields}, indent=2)


def advise(
    loader: Any,
    step: Step,
    *,
    alternatives: Mapping[str, Any] | None = None,
    epochs: float | None = None,
    seconds: float = 0.5,
    rounds: int = 3,
    known: Sequence[Worth] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Advice:
    """Measures R at each place where echoing could be inserted (sections 2 and 3.2) and says what to try.

    Args:
      loader: an iterable of batches, or a function that makes one anew; a `Pipeline`, of this package or of
        `echoing.tfdata.loader`, which names its stages.
      step: takes a batch and one SGD step on it; see `timing.Step`. It really trains: hand over a copy of what it
        changes, or save that before.
      alternatives: other loaders of the same batches to be tried before echoing, each under what it does.
      epochs: how many training takes today, so that no e leaves a part of the data set unread.
      seconds: length of one round of one measurement, of which `rounds` + 1 are taken; there are four to ten.
      rounds: rounds that count.
      known: what echoed examples were worth where that was measured; by default in the paper and in our searches.
      progress: receives a line before each measurement; by default it is printed to standard error.

    Raises:
      NotALoader: `loader` is neither iterable nor a function.
      PipelineEnded: the loader gives too little to be timed, and cannot be read again.
    """
    plain = as_loader(loader)
    timed = _Stopwatch(step, seconds, rounds, progress or (lambda line: print(line, file=sys.stderr, flush=True)))
    kept = held(plain.batches(), HELD_BATCHES)
    if not kept:
        raise PipelineEnded("the pipeline gives no batches")
    alone = timed.step_alone(kept)  # first, so that its code is compiled
    now = timed("training as it is", plain.batches(), True)
    read = timed("the loader alone", plain.batches())
    tried: list[tuple[Remedy, Loader]] = []
    if now.mean / alone.mean >= WORTHWHILE_SPEEDUP:
        others = {**plain.remedies(), **{what: as_loader(other) for what, other in (alternatives or {}).items()}}
        tried = [(Remedy(what, timed(what, other.batches(), True)), other) for what, other in others.items()]
        tried.sort(key=lambda pair: pair[0].seconds.mean)
    results = worth.load() if known is None else known
    pays = bool(tried) and tried[0][0].pays(now)
    source, per_step = (tried[0][1], tried[0][0].seconds) if pays else (plain, now)
    choices = []
    for place in source.places:
        timing = timed.place(source, place)
        choices.append(choose(place, timing, per_step.mean, results, epochs, partial(source.code, place)))
    choices.sort(key=lambda choice: (choice.echo_factor > 1, choice.promise), reverse=True)
    return Advice(
        now,
        read,
        alone,
        tuple(remedy for remedy, _ in tried),
        tuple(choices),
        sum(map(_bytes, kept)) / len(kept),
        plain.length,
        plain.buffer,
        _memory(),
        epochs,
    )


@dataclass(frozen=True)
class _Stopwatch:
    """Times this and that for `seconds` a round, and says before what."""

    step: Step
    seconds: float
    rounds: int
    say: Callable[[str], None]

    def __call__(self, what: str, batches: Iterable[Any], with_step: bool = False) -> Seconds:
        self.say(f"timing {what} ...")
        return seconds_per_batch(batches, self.step if with_step else None, self.seconds, self.rounds)

    def step_alone(self, kept: Sequence[Any]) -> Seconds:
        self.say("timing the step alone ...")
        return step_seconds(cycle(kept), self.step, self.seconds, self.rounds)

    def place(self, loader: Loader, place: str) -> Timing:
        upstream = self(f"what is in front of the place {place}", loader.upstream(place))
        return Timing(upstream, self(f"what is behind the place {place}", loader.downstream(place), True))


def choose(
    place: str,
    timing: Timing,
    per_step: float,
    known: Sequence[Worth],
    epochs: float | None = None,
    code: Callable[[float], str] = lambda e: "",
) -> Choice:
    """The factor to try at one place: e = R, which the paper recommends, rounded down.

    It is no larger than any that was of use in all results which go beyond it, nor so large that training ends within
    the first epoch of fresh data where it took more. `per_step` is what a step takes without echoing, waiting included.
    """
    upstream, downstream = timing.upstream.mean, timing.downstream.mean
    together = _unhidden(upstream, downstream, per_step)

    def step_at(e: float) -> float:
        longer, shorter = max(upstream, e * downstream), min(upstream, e * downstream)
        return (longer + together * shorter) / e

    def likely(e: float) -> tuple[tuple[Worth, float], ...]:
        found = worth.at(known, place, e)
        return tuple((w, per_step / (e * step_at(e) * w.share)) for w in found)

    free = max(1.0, round_down(timing.ratio))
    ceiling = worth.ceiling(known, place)
    factor = min(free, ceiling)
    while factor > 1 and epochs is not None and epochs > 1 and _least_share(known, place, factor) * epochs < 1:
        factor = max(1.0, round_down(factor / 1.1))
    if timing.ratio < WORTHWHILE_RATIO or factor <= 1:
        return Choice(place, timing, 1.0, free, ceiling, per_step, (), "")
    return Choice(place, timing, factor, free, ceiling, step_at(factor), likely(factor), code(factor))


def round_down(e: float) -> float:
    """To whole numbers from 4 on, else to one decimal."""
    return float(int(e)) if e >= 4 else int(round(e * 10, 6)) / 10


def _unhidden(upstream: float, downstream: float, per_step: float) -> float:
    """The share of the faster side's time that the slower one does not hide, as one step without echoing shows it."""
    share = (per_step - max(upstream, downstream)) / min(upstream, downstream)
    return min(1.0, max(0.0, share))


def _least_share(known: Sequence[Worth], place: str, e: float) -> float:
    return min((w.share for w in worth.at(known, place, e)), default=1 / e)


def confirm(loader: Any, step: Step, advice: Advice, seconds: float = 2.0, rounds: int = 3) -> tuple[float, float]:
    """Times the loader as it is and as `advice` suggests: seconds a step, waiting included.

    Raises:
      ValueError: it does not advise to echo.
      KeyError: it suggests one of the `alternatives` first, which are not known here.
    """
    if advice.best is None:
        raise ValueError("the advice is not to echo, so there is nothing to confirm")
    plain = as_loader(loader)
    source = plain.remedies()[advice.remedy.what] if advice.remedy else plain
    before = seconds_per_batch(plain.batches(), step, seconds, rounds).mean
    after = seconds_per_batch(source.echoed(advice.best.place, advice.best.echo_factor), step, seconds, rounds).mean
    return before, after


def _bytes(batch: Any) -> float:
    return float(sum(getattr(leaf, "nbytes", 0) or sys.getsizeof(leaf) for leaf in leaves(batch)))


def _memory() -> float:
    """Bytes of the machine, 0 where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return 0.0
