"""Adaptive echoing: items are repeated only while upstream is behind, and no more often than `most` times.

A fixed echo factor is right for a steady upstream. Where a storage stalls now and then, this stage gives every item
once as long as upstream keeps up, and bridges the stalls with copies. How often it echoes depends on the clock, so a
run is not a function of its seed; but the stage writes down what it gave, and gives it again from that log.

    >>> stage = AdaptiveEcho(most=4)
    >>> batches = list(stage.echo([1, 2, 3]))  # any iterable
    >>> list(AdaptiveEcho(most=4).replay([1, 2, 3], stage.log)) == batches
    True
"""

import logging
import numbers
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from .reading import END, Reader

LOG_EVERY = 1000
"""Fresh items after which the realised factor is logged, at the level INFO, as it is where an iteration ends."""

_log = logging.getLogger(__name__)
T = TypeVar("T")
Log = Sequence[np.ndarray]
"""For each iteration [runs, 2], int64: how many fresh items were given in a row, and how many copies after them.

A last run of (0, 0) says that upstream had ended."""


class Adaptive:
    """Settings and counts of a stage, over all iterations: one object a pipeline.

    `read_items` were read from upstream; of these `fresh_items` were given, the others wait or were dropped at the end;
    `echoed_items` are the copies given besides.

    Each time an item is asked for, a fresh one is given if upstream has one ready; else, of the last `memory` ones,
    the one given longest ago that has not been given `most` times; if there is none, the stage waits.

    Args:
      most: the most times that an item is given, >= 1.
      memory: items kept to be repeated, >= 1; a stall is bridged for up to (most - 1) * memory items.
      read_ahead: fresh items that may wait, >= 1.
      fill: items given before the first echo: those that go into the buffers behind the stage, which ask faster than
        training does.

    Raises:
      ValueError: one of them is no whole number, or out of range.
    """

    def __init__(self, most: int, *, memory: int = 8, read_ahead: int = 4, fill: int = 0) -> None:
        settings = (("most", most, 1), ("memory", memory, 1), ("read_ahead", read_ahead, 1), ("fill", fill, 0))
        for name, value, least in settings:
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
                raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
        self.most, self.memory, self.read_ahead, self.fill = most, memory, read_ahead, fill
        self.read_items = 0
        self.fresh_items = 0
        self.echoed_items = 0
        self._courses: list[Course[Any]] = []

    @property
    def factor(self) -> float:
        """The realised echo factor so far, items given over fresh ones; 1 before the first."""
        return 1 + self.echoed_items / max(1, self.fresh_items)

    @property
    def log(self) -> list[np.ndarray]:
        """What was given so far, for `replay`."""
        return [np.array(course.runs, np.int64).reshape(-1, 2) for course in self._courses]

    def begin(self, log: Log = ()) -> "Course[Any]":
        """The course of the next iteration: what its part of `log` says, then by the clock."""
        number = len(self._courses)
        course: Course[Any] = Course(self, log[number] if number < len(log) else np.empty((0, 2), np.int64))
        self._courses.append(course)
        return course

    def tell_factor(self) -> None:
        """Logs the realised factor."""
        _log.info("adaptive echo: factor %.3f over %d fresh items", self.factor, self.fresh_items)


class AdaptiveEcho(Adaptive):
    """The stage for any iterable, of batches or of examples; `Adaptive` says what it gives and what it takes."""

    def echo(self, items: Iterable[T]) -> Iterator[T]:
        """Gives `items`, read by a thread, and copies of them: the same objects, so do not change them in place."""
        return self.replay(items, ())

    def replay(self, items: Iterable[T], log: Log) -> Iterator[T]:
        """Gives what a stage of the same settings gave when it wrote `log`, then goes on by the clock.

        To resume a run, hand over the items from their first one on, and skip the items that training has had.

        Raises:
          ValueError: the log asks for items that are not there.
        """
        course = self.begin(log)
        reader = Reader(items, self.read_ahead, self._count)
        try:
            while True:
                if not course.wants_fresh(reader.ready):
                    yield course.copy()
                    continue
                item = reader.wait()
                if item is END:
                    course.end()
                    return
                yield course.fresh(item)
        finally:
            reader.stop()
            course.close()

    def _count(self) -> None:
        self.read_items += 1


_ENDED = [0, 0]


class Course(Generic[T]):
    """One iteration: which item comes next, and what came so far."""

    def __init__(self, stage: Adaptive, planned: np.ndarray) -> None:
        self.runs: list[list[int]] = []
        self._stage = stage
        self._planned = deque([int(fresh), int(copies)] for fresh, copies in planned)
        self._given = 0  # fresh items
        self._kept: deque[tuple[T, int]] = deque()  # items with the times they have been given, longest ago first

    def wants_fresh(self, ready: Callable[[], bool]) -> bool:
        """Whether a fresh item is to be given; `ready` says whether upstream has one."""
        if self._planned:
            return self._planned[0] == _ENDED or self._planned[0][0] > 0
        return self._given < self._stage.fill or not self._kept or ready()

    def fresh(self, item: T) -> T:
        """Notes that a fresh item is given."""
        self._note(0)
        self._given += 1
        self._stage.fresh_items += 1
        if self._stage.fresh_items % LOG_EVERY == 0:
            self._stage.tell_factor()
        self._keep(item, 1)
        return item

    def copy(self) -> T:
        """The item that is given again."""
        if not self._kept:
            raise ValueError("log does not fit: most and memory must be those that it was written with")
        self._note(1)
        self._stage.echoed_items += 1
        item, given = self._kept.popleft()
        self._keep(item, given + 1)
        return item

    def end(self) -> None:
        """Notes that upstream has ended."""
        if self._planned and self._planned[0] != _ENDED:
            raise ValueError("log does not fit: it goes on where the items end")
        self.runs.append(list(_ENDED))

    def close(self) -> None:
        """The iteration is over; what it gave stays in the log."""
        self._kept.clear()
        self._stage.tell_factor()

    def _note(self, kind: int) -> None:
        if self._planned and self._planned[0] == _ENDED:
            raise ValueError("log does not fit: the items go on where it ends")
        if not self.runs or (kind == 0 and self.runs[-1][1]):
            self.runs.append([0, 0])
        self.runs[-1][kind] += 1
        if self._planned:
            self._planned[0][kind] -= 1
            if self._planned[0] == [0, 0]:  # done
                self._planned.popleft()

    def _keep(self, item: T, given: int) -> None:
        if given < self._stage.most:
            self._kept.append((item, given))
            if len(self._kept) > self._stage.memory:
                self._kept.popleft()
