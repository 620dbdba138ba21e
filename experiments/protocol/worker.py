"""What a process that trains does: sets its environment, then trains one trial after another."""

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from experiments.protocol import accelerators, stopping, store
from experiments.protocol import search as quasi_random
from experiments.protocol.study import EngineError, Stopped, Study, TrialResult

CHECKPOINT_SECONDS = 600.0
"""How often a running trial saves itself; one that takes less never does."""

ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}
"""Read when a process starts. The default of Dask's workers gives memory back after each update, which doubles its time
on CPU."""

ACCELERATED = ("gpu", "paper")
"""Scales whose trials take accelerators, not one core."""

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"

_log = logging.getLogger(__name__)


def environment(scale: str) -> dict[str, str]:
    """Environment variables of a process that trains, to be set before it imports JAX and TensorFlow.

    A trial of the other scales is made for one core, and as many trials as cores run side by side. One thread for XLA
    also keeps sums in one order, so a trial's numbers do not depend on how many workers there are.
    On accelerators compiled programs are kept in the user's cache, so that only the first worker waits for them.
    """
    environment = dict(ALLOCATOR)
    if scale in ACCELERATED:
        kept = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "data-echoing" / "jax"
        environment |= {"JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(kept)}
    else:
        flags = os.environ.get("XLA_FLAGS", "")
        if ONE_THREAD not in flags.split():
            flags = f"{flags} {ONE_THREAD}".strip()
        environment |= {"XLA_FLAGS": flags, "NPROC": "1", "OMP_NUM_THREADS": "1"}
        environment |= {"TF_NUM_INTEROP_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    return environment | {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}


def environments(scale: str, workers: int) -> list[dict[str, str]]:
    """The environment of each of the workers that share this machine and its GPUs."""
    return [environment(scale) | share for share in accelerators.shares(workers)]


def check_environment(scale: str) -> None:
    """Raises EngineError in a process that was started without it: its numbers would differ from other workers'."""
    lacking = [name for name, value in environment(scale).items() if os.environ.get(name) != value]
    if lacking:
        raise EngineError(
            f"a worker on {socket.gethostname()} was not started for trials of scale {scale} ({lacking[0]} is not "
            f"set); start workers with `python -m experiments.worker --scale={scale} SCHEDULER`"
        )


def run_task(
    root: Path,
    study: Study,
    search: int,
    index: int,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    announce: Callable[[], object] = lambda: None,
) -> TrialResult:
    """Trains one trial, or returns its result if another process has finished it meanwhile.

    A checkpoint of the same trial, made by the same revision on the same kind of machine, is where it goes on.
    `announce` is called before it trains, for other processes to follow.

    Raises:
      EngineError: the process lacks the environment.
      Stopped: the process was asked to stop.
      Lost: the process was silent for so long that another one has taken the trial over.
    """
    if stopping.asked():
        raise Stopped
    check_environment(study.scale)
    from experiments.protocol import training, trial  # import TensorFlow and JAX: seconds, paid once a worker
    from experiments.protocol.checkpoint import Checkpoints

    folder = store.TrialFolder(root, study, search, index)
    folder.make_way()
    with folder.claim.held():
        if (finished := folder.result()) is not None:
            return finished
        point = quasi_random.point(study, search, index)
        description = {
            "study": study.name,
            "search": search,
            "index": index,
            "seed": study.seed("init", search, index),
            "point": point,
            "provenance": store.provenance() | training.device(),
        }
        checkpoints = Checkpoints(folder.checkpoints, checkpoint_seconds, folder.claim.check)
        if checkpoints.exist() and not folder.is_described_by(description):
            _log.warning("%s is of another revision or machine; its trial begins anew", folder.checkpoints)
            checkpoints.forget()
        folder.start(description)
        lower: dict[int, TrialResult] = {}

        def bound_steps() -> int | None:
            for i in range(index):
                if i not in lower and (result := store.TrialFolder(root, study, search, i).result()) is not None:
                    lower[i] = result
            return quasi_random.bound_steps(study, lower.values())

        announce()
        with training.pipeline_errors(study):
            result = trial.run(
                study,
                search,
                index,
                point,
                bound_steps=bound_steps,
                record=folder.append,
                checkpoints=checkpoints,
                log=folder.log,
            )
        folder.finish(result)
        checkpoints.forget()
        return result


def follow(root: Path, study: Study, search: int, index: int, checkpoint_seconds: float) -> None:
    """Trains a trial that the process which leads has announced."""
    from experiments.protocol import training, trial
    from experiments.protocol.checkpoint import Checkpoints

    checkpoints = Checkpoints(store.TrialFolder(root, study, search, index).checkpoints, checkpoint_seconds)
    point = quasi_random.point(study, search, index)
    with training.pipeline_errors(study):
        trial.run(
            study,
            search,
            index,
            point,
            bound_steps=lambda: None,
            record=lambda _: None,
            checkpoints=checkpoints,
        )
