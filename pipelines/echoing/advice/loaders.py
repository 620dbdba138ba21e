"""What the advisor times: loaders of batches, and the places in them where echoing can be inserted. Needs NumPy alone.

batch                        any iterable of batches: between the loader and the step
example                      Pipeline: behind reading, in front of the shuffle buffer; nothing is augmented
example_before_augmentation  Pipeline: the same, with augmentation behind the buffer
example_after_augmentation   Pipeline: behind augmentation, in front of the shuffle buffer
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..iterables import duplicate, echo
from ..reading import prefetch
from .timing import PipelineEnded, opened

HELD_BATCHES = 4
"""Batches kept in memory to time what comes behind the echo point."""

TIMED_BUFFER_BATCHES = 4
"""A shuffle buffer of more batches than this is timed as one of so many: it costs the same once it is full."""

TIMED_THREADS = 8
"""Threads that reading in parallel is timed with."""


AHEAD = "read ahead in a thread: {0} = prefetch({0})  # from echoing import prefetch"
IN_THREADS = f"read in {TIMED_THREADS} threads: ThreadPoolExecutor({TIMED_THREADS}), with a few items submitted ahead"


class NotALoader(TypeError):
    """What was handed over gives no batches."""


@runtime_checkable
class Loader(Protocol):
    """A loader of batches as the advisor sees it."""

    @property
    def places(self) -> Sequence[str]:
        """Where echoing can be inserted."""

    @property
    def length(self) -> int | None:
        """Batches an epoch, None where it is not known."""

    @property
    def buffer(self) -> int:
        """Examples in its shuffle buffer, 0 where that is not known."""

    def batches(self) -> Iterable[Any]:
        """What training reads, as it is, epoch after epoch."""

    def upstream(self, place: str) -> Iterable[Any]:
        """What passes a place, a batch's worth at a time."""

    def downstream(self, place: str) -> Iterable[Any]:
        """The batches that the stages behind a place make of a few echoed items, which are read first; endless."""

    def echoed(self, place: str, e: float) -> Iterable[Any]:
        """What training reads with the echo at a place, both sides working at the same time."""

    def code(self, place: str, e: float) -> str:
        """How the user's code says that."""

    def remedies(self) -> "Mapping[str, Loader]":
        """The loader with what is cheaper than echoing, each under what it does."""


def as_loader(loader: Any) -> Loader:
    """Whatever was handed over, as the advisor sees it.

    Raises:
      NotALoader: it is neither iterable nor a function that makes an iterable.
    """
    if isinstance(loader, Loader):
        return loader
    if "tensorflow" in sys.modules and isinstance(loader, sys.modules["tensorflow"].data.Dataset):
        from ..tfdata.loader import DatasetBatches

        return DatasetBatches(loader)
    if "torch" in sys.modules and isinstance(loader, sys.modules["torch"].utils.data.DataLoader):
        from .torch_loader import TorchBatches

        return TorchBatches(loader)
    if isinstance(loader, Iterable):
        return Batches(lambda: loader, length_of(loader))
    if callable(loader):
        return Batches(loader, None)
    raise NotALoader(f"loader must be an iterable of batches, or a function that makes one, got {loader!r}")


def length_of(loader: Any) -> int | None:
    """Items an iteration, None where that is not known."""
    try:
        return len(loader)
    except TypeError:
        return None


def endless(make: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """What `make` gives, epoch after epoch.

    Raises:
      PipelineEnded: an epoch is empty, as that of an iterator is which has been read.
    """
    while True:
        item = nothing = object()
        for item in make():
            yield item
        if item is nothing:
            raise PipelineEnded(
                "the loader ended while it was timed; where it can be read once only, such as a generator, hand over "
                "a function that makes it anew: advise(lambda: batches(), step)"
            )


@dataclass(frozen=True)
class Batches:
    """Any iterable of batches: `make` gives it anew for each epoch. `name` is what the user's code calls it."""

    make: Callable[[], Iterable[Any]]
    length: int | None
    name: str = "loader"
    places: Sequence[str] = ("batch",)
    buffer: int = 0

    def batches(self) -> Iterable[Any]:
        """See Loader."""
        return endless(self.make)

    def upstream(self, place: str) -> Iterable[Any]:
        """See Loader."""
        return self.batches()

    def downstream(self, place: str) -> Iterable[Any]:
        """See Loader."""
        return repeated(self.batches())

    def echoed(self, place: str, e: float) -> Iterable[Any]:
        """See Loader."""
        return endless(lambda: echo(self.make(), e, seed=0))

    def code(self, place: str, e: float) -> str:
        """See Loader."""
        return f"loader = echo({self.name}, {e:g}, seed=0)  # from echoing import echo, prefetch"

    def remedies(self) -> Mapping[str, Loader]:
        """See Loader."""
        ahead = replace(self, make=lambda: prefetch(self.make()), name=f"prefetch({self.name})")
        return {AHEAD.format("loader"): ahead}


def held(items: Iterable[Any], count: int) -> list[Any]:
    """The first `count` items; the iterable is closed."""
    with opened(items) as iterator:
        return list(islice(iterator, count))


def repeated(batches: Iterable[Any]) -> Iterator[Any]:
    """Copies of the first few batches, which are read first; endless."""
    return map(duplicate, cycle(held(batches, HELD_BATCHES)))


def places_of(augments: bool) -> Sequence[str]:
    """Where a pipeline of named stages can be echoed, by whether it augments."""
    examples = ("example_before_augmentation", "example_after_augmentation") if augments else ("example",)
    return (*examples, "batch")


def timed_buffer(copies: float, batch_size: int) -> int:
    """The shuffle buffer to time in place of one of so many copies."""
    return min(round(copies), TIMED_BUFFER_BATCHES * batch_size)


def stack(examples: Sequence[Any]) -> Any:
    """A batch of examples: their arrays, in tuples, lists and dicts, each with a leading dimension."""
    first = examples[0]
    if isinstance(first, dict):
        return {key: stack([example[key] for example in examples]) for key in first}
    if isinstance(first, tuple | list):
        return type(first)(stack(parts) for parts in zip(*examples, strict=True))
    return np.stack([np.asarray(example) for example in examples])


@dataclass(frozen=True)
class Pipeline:
    """A training pipeline in Python, in the stages that echoing can be inserted between.

    Args:
      source: what is read: paths, keys, indices, or examples, read anew in each epoch.
      batch_size: examples a batch.
      read: makes an example of an item of the source, None where these are examples.
      augment: makes an augmented example of an example, None where nothing is augmented.
      collate: makes a batch of a list of examples; by default their arrays are stacked.
      buffer: examples in the shuffle buffer.
    """

    source: Iterable[Any]
    batch_size: int
    read: Callable[[Any], Any] | None = None
    augment: Callable[[Any], Any] | None = None
    collate: Callable[[Sequence[Any]], Any] = stack
    buffer: int = 0
    threads: int = 0
    ahead: bool = False

    @property
    def places(self) -> Sequence[str]:
        """See Loader."""
        return places_of(self.augment is not None)

    @property
    def length(self) -> int | None:
        """See Loader."""
        items = length_of(self.source)
        return None if items is None else max(1, items // self.batch_size)

    def batches(self) -> Iterable[Any]:
        """See Loader."""
        batches = self._behind("example_before_augmentation", self._examples(), 1)
        return prefetch(batches) if self.ahead else batches

    def upstream(self, place: str) -> Iterable[Any]:
        """See Loader."""
        return self.batches() if place == "batch" else self._grouped(self._items(place))

    def downstream(self, place: str) -> Iterable[Any]:
        """See Loader."""
        if place == "batch":
            return repeated(self.batches())
        return self._behind(place, cycle(held(self._items(place), HELD_BATCHES * self.batch_size)), 2)

    def echoed(self, place: str, e: float) -> Iterable[Any]:
        """See Loader."""
        if place == "batch":
            return echo(prefetch(self.batches()), e, seed=0)
        return self._behind(place, prefetch(self._items(place), 2 * self.batch_size), e)

    def code(self, place: str, e: float) -> str:
        """See Loader."""
        if place == "batch":
            return f"batches = echo(prefetch(batches), {e:g}, seed=0)  # from echoing import echo, prefetch"
        shuffle = f", shuffle={round(e * self.buffer)}" if self.buffer else ""
        where = {"example_after_augmentation": "augmented examples"}.get(place, "examples, in front of augmentation")
        return (
            f"examples = echo(prefetch(examples, {2 * self.batch_size}), {e:g}, seed=0{shuffle}, "
            f"apart={self.batch_size})  # {where}; from echoing import echo, prefetch"
        )

    def remedies(self) -> Mapping[str, Loader]:
        """See Loader."""
        found: dict[str, Loader] = {AHEAD.format("batches"): replace(self, ahead=True)}
        if self.read is not None and not self.threads:
            found[IN_THREADS] = replace(self, threads=TIMED_THREADS, ahead=True)
        return found

    def _examples(self) -> Iterator[Any]:
        items = endless(lambda: self.source)
        if self.read is None:
            return items
        return _in_threads(self.read, items, self.threads) if self.threads else map(self.read, items)

    def _augmented(self, examples: Iterable[Any]) -> Iterable[Any]:
        return examples if self.augment is None else map(self.augment, examples)

    def _items(self, place: str) -> Iterable[Any]:
        return self._augmented(self._examples()) if place == "example_after_augmentation" else self._examples()

    def _behind(self, place: str, items: Iterable[Any], e: float) -> Iterator[Any]:
        copies: Iterable[Any] = echo(items, e, seed=0, shuffle=timed_buffer(e * self.buffer, self.batch_size))
        return map(
            self.collate, self._grouped(self._augmented(copies) if place == "example_before_augmentation" else copies)
        )

    def _grouped(self, items: Iterable[Any]) -> Iterator[list[Any]]:
        iterator = iter(items)
        return iter(lambda: list(islice(iterator, self.batch_size)), [])


def _in_threads(function: Callable[[Any], Any], items: Iterator[Any], threads: int) -> Iterator[Any]:
    """`map` with so many threads, in order."""
    with ThreadPoolExecutor(threads) as pool:
        running = deque(pool.submit(function, item) for item in islice(items, 2 * threads))
        while running:
            done = running.popleft()
            running.extend(pool.submit(function, item) for item in islice(items, 1))
            yield done.result()
