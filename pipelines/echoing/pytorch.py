"""The echo stage for PyTorch: inside a `DataLoader`, with any number of workers. Needs PyTorch.

Behind a loader, for batches on their way to the step, `echoing.echo(loader, e, seed=0)` is enough.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.data._utils.worker import WorkerInfo

from .iterables import Echo, State, random_bits

T = TypeVar("T")

MOST_WORKERS = 1024
_MARK_BITS = 32


class EchoDataset(Echo[T], IterableDataset[T]):
    """`echoing.echo` as a dataset that a `DataLoader` reads: each worker echoes what it has read.

    >>> from torch.utils.data import DataLoader
    >>> dataset = EchoDataset(["a", "b", "c", "d"], 2, seed=0, apart=4)
    >>> list(DataLoader(dataset, batch_size=4))
    [['b', 'a', 'c', 'd'], ['b', 'a', 'c', 'd']]

    An iterable dataset has to share its items out among the workers itself, as PyTorch asks of every one. One with
    indices is read in a new random order each iteration, of which each worker takes its share.

    Draws differ between workers and iterations, and are a function of `seed` and the number of workers alone. With
    torchdata's `StatefulDataLoader` a resumed run gives the same batches as an unbroken one.

    Arguments and errors are those of `echoing.echo`. With `apart` = the loader's batch size, copies share no batch.
    """

    def __init__(self, items: Any, e: float, *, seed: int, shuffle: int = 0, apart: int = 0, copy: bool = True) -> None:
        super().__init__(items, e, seed=seed, shuffle=shuffle, apart=apart, copy=copy)
        self._indexed = hasattr(items, "__getitem__") and not isinstance(items, IterableDataset)
        # For each worker, the iterations that have begun and a mark of the last one, which all its workers share. It
        # outlives the workers, as a loader makes new ones, with a new copy of this object, for each iteration.
        self._begun = torch.zeros(MOST_WORKERS, dtype=torch.int64).share_memory_()
        self._began_here = False

    def __getstate__(self) -> State:
        return self.__dict__ | {"_running": None}

    def __setstate__(self, state: State) -> None:
        self.__dict__.update(state)
        self._begun.share_memory_()

    def _next_iteration(self) -> int:
        worker = get_worker_info()
        if worker is None:
            return super()._next_iteration()
        if self._began_here:  # the loader keeps its workers
            return int(self._begun[worker.id]) >> _MARK_BITS
        begun: list[int] = self._begun.tolist()  # read once, as the other workers write
        ours = [entry for entry in begun if entry % (1 << _MARK_BITS) == _mark(worker)]
        return (ours[0] >> _MARK_BITS) - 1 if ours else max(begun) >> _MARK_BITS

    def _begin(self, iteration: int) -> None:
        super()._begin(iteration)
        if (worker := get_worker_info()) is not None:
            self._began_here = True
            self._begun[worker.id] = iteration + 1 << _MARK_BITS | _mark(worker)

    def _end(self) -> None:
        # A worker that goes on from a state in which its items have ended has to end at once: others may have some.
        if get_worker_info() is None:
            super()._end()

    def _stream(self) -> Sequence[int]:
        worker = get_worker_info()
        return () if worker is None else (worker.id,)

    def _open(self, iteration: int, state: State | None) -> tuple[Iterator[T], Any]:
        if not self._indexed:
            return super()._open(iteration, state)
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        order = np.random.Generator(
            random_bits(self._settings["seed"], "order", iteration)
        ).permutation(
            len(self._items)  # type: ignore[arg-type]
        )[first::step]
        read = state["copies"]["read"] if state and state["copies"] else 0
        return (self._items[index] for index in order[read:].tolist()), None  # type: ignore[index]


def _mark(worker: WorkerInfo) -> int:
    """What the workers of one iteration share and those of another do not, in _MARK_BITS bits, never 0."""
    return int(worker.seed - worker.id) % ((1 << _MARK_BITS) - 1) + 1
