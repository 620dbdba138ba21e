"""PyTorch's `DataLoader` as the advisor sees it. Needs PyTorch."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, RandomSampler

from ..iterables import echo
from ..pytorch import EchoDataset
from ..reading import prefetch
from .loaders import Loader, endless, length_of, repeated

LEAST_WORKERS = 4
"""Workers that a loader with fewer is tried with, where the machine has not more cores."""


class TorchBatches:
    """A `DataLoader`. Examples are echoed inside of it, if it makes batches of them in a random order of its own.

    What a dataset draws at random for an example is shared by the copies, so that is echoing after augmentation.
    """

    def __init__(self, loader: "DataLoader[Any]") -> None:
        self._loader = loader
        random = isinstance(loader.dataset, IterableDataset) or isinstance(loader.sampler, RandomSampler)
        self.places: Sequence[str] = ("example_after_augmentation",) if loader.batch_size and random else ("batch",)
        self.buffer = 0

    @property
    def length(self) -> int | None:
        """See Loader."""
        return length_of(self._loader)

    def batches(self) -> Iterable[Any]:
        """See Loader."""
        return endless(lambda: self._loader)

    def upstream(self, place: str) -> Iterable[Any]:
        """See Loader."""
        return self.batches()

    def downstream(self, place: str) -> Iterable[Any]:
        """See Loader."""
        return repeated(self.batches())

    def echoed(self, place: str, e: float) -> Iterable[Any]:
        """See Loader."""
        ahead: Any = (lambda items: items) if self._loader.num_workers else prefetch
        if place == "batch":
            return endless(lambda: echo(ahead(self._loader), e, seed=0))
        size = self._loader.batch_size or 1
        examples: EchoDataset[Any] = EchoDataset(self._loader.dataset, e, seed=0, apart=size)
        echoed = self._again(examples, self._loader.num_workers, shuffle=False)
        return endless(lambda: ahead(echoed))

    def code(self, place: str, e: float) -> str:
        """See Loader."""
        if place == "batch":
            return f"loader = echo(prefetch(loader), {e:g}, seed=0)  # from echoing import echo, prefetch"
        size = self._loader.batch_size
        return (
            f"DataLoader(EchoDataset(dataset, {e:g}, seed=0, shuffle=..., apart={size}), batch_size={size}, ...)"
            "  # without shuffle=True; from echoing.pytorch import EchoDataset"
        )

    def remedies(self) -> Mapping[str, Loader]:
        """See Loader."""
        workers = max(LEAST_WORKERS, min(os.cpu_count() or 1, 16))
        if self._loader.num_workers >= workers or self._loader.batch_size is None:
            return {}
        shuffle = isinstance(self._loader.sampler, RandomSampler)
        more = TorchBatches(self._again(self._loader.dataset, workers, shuffle=shuffle))
        return {f"read in {workers} worker processes: DataLoader(..., num_workers={workers})": more}

    def _again(self, dataset: Any, workers: int, *, shuffle: bool) -> "DataLoader[Any]":
        """The loader with another dataset and number of workers."""
        loader = self._loader
        return DataLoader(
            dataset,
            loader.batch_size,
            shuffle=shuffle or None,
            num_workers=workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            drop_last=loader.drop_last,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context if workers and loader.num_workers else None,
            generator=loader.generator,
        )
