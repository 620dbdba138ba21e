"""The echo stage for Grain: a transformation of an `IterDataset`. Needs Grain."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Generic, TypeVar

import grain

from .iterables import Copies, State, check_same, checked, duplicate

T = TypeVar("T")


class EchoIterDataset(grain.IterDataset[T]):
    """Gives each element `e` times; arguments and errors are those of `echoing.echo`.

    >>> numbers = grain.MapDataset.range(4).to_iter_dataset()
    >>> [batch.tolist() for batch in EchoIterDataset(numbers, 2, seed=0).batch(4)]
    [[0, 0, 1, 1], [2, 2, 3, 3]]

    Draws differ from iteration to iteration. Behind it, Grain's own `repeat` gives the same iteration again, so repeat
    in front of it.

    An iterator's state follows Grain's protocol: it is small and plain, as it holds no elements but their places. When
    it is set, those whose copies have not all been given are read again, and all that were read since the first of
    them: with a buffer of n copies, about n ln(n) / e elements.
    """

    def __init__(
        self,
        parent: grain.IterDataset[T],
        e: float,
        *,
        seed: int,
        shuffle: int = 0,
        apart: int = 0,
        copy: bool = True,
    ) -> None:
        super().__init__(parent)
        self._settings = checked(e, seed, shuffle, apart)
        self._copy = copy
        self._iterations = 0  # begun so far

    def __iter__(self) -> "_EchoIterator[T]":
        return _EchoIterator(iter(self._parent), self)

    def __str__(self) -> str:
        return "EchoIterDataset(" + ", ".join(f"{name}={value}" for name, value in self._settings.items()) + ")"


@dataclass(frozen=True)
class _Read(Generic[T]):
    """An element, its running number and the parent's state from which to read it."""

    element: T
    number: int
    state: State


class _EchoIterator(grain.DatasetIterator[T]):
    """An iteration counts once its first element is asked for, as Grain makes iterators for their states alone."""

    def __init__(self, parent: grain.DatasetIterator[T], dataset: EchoIterDataset[T]) -> None:
        super().__init__(parent)
        self._dataset = dataset
        self._iteration: int | None = None

    def __next__(self) -> T:
        if self._iteration is None:
            self._begin(self._dataset._iterations, self._elements(0))
        read, last = next(self._copies)
        return read.element if last or not self._dataset._copy else duplicate(read.element)

    def get_state(self) -> State:
        """The place, in plain numbers; see EchoIterDataset."""
        if self._iteration is None:
            iteration, state = self._dataset._iterations, Copies(iter(()), **self._dataset._settings, stream=()).state()
        else:
            iteration, state = self._iteration, self._copies.state()
        held: list[_Read[T]] = state["items"]
        oldest = min(held, key=lambda read: read.number, default=None)
        parent = oldest.state if oldest else self._parent.get_state()
        numbers = [read.number for read in held]
        return self._dataset._settings | state | {"iteration": iteration, "parent": parent, "items": numbers}

    def set_state(self, state: State) -> None:
        """Goes to a place; ValueError if it was saved with other settings or the dataset is a shorter one."""
        check_same(self._dataset._settings, state)
        self._parent.set_state(state["parent"])
        first = min(state["items"], default=state["read"])
        elements = self._elements(first)
        held = {read.number: read for read in islice(elements, state["read"] - first)}
        if len(held) < state["read"] - first:
            raise ValueError(f"the dataset ends before element {state['read']}, which the state says was read")
        self._begin(state["iteration"], elements)
        self._copies.load_state(state | {"items": [held[number] for number in state["items"]]})

    def _begin(self, iteration: int, elements: Iterator[_Read[T]]) -> None:
        self._iteration, self._dataset._iterations = iteration, iteration + 1
        self._copies = Copies(elements, **self._dataset._settings, stream=(iteration,))

    def _elements(self, first: int) -> Iterator[_Read[T]]:
        """The parent's elements from where it stands, which is in front of element `first`."""
        for number in count(first):
            state = self._parent.get_state()
            try:
                element = next(self._parent)
            except StopIteration:
                return
            yield _Read(element, number, state)
