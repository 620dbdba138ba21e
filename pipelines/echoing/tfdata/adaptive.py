"""Adaptive echoing: items are repeated only while upstream is behind, and no more often than `most` times.

A fixed echo factor (`echo.py`) is right for a steady upstream. Where a storage stalls now and then, this stage gives
every item once as long as upstream keeps up, and bridges the stalls with copies. How often it echoes depends on the
clock, so a run is not a function of its seed; what it read and gave is counted exactly.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from .datasets import as_set, iterating

LOG_EVERY = 1000
"""Fresh items after which the realised factor is logged, at the level INFO, as it is where an iteration ends."""

_log = logging.getLogger(__name__)


class AdaptiveEcho:
    """The stage and its counts, over all iterations: one object a pipeline.

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
      ValueError: one of them is out of range.
    """

    def __init__(self, most: int, *, memory: int = 8, read_ahead: int = 4, fill: int = 0) -> None:
        for name, value, least in (("most", most, 1), ("memory", memory, 1), ("read_ahead", read_ahead, 1)):
            if value < least:
                raise ValueError(f"{name} must be >= {least}, got {value}")
        if fill < 0:
            raise ValueError(f"fill must be >= 0, got {fill}")
        self._most, self._memory, self._read_ahead, self._fill = most, memory, read_ahead, fill
        self.read_items = 0
        self.fresh_items = 0
        self.echoed_items = 0

    @property
    def factor(self) -> float:
        """The realised echo factor so far, items given over fresh ones; 1 before the first."""
        return 1 + self.echoed_items / max(1, self.fresh_items)

    def echo(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Puts the stage behind `dataset`, whose items are what is repeated: batches, or chunks of examples.

        Its Python code takes about 0.1 ms an item, so hand it examples as `examples.batch(n)` and unbatch behind it.
        """
        # As set, on both sides: read ahead behind it, TensorFlow would ask before training does; before it, read more.
        dataset = as_set(dataset)
        return as_set(
            tf.data.Dataset.from_generator(lambda: self._items(dataset), output_signature=dataset.element_spec)
        )

    def _items(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        reader = _Reader(dataset, self._read_ahead, self._count)
        first = self.fresh_items
        kept: deque[tuple[Any, int]] = deque()  # items with the times they have been given, longest ago first
        try:
            while True:
                filling = self.fresh_items - first < self._fill
                item = reader.wait() if filling or not kept else reader.ready()
                if item is _END:
                    return
                if item is None:
                    item, given = kept.popleft()
                    self.echoed_items += 1
                else:
                    given = 0
                    self.fresh_items += 1
                    if self.fresh_items % LOG_EVERY == 0:
                        self._log_factor()
                if given + 1 < self._most:
                    kept.append((item, given + 1))
                    if len(kept) > self._memory:
                        kept.popleft()
                yield item
        finally:
            reader.stop()
            self._log_factor()

    def _log_factor(self) -> None:
        _log.info("adaptive echo: factor %.3f over %d fresh items", self.factor, self.fresh_items)

    def _count(self) -> None:
        self.read_items += 1


_END = object()
STOP_SECONDS = 1.0
"""How long the end of an iteration waits for the reading thread; one whose upstream stalls longer ends by itself."""


class _Reader:
    """Reads a dataset in a thread of its own, `size` items ahead."""

    def __init__(self, dataset: tf.data.Dataset, size: int, count: Callable[[], None]) -> None:
        self._count = count
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(dataset,), daemon=True)
        self._thread.start()

    def ready(self) -> Any | None:
        """The next item if it is there, None if it is not."""
        try:
            return self._checked(self._queue.get_nowait())
        except queue.Empty:
            return None

    def wait(self) -> Any:
        """The next item, or _END."""
        return self._checked(self._queue.get())

    def stop(self) -> None:
        """Ends the thread; the items that wait are dropped."""
        self._stopped.set()
        given_up = time.monotonic() + STOP_SECONDS
        while self._thread.is_alive() and time.monotonic() < given_up:
            try:
                self._queue.get(timeout=0.01)
            except queue.Empty:
                continue

    def _read(self, dataset: tf.data.Dataset) -> None:
        try:
            with iterating(dataset) as items:
                for item in items:
                    if self._stopped.is_set():
                        return
                    self._count()
                    self._queue.put(item)
            self._queue.put(_END)
        except Exception as error:
            self._queue.put(error)

    @staticmethod
    def _checked(item: Any) -> Any:
        if isinstance(item, Exception):
            raise item
        return item
