"""Several processes that train one trial together, each with its own devices and its own part of the input.

All of them run the same command. The first one leads: it alone reads and writes the runs, and says what is done next.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.protocol import stopping
from experiments.protocol.study import ConfigError, EngineError


def join(where: str) -> None:
    """Joins the other processes; before anything else is asked of JAX.

    Args:
      where: `auto` where JAX knows by itself, on TPU hosts and under Slurm, MPI or Kubernetes; or
        `ADDRESS:PORT,COUNT,NUMBER`, of the first process, of all, and of this one, from 0.

    Raises:
      ConfigError: it is neither.
      EngineError: the others cannot be reached.
    """
    address, count, number = (None, None, None) if where == "auto" else _read(where)
    try:
        jax.distributed.initialize(address, count, number)
    except (RuntimeError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise EngineError(f"--distributed={where}: the processes did not find each other ({said})") from None


def _read(where: str) -> tuple[str, int, int]:
    address, *numbers = where.split(",")
    if ":" not in address or len(numbers) != 2 or not all(map(str.isdecimal, numbers)):
        raise ConfigError(f"--distributed must be auto or ADDRESS:PORT,COUNT,NUMBER, got {where!r}")
    count, number = map(int, numbers)
    if not number < count:
        raise ConfigError(f"--distributed={where}: processes are numbered from 0 to {count - 1}")
    return address, count, number


def alone() -> bool:
    """Whether there is this process only."""
    return jax.process_count() == 1


def leads() -> bool:
    """Whether this is the process that reads and writes the runs."""
    return jax.process_index() == 0


def agreed(numbers: Sequence[int]) -> list[int]:
    """The numbers of the process that leads; the others give as many, which do not count."""
    if alone():
        return list(numbers)
    return [int(number) for number in multihost_utils.broadcast_one_to_all(np.array(numbers, np.int32))]


def asked_to_stop(step: int) -> bool:
    """Whether trials shall stop after this update, the same one in all processes, whichever had the notice."""
    if alone():
        return stopping.asked()
    return bool(multihost_utils.reached_preemption_sync_point(step))
