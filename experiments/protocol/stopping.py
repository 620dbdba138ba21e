"""Tells the trials of this process that they shall save themselves and end: a notice of preemption, or SIGTERM.

Imports neither JAX nor TensorFlow, so a worker hears the notice before it has loaded them.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from experiments.protocol.study import Stopped
from pipelines import interrupts

interrupts.SIGNAL_OF[Stopped] = signal.SIGTERM

_asked = threading.Event()
_training = threading.Event()


def ask() -> bool:
    """Asks every trial of this process to stop; none begins after that. Whether one has anything to save."""
    _asked.set()
    return _training.is_set()


def training(now: bool) -> None:
    """Says whether a trial of this process takes updates, which it saves when it is asked to stop.

    Before that it imports, reads and compiles, which takes long, cannot be interrupted and leaves nothing to save.
    """
    _training.set() if now else _training.clear()


def asked() -> bool:
    """Whether trials shall stop."""
    return _asked.is_set()


def forget() -> None:
    """Lets trials begin again."""
    _asked.clear()


@contextlib.contextmanager
def on_sigterm(react: Callable[[], object]) -> Iterator[None]:
    """Calls `react` on SIGTERM meanwhile, where signals can be heard: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: react())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def raise_stopped() -> NoReturn:
    """Ends what the main thread does, so that what it began is cleaned up."""
    _asked.set()
    raise Stopped
