"""Where the time of a training run goes: t_upstream, t_downstream and their ratio R (section 2). Needs NumPy alone.

The paper's model of a run that overlaps both sides: max(t_upstream, e * t_downstream) seconds for each upstream batch,
so that echoing is free up to e = R = t_upstream / t_downstream.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..iterables import duplicate

Step = Callable[[Any], object]
"""Takes one SGD step on a batch and returns when it is done, or returns JAX arrays, which are waited for; so is PyTorch
on a GPU."""

MOST_SECONDS = 10.0
"""No further round of a measurement begins after so long."""


class PipelineEnded(ValueError):
    """A pipeline ended while it was timed."""


@dataclass(frozen=True)
class Seconds:
    """Seconds a batch, over rounds of equal length: the mean, the fastest and the slowest round."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """What a pipeline's two sides take, in seconds a batch.

    `upstream`: the stages before the echo point, for one upstream batch. `downstream`: those after it and the SGD
    step, for one batch of the step.
    """

    upstream: Seconds
    downstream: Seconds

    @property
    def ratio(self) -> float:
        """R = t_upstream / t_downstream."""
        return self.upstream.mean / self.downstream.mean

    @property
    def ratio_range(self) -> tuple[float, float]:
        """R between its extreme rounds."""
        return self.upstream.low / self.downstream.high, self.upstream.high / self.downstream.low


def model_seconds(upstream: float, downstream: float, echo_factor: float, upstream_batches: float) -> float:
    """Training time by the paper's model (section 2), of seconds a batch on either side."""
    return max(upstream, echo_factor * downstream) * upstream_batches


def seconds_per_batch(batches: Iterable[Any], step: Step | None, seconds: float, rounds: int) -> Seconds:
    """Times reading batches, and taking a step on each if there is one.

    Args:
      batches: what is read.
      step: what is done with each.
      seconds: length of a round; one round before them, in which buffers fill and code is compiled, does not count.
      rounds: how many.

    Raises:
      PipelineEnded: there are no more.
    """
    with opened(batches) as iterator:
        return _averaged(_durations(iterator, step), seconds, rounds)


def step_seconds(held: Iterable[Any], step: Step, seconds: float, rounds: int) -> Seconds:
    """Times the step alone, each time on a copy of a batch of `held`, an endless iterable, since it may change it."""

    def durations() -> Iterator[float]:
        for batch in held:
            copy = duplicate(batch)
            started = time.perf_counter()
            _take(step, copy)
            yield time.perf_counter() - started

    return _averaged(durations(), seconds, rounds)


def _durations(iterator: Iterator[Any], step: Step | None) -> Iterator[float]:
    started = time.perf_counter()
    for batch in iterator:
        if step is not None:
            _take(step, batch)
        done = time.perf_counter()
        yield done - started
        started = done


def _averaged(durations: Iterator[float], seconds: float, rounds: int) -> Seconds:
    taken: list[tuple[float, int]] = []
    for number in range(rounds + 1):
        if number > 1 and sum(elapsed for elapsed, _ in taken) > MOST_SECONDS:
            break
        count, elapsed = 0, 0.0
        while count == 0 or elapsed < seconds:
            elapsed += _wanted(durations)
            count += 1
        if number:
            taken.append((elapsed, count))
    each = [elapsed / count for elapsed, count in taken]
    mean = sum(elapsed for elapsed, _ in taken) / sum(count for _, count in taken)
    return Seconds(mean, min(each), max(each))


def _wanted(durations: Iterator[float]) -> float:
    try:
        return next(durations)
    except StopIteration:
        raise PipelineEnded("the pipeline ended while it was timed; make it endless: dataset.repeat()") from None


@contextmanager
def opened(batches: Iterable[Any]) -> Iterator[Iterator[Any]]:
    """An iterator, which is closed at the end of the block, unless it is the caller's own."""
    iterator = iter(batches)
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if iterator is not batches and close is not None:
            close()


def _take(step: Step, batch: Any) -> None:
    _wait_for(step(batch))
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _wait_for(result: Any) -> None:
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        for part in result:
            _wait_for(part)
    elif callable(wait := getattr(result, "block_until_ready", None)):
        wait()
