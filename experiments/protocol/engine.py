"""Hands trials to workers, watches them and shows progress.

One code path: a queue of trials, run here (`inline`) or by Dask workers, local ones or those of a cluster that is
already there. Results live on disk, so a lost worker costs only the trial it was training, and running the same
command again goes on where the last run ended.
"""

import contextlib
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.protocol import search as quasi_random
from experiments.protocol import store
from experiments.protocol.study import ConfigError, EngineError, Study, TrialResult

ANSWER_SECONDS = 20.0
"""How long a scheduler may take to answer."""

_log = logging.getLogger(__name__)


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


def run_task(root: Path, study: Study, search: int, index: int) -> TrialResult:
    """Trains one trial, or returns its result if another process has finished it meanwhile."""
    from experiments.protocol import training, trial  # import TensorFlow and JAX: seconds, paid once a worker

    folder = store.TrialFolder(root, study, search, index)
    with folder.claimed():
        if (finished := folder.result()) is not None:
            return finished
        point = quasi_random.point(study, search, index)
        folder.start(
            {
                "study": study.name,
                "search": search,
                "index": index,
                "seed": study.seed("init", search, index),
                "point": point,
                "provenance": store.provenance() | training.device(),
            }
        )
        lower: dict[int, TrialResult] = {}

        def bound_steps() -> int | None:
            for i in range(index):
                if i not in lower and (result := store.TrialFolder(root, study, search, i).result()) is not None:
                    lower[i] = result
            return quasi_random.bound_steps(study, lower.values())

        with training.pipeline_errors(study):
            result = trial.run(study, search, index, point, bound_steps=bound_steps, record=folder.append)
        folder.finish(result)
        return result


def run(
    studies: Sequence[Study],
    *,
    root: Path = store.ROOT,
    engine: str = "dask",
    workers: int | None = None,
    scheduler: str | None = None,
) -> Progress:
    """Runs every trial of the studies that is not finished yet and returns what is known at the end.

    Args:
      studies: run one after the other as far as workers stay busy.
      root: folder of the runs.
      engine: `dask`, or `inline` to train in this process.
      workers: local worker processes, one thread each; by default one a core (one in all at paper scale, where a
        trial takes all accelerators).
      scheduler: address of a Dask cluster to use instead of local workers; it must see `root` on a shared disk.

    Raises:
      EngineError: the scheduler cannot be reached, workers keep dying, or a trial failed.
    """
    for study in studies:
        store.save_study(root, study)
    progress = Progress(studies, root)
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(_bar(progress))
        if not progress.open_tasks():
            return progress
        environment = worker_environment(studies[0].scale)
        if engine == "inline":
            os.environ.update(environment)
            _run_inline(progress, root, bar)
        else:
            if workers is None:
                workers = 1 if studies[0].scale == "paper" else os.cpu_count() or 1
            client = stack.enter_context(_client(scheduler, workers, environment))
            _run_dask(progress, root, client, bar)
    if progress.failed:
        first = next(iter(progress.failed.values()))
        raise EngineError(f"{len(progress.failed)} trials failed, the others are kept; the first: {first}")
    return progress


def worker_environment(scale: str) -> dict[str, str]:
    """Environment variables of a process that trains, to be set before it imports JAX and TensorFlow.

    Below paper scale a trial is made for one core, and as many trials as cores run side by side. One thread for XLA
    also keeps sums in one order, so a trial's numbers do not depend on how many workers there are. A high trim
    threshold: the default of Dask's workers gives memory back after each update, which doubles its time on CPU.
    """
    environment = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}
    if scale != "paper":
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
        environment |= {"XLA_FLAGS": flags, "NPROC": "1", "OMP_NUM_THREADS": "1"}
        environment |= {"TF_NUM_INTEROP_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    return environment | {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}


def _run_inline(progress: Progress, root: Path, bar: "tqdm[Any]") -> None:
    while tasks := progress.open_tasks():
        task = tasks[0]
        try:
            progress.add(task, run_task(root, progress.studies[task.study], task.search, task.index))
        except Exception as error:
            progress.fail(task, error)
        _show(bar, progress)


def _run_dask(progress: Progress, root: Path, client: Any, bar: "tqdm[Any]") -> None:
    from distributed import as_completed
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    root = root.resolve()
    running: dict[Any, Task] = {}
    completed = as_completed()

    def submit() -> None:
        ready = max(1, sum(client.nthreads().values())) + 1
        busy = set(running.values())
        for task in [task for task in progress.open_tasks() if task not in busy][: max(0, ready - len(running))]:
            study = progress.studies[task.study]
            future = client.submit(run_task, root, study, task.search, task.index, pure=False, retries=0)
            running[future] = task
            completed.add(future)

    _await_workers(client)
    submit()
    for future in completed:
        task = running.pop(future)
        try:
            result = future.result()
        except KilledWorker as error:
            raise EngineError(
                f"trial {task.index} of search {task.search} of {progress.studies[task.study].name} killed its worker "
                "again and again (out of memory?); finished trials are kept, run with fewer --workers"
            ) from error
        except FutureCancelledError as error:
            raise EngineError(
                "the scheduler went away; finished trials are kept, run the same command again"
            ) from error
        except Exception as error:
            progress.fail(task, error)
        else:
            progress.add(task, result)
        _show(bar, progress)
        submit()


def _within(seconds: float, work: Callable[[], Any]) -> Any:
    """What `work` returns; TimeoutError where it takes longer, as Dask does where a port accepts and says nothing."""
    done: queue.Queue[tuple[Any, Exception | None]] = queue.Queue()

    def run() -> None:
        try:
            done.put((work(), None))
        except Exception as error:
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no word for {seconds:g} s") from None
    if error is not None:
        raise error
    return result


def _await_workers(client: Any, seconds: float = 5.0) -> None:
    """Waits until the cluster has a worker, and says so."""
    waited = 0.0
    while not client.nthreads():
        address = client.scheduler.address
        tqdm.write(f"no worker is connected to {address}; waiting, {waited:.0f} s so far", file=sys.stderr)
        time.sleep(seconds)
        waited += seconds


@contextlib.contextmanager
def _client(scheduler: str | None, workers: int, environment: dict[str, str]) -> Iterator[Any]:
    """A Dask client of the cluster at `scheduler`, or of a local one.

    The local one listens on loopback only, and takes only who has the certificate that it makes for itself: a Dask
    scheduler runs what it is sent, and other accounts of the machine reach loopback as well.
    """
    import dask
    from distributed import Client, LocalCluster, Security

    settings = {"distributed.nanny.pre-spawn-environ": environment, "distributed.logging.distributed": "error"}
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with dask.config.set(settings), contextlib.ExitStack() as stack:
        security = None
        if scheduler is None:
            security = Security.temporary()
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host="tls://127.0.0.1",
                security=security,
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                memory_limit=0,
                silence_logs=logging.ERROR,
            )
            scheduler = stack.enter_context(cluster).scheduler_address
        try:
            client = _within(ANSWER_SECONDS, lambda: Client(scheduler, timeout=10, security=security))
        except (OSError, ValueError, TypeError, MemoryError, TimeoutError) as error:
            said = str(error).strip().partition("\n")[0] or type(error).__name__
            raise EngineError(f"no Dask scheduler answers at {scheduler} ({said}); is it running?") from None
        yield stack.enter_context(client)


@contextlib.contextmanager
def _bar(progress: Progress) -> Iterator["tqdm[Any]"]:
    logging.captureWarnings(True)
    with tqdm(unit="trial", dynamic_ncols=True, smoothing=0.1) as bar:
        bar.initial = bar.n = sum(progress.counts().values())
        bar.last_print_t = bar.start_t = time.time()
        _show(bar, progress)
        yield bar


def _show(bar: "tqdm[Any]", progress: Progress) -> None:
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
