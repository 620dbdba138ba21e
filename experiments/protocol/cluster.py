"""Trials on the workers of a Dask cluster, of this machine or of many."""

import contextlib
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.protocol import stopping, worker
from experiments.protocol.progress import Progress, Task, show
from experiments.protocol.study import EngineError, Stopped

ANSWER_SECONDS = 20.0
"""How long a scheduler may take to answer."""

STOP_SECONDS = 60.0
"""How long local workers may take to save their trials when the run is to stop."""


def run_trials(
    progress: Progress, root: Path, client: Any, checkpoint_seconds: float, bar: "tqdm[Any]", *, stops_workers: bool
) -> None:
    """Hands the trials that are wanted to the cluster's workers until there are none.

    Args:
      progress: what is known, brought up to date.
      root: folder of the runs, which all workers see.
      client: of the cluster.
      checkpoint_seconds: how often a running trial saves itself.
      bar: shows it.
      stops_workers: whether the workers are this run's own, and are asked to stop when it is.

    Raises:
      EngineError: workers keep dying, or the scheduler went away.
      Stopped: the run was asked to stop; its own workers have saved their trials.
    """
    from distributed import as_completed, wait

    root = root.resolve()
    running: dict[Any, Task] = {}
    completed = as_completed()

    def submit() -> None:
        ready = max(1, sum(client.nthreads().values())) + 1
        busy = set(running.values())
        for task in [task for task in progress.open_tasks() if task not in busy][: max(0, ready - len(running))]:
            study = progress.studies[task.study]
            future = client.submit(
                worker.run_task, root, study, task.search, task.index, checkpoint_seconds, pure=False, retries=0
            )
            running[future] = task
            completed.add(future)

    try:
        _await_workers(client)
        submit()
        for future in completed:
            _take(progress, running.pop(future), future)
            show(bar, progress)
            submit()
    except Stopped:
        if stops_workers:
            client.run(stopping.ask, on_error="ignore")
            with contextlib.suppress(TimeoutError):
                wait(list(running), timeout=STOP_SECONDS)
        raise


def _take(progress: Progress, task: Task, future: Any) -> None:
    """Takes in how a trial ended."""
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        progress.add(task, future.result())
    except KilledWorker as error:
        raise EngineError(
            f"trial {task.index} of search {task.search} of {progress.studies[task.study].name} killed its worker "
            "again and again (out of memory?); finished trials are kept, run with fewer --workers"
        ) from error
    except FutureCancelledError as error:
        raise EngineError("the scheduler went away; finished trials are kept, run the same command again") from error
    except Stopped:
        pass  # its worker is going away; the trial goes on at another one
    except Exception as error:
        progress.fail(task, error)


@contextlib.contextmanager
def connected(scheduler: str | None, workers: int, environment: dict[str, str]) -> Iterator[Any]:
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
