"""Trains trials for runs that are started elsewhere: workers of a Dask cluster, each with its own accelerators.

On a disk that all machines see:

    dask scheduler --scheduler-file=cluster.json                              # on one machine
    python -m experiments.worker --scale=paper cluster.json                   # on each machine with accelerators
    python -m experiments.figure3 --scale=paper --scheduler=cluster.json      # on any

One worker takes one GPU, or all devices that are not NVIDIA's; --workers says otherwise: fewer share out the GPUs, more
share each GPU's memory. On SIGTERM (a job's time is up, the machine is taken away) running trials save themselves
within seconds, and other workers go on with them. What listens where: docs/security.md.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import workloads
from experiments.command_line import Parser, add_data_service, exit_code, positive
from experiments.protocol import accelerators, cluster, worker
from experiments.protocol.study import EngineError
from pipelines import service


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code; `argv` is `sys.argv` if None."""
    parser = Parser(__doc__)
    parser.add_argument("scheduler", help="address of the scheduler, or the file that it wrote")
    parser.add_argument("--scale", choices=workloads.SCALES, required=True, help="of the trials to come")
    parser.add_argument("--workers", type=positive, help="processes; default: one a GPU, else one (a core below paper)")
    parser.add_argument("--name", help="of this machine's workers; default: host name and process number")
    parser.add_argument(
        "--death-timeout", type=positive, default=60, metavar="SECONDS", help="give up without a scheduler; default 60"
    )
    add_data_service(parser)
    # Job systems that start Dask's own workers pass these; a worker has one thread, and its memory is the job's.
    for flag in ("--nthreads", "--memory-limit", "--local-directory"):
        parser.add_argument(flag, help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    count = flags.workers or len(accelerators.gpus()) or cluster.default_workers(flags.scale)
    environments = worker.environments(flags.scale, count)
    name = flags.name or f"{socket.gethostname()}-{os.getpid()}"

    def work() -> None:
        service.use(flags.data_service)
        address = _awaited_address(flags.scheduler, flags.death_timeout)
        asyncio.run(_serve(address, environments, name, flags.death_timeout))

    return exit_code(work)


def _awaited_address(scheduler: str, seconds: int) -> str:
    """The scheduler's address; waits for its file, since jobs start in any order."""
    deadline = time.monotonic() + seconds
    while "://" not in scheduler and not Path(scheduler).exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    return cluster.address(scheduler)


async def _serve(scheduler: str, environments: Sequence[dict[str, str]], name: str, death_timeout: int) -> None:
    """Runs the workers until the scheduler goes away or SIGTERM."""
    from distributed import Nanny

    names = [name] if len(environments) == 1 else [f"{name}-{number}" for number in range(len(environments))]
    with cluster.quiet():
        nannies = [
            Nanny(
                scheduler,
                **cluster.worker_options(environment),
                name=each,
                death_timeout=death_timeout,
            )
            for each, environment in zip(names, environments, strict=True)
        ]
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _tell, nannies)
        try:
            async with contextlib.AsyncExitStack() as stack:
                for nanny in nannies:
                    await stack.enter_async_context(nanny)
                print(f"{len(nannies)} workers at {nannies[0].scheduler_addr}", file=sys.stderr)
                await asyncio.gather(*(nanny.finished() for nanny in nannies))
        except (OSError, TimeoutError) as error:
            raise EngineError(f"no Dask scheduler answers at {scheduler} ({error}); is it running?") from None


def _tell(nannies: Sequence[Any]) -> None:
    """Passes SIGTERM on to the workers."""
    for nanny in nannies:
        if nanny.process is not None and nanny.process.pid is not None:
            os.kill(nanny.process.pid, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
