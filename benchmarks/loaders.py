"""Cost of echoing in each kind of loader, beside each loader without it and beside what people use instead.

    python -m benchmarks.loaders [--rounds=3] [--seconds=1]     about 6 minutes with everything installed

Prints a Markdown table for small items (32 tokens) and large ones (256 x 256 x 3 bytes), e = 4, read from memory
without workers and stacked to batches of 32: items given a second, the time of one over that in the same loader without
echoing (median of the rounds), and the memory that is taken beyond the imports. Each form is timed in a process of its
own, all in turn in every round. reuseloader keeps items on disk and repeats them an epoch later.
"""

import importlib.util
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.timing import ratio
from experiments.command_line import Parser, exit_code, positive, positive_float

E, BATCH = 4, 32
SIZES: dict[str, np.ndarray] = {
    "small": np.zeros((4096, 32), np.int32),
    "large": np.zeros((64, 256, 256, 3), np.uint8),
}
Make = Callable[[np.ndarray], Iterable[Any]]


def generator(stage: Callable[[Iterable[Any]], Iterable[Any]]) -> Make:
    """Python's own loop, with `stage` between reading and batching."""

    def make(data: np.ndarray) -> Iterator[Any]:
        items = iter(stage(row.copy() for row in itertools.chain.from_iterable(itertools.repeat(data))))
        while True:
            yield np.stack(list(itertools.islice(items, BATCH)))

    return make


def plain_generator() -> Make:
    """No echo."""
    return generator(lambda items: items)


def echo_generator(copy: bool) -> Make:
    """The stage for iterables."""
    from pipelines.echoing.iterables import echo

    return generator(lambda items: echo(items, E, seed=0, copy=copy))


def tfdata(form: str) -> Make:
    """TensorFlow's datasets."""
    import tensorflow as tf

    from pipelines.echoing.tfdata.echo import echo

    def make(data: np.ndarray) -> Iterable[Any]:
        items = tf.data.Dataset.from_tensor_slices(data).repeat()
        if form == "stage":
            items = echo(items, E, seed=0)
        if form == "flat_map":
            items = items.flat_map(lambda item: tf.data.Dataset.from_tensors(item).repeat(E))
        batches: Iterable[Any] = items.batch(BATCH)
        return batches

    return make


def pytorch(form: str) -> Make:
    """PyTorch's DataLoader."""
    import torch
    from torch.utils.data import DataLoader, IterableDataset

    if form == "monai":
        from monai.data import ThreadDataLoader as Repeating

    from pipelines.echoing.iterables import echo
    from pipelines.echoing.pytorch import EchoDataset

    torch.set_num_threads(1)  # as in a loader's worker

    class Rows(IterableDataset[torch.Tensor]):
        def __init__(self, data: np.ndarray) -> None:
            self.data = torch.from_numpy(data)

        def __iter__(self) -> Iterator[torch.Tensor]:
            return (row.clone() for row in itertools.chain.from_iterable(itertools.repeat(self.data)))

    def make(data: np.ndarray) -> Iterable[Any]:
        dataset: Any = EchoDataset(Rows(data), E, seed=0) if form == "examples" else Rows(data)
        loader: Iterable[Any] = (
            Repeating(dataset, batch_size=BATCH, repeats=E) if form == "monai" else DataLoader(dataset, BATCH)
        )
        return echo(loader, E, seed=0, copy=form == "batches") if "batches" in form else loader

    return make


def reuseloader() -> Make:
    """Items are written to disk and read again in later epochs."""
    import torch
    from reuseloader import ReuseDataLoader

    torch.set_num_threads(1)

    def make(data: np.ndarray) -> Iterator[Any]:
        with tempfile.TemporaryDirectory() as folder:
            rows, count = torch.from_numpy(data), 8 * BATCH
            loader = ReuseDataLoader(
                lambda key: rows[key.index % len(rows)].clone(), count, Path(folder), lifetime=E, batch_size=BATCH
            )
            while True:
                yield from loader

    return make


def grains(echoed: bool) -> Make:
    """Grain's datasets, read in the thread that asks."""
    import grain

    from pipelines.echoing.pygrain import EchoIterDataset

    def make(data: np.ndarray) -> Iterable[Any]:
        rows = grain.MapDataset.source(data).repeat().map(np.copy)
        items = rows.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
        batches: Iterable[Any] = (EchoIterDataset(items, E, seed=0) if echoed else items).batch(BATCH)
        return batches

    return make


FORMS: dict[str, tuple[str, Callable[[], Make], tuple[str, ...]]] = {
    # name: the form that it is compared with, how it is made, the packages that it needs
    "generator": ("generator", plain_generator, ()),
    "generator, `echo`": ("generator", lambda: echo_generator(True), ()),
    "generator, `echo(copy=False)`": ("generator", lambda: echo_generator(False), ()),
    "tf.data": ("tf.data", lambda: tfdata("plain"), ("tensorflow",)),
    "tf.data, echo stage": ("tf.data", lambda: tfdata("stage"), ("tensorflow",)),
    "tf.data, one-line `flat_map`": ("tf.data", lambda: tfdata("flat_map"), ("tensorflow",)),
    "PyTorch": ("PyTorch", lambda: pytorch("plain"), ("torch",)),
    "PyTorch, `EchoDataset`": ("PyTorch", lambda: pytorch("examples"), ("torch",)),
    "PyTorch, `echo(loader)`, batches": ("PyTorch", lambda: pytorch("batches"), ("torch",)),
    "PyTorch, `echo(loader, copy=False)`, batches": ("PyTorch", lambda: pytorch("same batches"), ("torch",)),
    "MONAI `ThreadDataLoader(repeats=4)`, batches": ("PyTorch", lambda: pytorch("monai"), ("torch", "monai")),
    "`reuseloader`, lifetime 4": ("PyTorch", reuseloader, ("torch", "reuseloader")),
    "Grain": ("Grain", lambda: grains(False), ("grain",)),
    "Grain, `EchoIterDataset`": ("Grain", lambda: grains(True), ("grain",)),
}


def peak_mebibytes() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (20 if sys.platform == "darwin" else 10)


def timed(form: str, size: str, seconds: float) -> dict[str, float]:
    """Seconds an item, and the memory that reading took."""
    make = FORMS[form][1]()
    before = peak_mebibytes()
    batches = iter(make(SIZES[size]))
    for _ in range(4 * E):
        next(batches)
    started, given = time.perf_counter(), 0
    while (taken := time.perf_counter() - started) < seconds:
        for _ in range(E):
            next(batches)
        given += E * BATCH
    return {"seconds": taken / given, "mebibytes": peak_mebibytes() - before}


def in_a_process(form: str, size: str, seconds: float) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.loaders", "--form", form, "--size", size, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{form}, {size} items:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def missing(form: str) -> list[str]:
    """The packages that a form needs and that are not installed."""
    return [package for package in FORMS[form][2] if importlib.util.find_spec(package) is None]


def cells(form: str, results: dict[str, list[dict[str, float]]]) -> list[str]:
    """The table's entries of one form and size."""
    taken = [result["seconds"] for result in results[form]]
    over = ratio(taken, [result["seconds"] for result in results[FORMS[form][0]]])
    memory = median(result["mebibytes"] for result in results[form])
    return [f"{1 / median(taken):,.0f}", f"{over:.2f}", f"{memory:.0f}"]


def main() -> None:
    """Times everything that is installed and prints the table."""
    parser = Parser(__doc__)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--seconds", type=positive_float, default=1.0)
    parser.add_argument("--form", choices=FORMS, help="time this one alone, in this process")
    parser.add_argument("--size", choices=SIZES, default="small")
    flags = parser.parse_args()
    if flags.form:
        print(json.dumps(timed(flags.form, flags.size, flags.seconds)))
        return
    forms = [form for form in FORMS if not missing(form)]
    results: dict[str, dict[str, list[dict[str, float]]]] = {size: {form: [] for form in forms} for size in SIZES}
    for _ in range(flags.rounds):
        for size, form in itertools.product(SIZES, forms):
            results[size][form].append(in_a_process(form, size, flags.seconds))
    columns = [f"{size}: {column}" for size in SIZES for column in ("items/s", "time over plain", "MiB")]
    print("| " + " | ".join(["e = 4", *columns]) + " |\n|" + "---|" * (len(columns) + 1))
    for form in FORMS:
        if form in forms:
            entries = [cell for size in SIZES for cell in cells(form, results[size])]
        else:
            entries = [f"not installed: pip install {' '.join(missing(form))}", *[""] * (len(columns) - 1)]
        print("| " + " | ".join([form, *entries]) + " |")


if __name__ == "__main__":
    sys.exit(exit_code(main))
