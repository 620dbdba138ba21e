"""Reading ahead: a thread reads an iterable while the one that asks for its items works."""

import operator
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, SupportsIndex, TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], size: SupportsIndex = 2) -> "Prefetched[T]":
    """Reads up to `size` items ahead in a thread, so that the step and reading work at the same time.

    >>> list(prefetch(range(3)))
    [0, 1, 2]

    The thread helps where reading waits, for storage or for code that does without Python's lock, as NumPy's mostly
    is; `echo(prefetch(items), e, seed=0)` then repeats an item while the next one is read.

    Args:
      items: any iterable, iterated anew in each iteration.
      size: most items that wait, besides the one being read.

    Raises:
      ValueError, TypeError: size is no whole number >= 1.
    """
    whole = operator.index(size)
    if whole < 1:
        raise ValueError(f"size must be >= 1, got {size}")
    return Prefetched(items, whole)


class Prefetched(Generic[T]):
    """What `prefetch` returns: iterable as often as its items are, with their length."""

    def __init__(self, items: Iterable[T], size: int) -> None:
        self._items, self._size = items, size

    def __iter__(self) -> Iterator[T]:
        reader = Reader(self._items, self._size, lambda: None)
        try:
            while (item := reader.wait()) is not END:
                yield item
        finally:
            reader.stop()

    def __len__(self) -> int:
        return len(self._items)  # type: ignore[arg-type]


END = object()
"""Stands for the end of the items."""

STOP_SECONDS = 1.0
"""How long the end of an iteration waits for the reading thread; one whose upstream stalls longer ends by itself."""


class Reader:
    """Reads an iterable in a thread of its own, `size` items ahead."""

    def __init__(self, items: Iterable[Any], size: int, count: Callable[[], None]) -> None:
        self._count = count
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(items,), daemon=True)
        self._thread.start()

    def ready(self) -> bool:
        """Whether `wait` would return at once."""
        return not self._queue.empty()

    def wait(self) -> Any:
        """The next item, or END."""
        item = self._queue.get()
        if isinstance(item, _Failure):
            raise item.error
        return item

    def stop(self) -> None:
        """Ends the thread; the items that wait are dropped."""
        self._stopped.set()
        given_up = time.monotonic() + STOP_SECONDS
        while self._thread.is_alive() and time.monotonic() < given_up:
            try:
                self._queue.get(timeout=0.01)
            except queue.Empty:
                continue

    def _read(self, items: Iterable[Any]) -> None:
        try:
            for item in items:
                if self._stopped.is_set():
                    return
                self._count()
                self._queue.put(item)
            self._queue.put(END)
        except BaseException as error:  # whatever it is, or the one that waits would wait for ever
            self._queue.put(_Failure(error))


class _Failure:
    """What reading ended with; an item may be an exception as well."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
