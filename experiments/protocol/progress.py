"""What is known of the searches while they run, and the bar that shows it."""

import contextlib
import heapq
import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.protocol import search as quasi_random
from experiments.protocol import store
from experiments.protocol.study import ConfigError, EngineError, Study, TrialResult


@dataclass(frozen=True, order=True)
class Task:
    """One trial to run. Sorted: a study at a time, the low indices of all its searches first, since they set bounds."""

    study: int
    index: int
    search: int


@dataclass
class Progress:
    """What is known of every search, read from disk at the start, so earlier runs count; and which trial comes next.

    `counts` are the finished trials by status, `open` is how many are wanted by what is known now and not finished.
    Each finished trial costs the same, however many there are.
    """

    studies: Sequence[Study]
    root: Path
    results: dict[tuple[int, int], dict[int, TrialResult]] = field(default_factory=dict)
    failed: dict[Task, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=lambda: Counter(complete=0, bounded=0, infeasible=0))
    open: int = 0

    def __post_init__(self) -> None:
        self._queue: list[Task] = []
        self._listed: Counter[tuple[int, int]] = Counter()
        self._least_steps: dict[int, int] = {}
        self._best_metric: dict[int, float] = {}
        for number, study in enumerate(self.studies):
            for search in range(study.searches):
                found = store.finished_results(self.root, study, search)
                self.results[number, search] = found
                for index, result in found.items():
                    self._count(Task(number, index, search), result)
                self._list(number, search)

    def add(self, task: Task, result: TrialResult) -> None:
        """Takes in a finished trial."""
        self.results[task.study, task.search][task.index] = result
        self.open -= 1
        self._count(task, result)
        self._list(task.study, task.search)

    def fail(self, task: Task, error: Exception) -> None:
        """Takes in a trial that ended with an error of the model or the source, and names it; the others go on.

        Raises:
          ConfigError, EngineError, OSError: `error` itself, where it would end the others as well.
        """
        if isinstance(error, ConfigError | EngineError | OSError):
            raise error
        study = self.studies[task.study]
        point = ", ".join(f"{k} = {v:.6g}" for k, v in quasi_random.point(study, task.search, task.index).items())
        said = str(error).strip().splitlines()
        self.failed[task] = (
            f"trial {task.index} of search {task.search} of {study.name} ({point}) failed: {type(error).__name__}"
            + (f": {said[0]}" if said else "")
        )
        self.open -= 1
        tqdm.write(self.failed[task], file=sys.stderr)

    def next_task(self) -> Task | None:
        """The next trial to run, the caller's until `add`, `fail` or `put_back`; None if there is none."""
        return heapq.heappop(self._queue) if self._queue else None

    def put_back(self, task: Task) -> None:
        """A trial that `next_task` gave is to be run after all."""
        heapq.heappush(self._queue, task)

    def best_fresh_examples(self, number: int) -> float | None:
        """Fewest fresh examples to the target so far in a study."""
        steps = self._least_steps.get(number)
        return None if steps is None else self.studies[number].fresh_examples(steps)

    def best_in_words(self, number: int) -> str:
        """How far a study has come: fewest fresh examples to the target, else the best metric beside the target."""
        study = self.studies[number]
        if (fresh := self.best_fresh_examples(number)) is not None:
            return f"{fresh:,.0f} fresh"
        if number in self._best_metric:
            return f"{study.config['metric']} {self._best_metric[number]:.4g}, target {study.config['target']:g}"
        return "none yet"

    def _count(self, task: Task, result: TrialResult) -> None:
        number, study = task.study, self.studies[task.study]
        self.counts[result.status] += 1
        if result.steps_to_target is not None:
            self._least_steps[number] = min(result.steps_to_target, self._least_steps.get(number, sys.maxsize))
        elif number not in self._least_steps:
            better = min if study.config["goal"] == "min" else max
            folder = store.TrialFolder(self.root, study, task.search, task.index)
            with contextlib.suppress(OSError, ValueError, TypeError):
                values = [m.value for m in folder.measurements() if math.isfinite(m.value)]
                if number in self._best_metric:
                    values.append(self._best_metric[number])
                if values:
                    self._best_metric[number] = better(values)

    def _list(self, number: int, search: int) -> None:
        """Queues the trials of a search that what is known now asks for."""
        results = self.results[number, search]
        wanted = quasi_random.wanted(self.studies[number], results)
        for index in range(self._listed[number, search], wanted):
            if index not in results:
                heapq.heappush(self._queue, Task(number, index, search))
                self.open += 1
        self._listed[number, search] = wanted


@contextlib.contextmanager
def shown(progress: Progress) -> Iterator["tqdm[Any]"]:
    """A bar on standard error; `show` brings it up to date."""
    logging.captureWarnings(True)
    with tqdm(unit="trial", dynamic_ncols=True, smoothing=0.1) as bar:
        bar.initial = bar.n = progress.counts.total()
        bar.last_print_t = bar.start_t = time.time()
        show(bar, progress)
        yield bar


def show(bar: "tqdm[Any]", progress: Progress, task: Task | None = None) -> None:
    """Brings the bar up to date; `task` is the one that ended, None at the start."""
    counts = progress.counts
    bar.n = counts.total()
    bar.total = bar.n + progress.open
    number = task.study if task else 0
    study = progress.studies[number]
    bar.set_description_str(f"{study.workload} {study.variant} e={study.echo_factor:g}", refresh=False)
    bar.set_postfix_str(
        f"{counts['complete']} complete, {counts['bounded']} bounded, {counts['infeasible']} infeasible, "
        f"best {progress.best_in_words(number)}",
        refresh=False,
    )
    bar.refresh()
