"""What is known of the searches while they run, and the bar that shows it."""

import contextlib
import logging
import sys
import time
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
    """What is known of every search; read from disk at the start, so earlier runs count."""

    studies: Sequence[Study]
    root: Path
    results: dict[tuple[int, int], dict[int, TrialResult]] = field(default_factory=dict)
    failed: dict[Task, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, study in enumerate(self.studies):
            for search in range(study.searches):
                self.results[number, search] = store.finished_results(self.root, study, search)

    def add(self, task: Task, result: TrialResult) -> None:
        """Takes in a finished trial."""
        self.results[task.study, task.search][task.index] = result

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
        tqdm.write(self.failed[task], file=sys.stderr)

    def open_tasks(self) -> list[Task]:
        """The trials that are wanted by what is known now and not finished, in the order to run them."""
        tasks = []
        for (number, search), results in self.results.items():
            for index in range(quasi_random.wanted(self.studies[number], results)):
                if index not in results:
                    tasks.append(Task(number, index, search))
        return sorted(set(tasks) - set(self.failed))

    def counts(self) -> dict[str, int]:
        """Finished trials by status."""
        counts = {"complete": 0, "bounded": 0, "infeasible": 0}
        for results in self.results.values():
            for result in results.values():
                counts[result.status] += 1
        return counts

    def best_fresh_examples(self, number: int) -> float | None:
        """Fewest fresh examples to the target so far in a study."""
        study = self.studies[number]
        steps = [
            result.steps_to_target
            for search in range(study.searches)
            for result in self.results[number, search].values()
            if result.steps_to_target is not None
        ]
        return study.fresh_examples(min(steps)) if steps else None


@contextlib.contextmanager
def shown(progress: Progress) -> Iterator["tqdm[Any]"]:
    """A bar on standard error; `show` brings it up to date."""
    logging.captureWarnings(True)
    with tqdm(unit="trial", dynamic_ncols=True, smoothing=0.1) as bar:
        bar.initial = bar.n = sum(progress.counts().values())
        bar.last_print_t = bar.start_t = time.time()
        show(bar, progress)
        yield bar


def show(bar: "tqdm[Any]", progress: Progress) -> None:
    """Brings the bar up to date."""
    counts = progress.counts()
    tasks = progress.open_tasks()
    bar.total = sum(counts.values()) + len(tasks)
    bar.n = sum(counts.values())
    number = tasks[0].study if tasks else len(progress.studies) - 1
    best = progress.best_fresh_examples(number)
    study = progress.studies[number]
    bar.set_description_str(f"{study.workload} {study.variant} e={study.echo_factor:g}", refresh=False)
    bar.set_postfix_str(
        f"{counts['complete']} complete, {counts['bounded']} bounded, {counts['infeasible']} infeasible, "
        f"best {'none yet' if best is None else f'{best:,.0f} fresh'}",
        refresh=False,
    )
    bar.refresh()
