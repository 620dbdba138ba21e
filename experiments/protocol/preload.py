"""What a Dask worker process does when it starts: hears SIGTERM, and then lets its trial save itself before it goes.

The Ctrl-C of a terminal, which all processes get, is left to the command, which tells its workers to go.
"""

import asyncio
import contextlib
import signal
import threading
from typing import Any

from experiments.protocol import stopping

POLL_SECONDS = 0.1


def dask_setup(worker: Any) -> None:
    """Called by Dask in the worker's process."""
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: worker.loop.add_callback_from_signal(_leave, worker))


async def _leave(worker: Any) -> None:
    """Takes no more trials, waits for the one that is saving itself, if any, and has the nanny close both."""
    from distributed.core import Status

    worker.status = Status.closing_gracefully
    while stopping.ask() and worker.state.executing_count:
        await asyncio.sleep(POLL_SECONDS)
    with contextlib.suppress(OSError):  # the connection ends with this process
        await worker.rpc(worker.nanny).terminate(reason="SIGTERM")
