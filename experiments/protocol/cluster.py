"""Trials on the workers of a Dask cluster, of this machine or of many."""

import contextlib
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.protocol import claim, stopping, worker
from experiments.protocol.progress import Progress, Task, show
from experiments.protocol.study import EngineError, Stopped
from pipelines import interrupts

ANSWER_SECONDS = 20.0
"""How long a scheduler may take to answer."""

STOP_SECONDS = 60.0
"""How long local workers may take to save their trials when the run is to stop."""

GONE = "the scheduler went away; finished trials are kept, run the same command again"


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
    from distributed import as_completed

    def run_task(root: Path, study: str, *numbers: Any) -> Any:
        """Sent by its code, with plain values, since the scheduler unpickles it and need not have the suite."""
        from experiments.protocol import worker
        from experiments.protocol.study import Study

        return worker.run_task(root, Study.from_json(study), *numbers)

    root = root.resolve()
    running: dict[Any, Task] = {}
    completed = as_completed()

    def submit() -> None:
        with _answering():
            ready = max(1, sum(client.nthreads().values())) + 1
        while len(running) < ready and (task := progress.next_task()) is not None:
            study = progress.studies[task.study].to_json()
            future = client.submit(
                run_task, root, study, task.search, task.index, checkpoint_seconds, pure=False, retries=0
            )
            running[future] = task
            completed.add(future)

    try:
        with _answering():
            _await_workers(client)
        submit()
        for future in completed:
            task = running.pop(future)
            _take(progress, task, future)
            if stopping.asked():  # while it was taken in, where it looks as if the trial had been
                raise Stopped
            show(bar, progress, task)
            submit()
    except Stopped:
        if stops_workers:
            deadline = time.monotonic() + STOP_SECONDS
            while any(_ask(client)) and time.monotonic() < deadline:
                time.sleep(0.2)
        raise


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """For what is asked of the scheduler.

    Raises:
      EngineError: it does not answer any more.
    """
    try:
        yield
    except OSError as error:
        raise EngineError(GONE) from error


def _ask(client: Any) -> list[bool]:
    """Asks the workers that there are to stop; which of them have a trial that is saving itself."""
    answers = client.run(stopping.ask, on_error="ignore")
    return [answer is True for answer in answers.values()]


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
        raise EngineError(GONE) from error
    except (Stopped, claim.Lost):
        progress.put_back(task)  # its worker is going away, or was silent; the trial goes on at another one
    except Exception as error:
        progress.fail(task, error)


def default_workers(scale: str) -> int:
    """Worker processes where nobody says how many: one a core, or one whose trials take all devices."""
    return 1 if scale in worker.ACCELERATED else os.cpu_count() or 1


@contextlib.contextmanager
def _loop() -> Iterator[Any]:
    """An event loop in a thread, whose processes do not hear a terminal's Ctrl-C: they end as they are told."""
    from distributed.utils import LoopRunner

    runner = LoopRunner()
    resource_tracker.ensure_running()  # whoever begins it hears Ctrl-C from then on
    with interrupts.unheard(signal.SIGINT):
        runner.start()
    try:
        yield runner.loop
    finally:
        runner.stop()


def worker_options(environment: dict[str, str]) -> dict[str, Any]:
    """Of Dask's nanny, which starts a worker process and starts it again if it dies."""
    return {
        "nthreads": 1,
        "memory_limit": 0,
        "env": environment,
        "preload": ["experiments.protocol.preload"],
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.CRITICAL,
    }


def address(scheduler: str) -> str:
    """The address of a scheduler, which is given, or read from the file that the scheduler wrote.

    Raises:
      EngineError: the file is not there, or another one.
    """
    if "://" in scheduler:
        return scheduler
    try:
        return str(json.loads(Path(scheduler).read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError):
        raise EngineError(
            f"{scheduler} is no address, such as tcp://host:8786, and no file that a Dask scheduler wrote"
        ) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Dask's own log is silent, since what matters of it is said in one line, and its nannies' settings are ours."""
    import dask

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    settings = {
        "distributed.logging.distributed": "critical",
        "distributed.nanny.pre-spawn-environ": worker.ALLOCATOR,
        "distributed.scheduler.worker-ttl": f"{claim.SILENT_SECONDS} s",
    }
    with dask.config.set(settings):
        yield


@contextlib.contextmanager
def connected(scheduler: str | None, environments: Sequence[dict[str, str]]) -> Iterator[Any]:
    """A Dask client of the cluster at `scheduler`, or of a local one with a worker for each of the environments.

    The local one listens on loopback only, and takes only who has the certificate that it makes for itself: a Dask
    scheduler runs what it is sent, and other accounts of the machine reach loopback as well.
    """
    from distributed import Client, Nanny, Scheduler, Security, SpecCluster

    with quiet(), contextlib.ExitStack() as stack:
        security = None
        if scheduler is None:
            security = Security.temporary()
            local = {"host": "tls://127.0.0.1", "security": security}
            loop = stack.enter_context(_loop())
            with interrupts.unheard(signal.SIGINT, signal.SIGTERM):  # Dask cannot close a cluster that still starts
                cluster = stack.enter_context(
                    SpecCluster(
                        scheduler={"cls": Scheduler, "options": local | {"dashboard_address": "127.0.0.1:0"}},
                        workers={
                            number: {"cls": Nanny, "options": local | worker_options(environment)}
                            for number, environment in enumerate(environments)
                        },
                        security=security,
                        silence_logs=logging.CRITICAL,
                        loop=loop,
                    )
                )
            scheduler = str(cluster.scheduler_address)
        where = address(scheduler)
        try:
            client = _within(ANSWER_SECONDS, lambda: Client(where, timeout=10, security=security))
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
