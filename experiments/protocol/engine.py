"""Hands trials to workers, watches them and shows progress.

One code path: a queue of trials, run here (`inline`) or by Dask workers, local ones or those of a cluster that is
already there. Results live on disk, so a lost worker costs only what its trial did since it last saved itself, and
running the same command again goes on where the last run ended.
"""

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.protocol import cluster, stopping, store, worker
from experiments.protocol.claim import Lost
from experiments.protocol.progress import Progress, show, shown
from experiments.protocol.study import ConfigError, EngineError, Stopped, Study
from pipelines.sources import presence

_log = logging.getLogger(__name__)

NO_MORE = (-1, -1, -1)
"""What is announced when no trial is wanted any more."""


def run(
    studies: Sequence[Study],
    *,
    root: Path = store.ROOT,
    engine: str = "dask",
    workers: int | None = None,
    scheduler: str | None = None,
    checkpoint_seconds: float = worker.CHECKPOINT_SECONDS,
    distributed: str | None = None,
) -> Progress:
    """Runs every trial of the studies that is not finished yet and returns what is known at the end.

    Args:
      studies: run one after the other as far as workers stay busy.
      root: folder of the runs.
      engine: `dask`, or `inline` to train in this process.
      workers: local worker processes, one thread each; by default one a core (one in all at paper scale, where a
        trial takes all accelerators).
      scheduler: address of a Dask cluster to use instead of local workers, or the file that its scheduler wrote; its
        workers (`experiments.worker`) see `root` on a shared disk.
      checkpoint_seconds: how often a running trial saves itself.
      distributed: how this process, with the engine `inline`, finds those that train each trial with it (`hosts.join`).

    Raises:
      DatasetMissing: a data set is not where it is looked for.
      EngineError: the scheduler cannot be reached, workers keep dying, or a trial failed.
      Stopped: SIGTERM; the trials of this process or its local workers have saved themselves.
    """
    for study in studies:
        presence.check(study.config["data"])
    scale = studies[0].scale
    environment = worker.environment(scale)
    if distributed is not None:
        os.environ.update(environment)
        from experiments.protocol import hosts  # imports JAX

        hosts.join(distributed)
        if not hosts.leads():
            return _follow(studies, root, checkpoint_seconds)
    for study in studies:
        store.save_study(root, study)
        store.forget_checkpoints(root, study)
    progress = Progress(studies, root)
    if distributed is None and not progress.open:
        return progress
    with contextlib.ExitStack() as stack:
        if distributed is not None:
            bar = stack.enter_context(shown(progress))
            _run_inline(progress, root, checkpoint_seconds, bar, lambda *numbers: hosts.agreed(numbers))
            hosts.agreed(NO_MORE)
        elif engine == "inline":
            bar = stack.enter_context(shown(progress))
            os.environ.update(environment)
            with stopping.on_sigterm(stopping.ask):
                _run_inline(progress, root, checkpoint_seconds, bar)
        else:
            stack.enter_context(stopping.on_sigterm(stopping.raise_stopped))
            environments = worker.environments(scale, workers or cluster.default_workers(scale))
            client = stack.enter_context(cluster.connected(scheduler, environments))
            bar = stack.enter_context(shown(progress))
            cluster.run_trials(progress, root, client, checkpoint_seconds, bar, stops_workers=scheduler is None)
    if progress.failed:
        first = next(iter(progress.failed.values()))
        raise EngineError(f"{len(progress.failed)} trials failed, the others are kept; the first: {first}")
    return progress


def _run_inline(
    progress: Progress,
    root: Path,
    checkpoint_seconds: float,
    bar: "tqdm[Any]",
    announce: Callable[[int, int, int], object] = lambda *_: None,
) -> None:
    """Trains what is wanted; `announce` is called with the numbers of study, search and trial before each."""
    while (task := progress.next_task()) is not None:
        named = functools.partial(announce, task.study, task.search, task.index)
        try:
            study = progress.studies[task.study]
            progress.add(task, worker.run_task(root, study, task.search, task.index, checkpoint_seconds, named))
        except Stopped:
            raise
        except Lost:
            progress.put_back(task)
        except Exception as error:
            progress.fail(task, error)
        show(bar, progress, task)


def _follow(studies: Sequence[Study], root: Path, checkpoint_seconds: float) -> Progress:
    """Trains what the process that leads announces, until there is no more."""
    from experiments.protocol import hosts

    while (numbers := tuple(hosts.agreed(NO_MORE))) != NO_MORE:
        number, search, index = numbers
        try:
            worker.follow(root, studies[number], search, index, checkpoint_seconds)
        except (ConfigError, EngineError, OSError, Stopped):
            raise
        except Exception as error:  # of the model; it is the same one, and said, where the run is led
            _log.debug("%s", error)
    return Progress([], root)
