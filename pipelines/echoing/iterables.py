"""The echo stage for any iterable: examples or batches of arrays, tensors or other objects. Needs NumPy alone."""

import math
import operator
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import islice
from typing import Any, Generic, Protocol, SupportsIndex, TypeVar, runtime_checkable

import numpy as np

T = TypeVar("T")
State = dict[str, Any]


@runtime_checkable
class Stateful(Protocol):
    """What can say its place and be set to one, as PyTorch's stateful loaders can."""

    def state_dict(self) -> State:
        """The place."""

    def load_state_dict(self, state: State, /) -> None:
        """Lets the next iteration go on there."""


def echo(items: Iterable[T], e: float, *, seed: int, shuffle: int = 0, apart: int = 0, copy: bool = True) -> "Echo[T]":
    """Gives each item of an iterable `e` times.

    >>> list(echo(range(4), 1.5, seed=0))
    [0, 0, 1, 1, 2, 3, 3]
    >>> list(echo(range(4), 2, seed=0, shuffle=4))
    [0, 0, 2, 2, 1, 3, 3, 1]
    >>> list(echo(range(4), 2, seed=0, apart=3))
    [0, 1, 2, 0, 1, 2, 3, 3]

    Args:
      items: examples or batches: any iterable of any objects.
      e: copies an item, any real number >= 1. A fraction such as 1.5 gives each item floor(e) or ceil(e) copies, drawn
        for each item by itself, e on average.
      seed: of all draws, an integer >= 0. They differ from iteration to iteration.
      shuffle: copies that a buffer behind the echo holds, of which each time a random one is given; 0 for none.
      apart: least distance between copies of an item, as far as there are other items: with the batch size, no two
        copies share a batch. Only where `items` end are too few left.
      copy: each copy is an object of its own, so changing it in place leaves the others as they were read. False
        gives the same object again, which saves time where nothing behind the stage changes items.

    Raises:
      ValueError, TypeError: an argument is out of range or of the wrong type.
    """
    return Echo(items, e, seed=seed, shuffle=shuffle, apart=apart, copy=copy)


class Echo(Generic[T]):
    """What `echo` returns: iterable as often as its items are, with a place that can be saved and gone on from.

    >>> echoed = echo(range(3), 2, seed=0)
    >>> len(echoed)
    6
    >>> for item in echoed:
    ...     if item == 1:
    ...         state = echoed.state_dict()
    ...         break
    >>> resumed = echo(range(3), 2, seed=0)
    >>> resumed.load_state_dict(state)
    >>> list(resumed)
    [1, 2, 2]
    """

    def __init__(
        self, items: Iterable[T], e: float, *, seed: int, shuffle: int = 0, apart: int = 0, copy: bool = True
    ) -> None:
        self._items = items
        self._settings = checked(e, seed, shuffle, apart)
        self._copy = copy
        self._iterations = 0  # begun so far
        self._running: tuple[int, Copies[T], Any] | None = None  # iteration, copies and where the items' state is kept
        self._loaded: State | None = None

    def __iter__(self) -> Iterator[T]:
        self._running = None
        return self._iterate()

    def _iterate(self) -> Iterator[T]:
        # A generator: an iteration counts, and takes up the state that was loaded, when its first item is asked for.
        state, self._loaded = self._loaded, None
        iteration = self._next_iteration() if state is None else state["iteration"]
        self._begin(iteration)
        items, keeper = self._open(iteration, state)
        copies = Copies(items, **self._settings, stream=(iteration, *self._stream()))
        if state is not None and state["copies"]:
            copies.load_state(duplicate(state["copies"]) if self._copy else state["copies"])
        running = self._running = iteration, copies, keeper
        for item, last in copies:
            yield item if last or not self._copy else duplicate(item)
        if self._running is running:
            self._end()

    def __len__(self) -> int:
        """Copies in an iteration. TypeError where e is fractional or the items' number unknown."""
        if self._settings["e"] != int(self._settings["e"]):
            raise TypeError(f"the length is random for the fractional e = {self._settings['e']:g}")
        return int(self._settings["e"]) * len(self._items)  # type: ignore[arg-type]

    def state_dict(self) -> State:
        """The place of the iteration begun last, for `load_state_dict`; between two iterations, the next one's start.

        It holds the items in the buffer and those whose copies have not all been given, each once; the state of `items`
        where they have a `state_dict`, else how many were read.
        """
        if self._loaded is not None:
            return self._loaded
        iteration, copies, keeper = self._running or (self._next_iteration(), None, self._items)
        state = self._settings | {"iteration": iteration, "copies": copies.state() if copies else None}
        if self._copy and copies:
            state["copies"]["items"] = duplicate(state["copies"]["items"])
        return state | {"items": keeper.state_dict() if isinstance(keeper, Stateful) else None}

    def load_state_dict(self, state: State) -> None:
        """Lets the next iteration go on where the state was saved.

        Items with a `load_state_dict` of their own are set to their place, others are read and skipped up to it.

        Raises:
          ValueError: it was saved with other settings; when the iteration begins: the items are fewer than were read.
        """
        check_same(self._settings, state)
        self._loaded, self._running = state, None

    def _next_iteration(self) -> int:
        """The number of the iteration that would begin now, from 0."""
        return self._iterations

    def _begin(self, iteration: int) -> None:
        self._iterations = iteration + 1

    def _end(self) -> None:
        self._running = None

    def _stream(self) -> Sequence[int]:
        """What the draws depend on besides seed and iteration."""
        return ()

    def _open(self, iteration: int, state: State | None) -> tuple[Iterator[T], Any]:
        """The items from where `state` says, and which object keeps their state, if one does."""
        kept, read = (state["items"], state["copies"]["read"] if state["copies"] else 0) if state else (None, 0)
        if kept is not None and isinstance(self._items, Stateful):
            self._items.load_state_dict(kept)
            if state and state["copies"] and state["copies"]["ended"]:
                return iter(()), self._items  # its next iteration would be the next one
            return iter(self._items), self._items
        items = iter(self._items)
        if kept is not None and isinstance(items, Stateful):
            items.load_state_dict(kept)
            return items, items
        skipped = sum(1 for _ in islice(items, read))
        if skipped < read:
            raise ValueError(f"items end after {skipped}, but {read} had been read when the state was saved")
        return items, self._items if isinstance(self._items, Stateful) else items


class _Held(Generic[T]):
    """An item with the number of its copies that have not entered the buffer, and that have not been given."""

    __slots__ = "item", "outside", "ungiven"

    def __init__(self, item: T, outside: int, ungiven: int) -> None:
        self.item, self.outside, self.ungiven = item, outside, ungiven


class Copies(Iterator[tuple[T, bool]]):
    """The copies of one iteration in their order, each with whether it is its item's last.

    The settings are `echo`'s; seed and `stream` together seed the draws. Items take one draw each and copies one each,
    so that a place in the stream of random numbers is a count.
    """

    def __init__(
        self, items: Iterator[T], e: float, seed: int, shuffle: int, apart: int, stream: Sequence[int]
    ) -> None:
        self._items, self._e, self._size, self._apart = items, e, max(1, shuffle), apart
        self._copies, self._places = (random_bits(seed, purpose, *stream) for purpose in ("copies", "places"))
        self._draw_copies, self._draw_place = (np.random.Generator(g).random for g in (self._copies, self._places))
        self._read = self._given = 0
        self._ended = False
        self._buffer: list[_Held[T]] = []
        self._entering: _Held[T] | None = None  # with apart = 0: the item whose copies enter
        self._waiting: deque[tuple[int, _Held[T]]] = deque()  # with apart > 0: when to enter again, and what

    def __next__(self) -> tuple[T, bool]:
        while len(self._buffer) < self._size and (entering := self._next_to_enter()) is not None:
            entering.outside -= 1
            self._buffer.append(entering)
        if not self._buffer:
            raise StopIteration
        if self._size > 1:
            place = int(self._draw_place() * len(self._buffer))
            self._buffer[place], self._buffer[-1] = self._buffer[-1], self._buffer[place]
        given = self._buffer.pop()
        given.ungiven -= 1
        if self._apart and given.ungiven:
            self._waiting.append((self._given + self._apart, given))
        self._given += 1
        return given.item, given.ungiven == 0

    def _next_to_enter(self) -> _Held[T] | None:
        """What enters the buffer next, None if there is nothing left or all that is left has to wait."""
        if self._entering is not None and self._entering.outside:
            return self._entering
        if self._waiting and self._waiting[0][0] <= self._given:
            return self._waiting.popleft()[1]
        fresh = self._next_fresh()
        if fresh is None and self._waiting and not self._buffer:
            return self._waiting.popleft()[1]  # the items have ended, and no other one is left to put between
        if not self._apart:
            self._entering = fresh
        return fresh

    def _next_fresh(self) -> _Held[T] | None:
        if self._ended:
            return None
        try:
            item = next(self._items)
        except StopIteration:
            self._ended = True
            return None
        self._read += 1
        whole_copies = math.floor(self._e)
        copies = whole_copies + (self._draw_copies() < self._e - whole_copies)
        return _Held(item, copies, copies)

    def state(self) -> State:
        """All that it takes to go on; "items" are the objects held, each once, "buffer" and "waiting" point at them."""
        held = {id(entry): entry for entry in self._buffer} | {id(entry): entry for _, entry in self._waiting}
        if self._entering is not None and self._entering.outside:
            held[id(self._entering)] = self._entering
        number = {key: position for position, key in enumerate(held)}
        return {
            "read": self._read,
            "given": self._given,
            "ended": self._ended,
            "items": [entry.item for entry in held.values()],
            "outside": [entry.outside for entry in held.values()],
            "ungiven": [entry.ungiven for entry in held.values()],
            "buffer": [number[id(entry)] for entry in self._buffer],
            "waiting": [[due, number[id(entry)]] for due, entry in self._waiting],
            "entering": number.get(id(self._entering)),
        }

    def load_state(self, state: State) -> None:
        """Goes on from `state`; the iterator of items, that the object was made with, stands at its place already."""
        self._read, self._given, self._ended = state["read"], state["given"], state["ended"]
        held = [_Held(*entry) for entry in zip(state["items"], state["outside"], state["ungiven"], strict=True)]
        self._buffer = [held[number] for number in state["buffer"]]
        self._waiting = deque((due, held[number]) for due, number in state["waiting"])
        self._entering = None if state["entering"] is None else held[state["entering"]]
        self._copies.advance(self._read)
        self._places.advance(self._given if self._size > 1 else 0)


def random_bits(seed: int, purpose: str, *stream: int) -> np.random.PCG64:
    """The source of random numbers for one purpose, independent of those for others."""
    return np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(*purpose.encode(), *stream)))


def duplicate(item: Any) -> Any:
    """A copy that shares no array or tensor with `item`: any object, or nested lists, tuples and dicts of them."""
    if type(item) in (list, tuple):
        return type(item)(map(duplicate, item))
    if isinstance(item, tuple) and hasattr(item, "_fields"):
        return type(item)(*map(duplicate, item))
    if type(item) is dict:
        return {key: duplicate(value) for key, value in item.items()}
    # PyTorch's own deepcopy of a tensor copies all the memory that the tensor is a view of, maybe a whole dataset.
    return item.clone() if callable(getattr(item, "clone", None)) else deepcopy(item)


def leaves(item: Any) -> Iterator[Any]:
    """The arrays, tensors or other objects in nested lists, tuples and dicts."""
    if isinstance(item, dict | list | tuple):
        for part in item.values() if isinstance(item, dict) else item:
            yield from leaves(part)
    else:
        yield item


def checked(e: float, seed: SupportsIndex, shuffle: SupportsIndex, apart: SupportsIndex) -> dict[str, Any]:
    """The settings of an echo by name; ValueError or TypeError where one is out of range or of the wrong type."""
    try:
        factor = float(e)
    except (TypeError, ValueError):
        raise TypeError(f"e must be a number, got {e!r}") from None
    if not (math.isfinite(factor) and factor >= 1):
        raise ValueError(f"e must be a finite number >= 1, got {e}")
    settings: dict[str, Any] = {"e": factor}
    for name, value in (("seed", seed), ("shuffle", shuffle), ("apart", apart)):
        try:
            settings[name] = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be an integer, got {value!r}") from None
        if settings[name] < 0:
            raise ValueError(f"{name} must be >= 0, got {value}")
    return settings


def check_same(settings: dict[str, Any], state: State) -> None:
    """ValueError where `state` was saved with other settings."""
    for name, value in settings.items():
        if state.get(name) != value:
            raise ValueError(f"the state was saved with {name} = {state.get(name)}, this echo has {name} = {value}")
