"""Ctrl-C while a command is still importing, or already ending: one line or none, as in between; and never unheard."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

SIGNAL_OF: dict[type[BaseException], signal.Signals] = {KeyboardInterrupt: signal.SIGINT}
"""The signal that each of these exceptions is raised by."""

AGAIN_SECONDS = 0.05


def in_one_line() -> None:
    """Has an interrupt said in one line, if Python was started as `python -m` a module of ours; for its packages."""
    if sys.argv[:1] == ["-m"]:  # until that module runs
        sys.excepthook = _hook
        sys.unraisablehook = _unraisable


def at_the_end() -> None:
    """Has an interrupt end the process at once, where `in_one_line` took effect: all that is left is cleaning up."""
    if sys.excepthook is _hook:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def unheard(*signals: signal.Signals) -> Iterator[None]:
    """Has this thread, those that start meanwhile and their processes not hear these signals.

    One that comes is heard by this thread afterwards, by the others never.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _unraisable(swallowed: Any) -> None:
    """Sends a signal again whose exception came where Python can only report it: in a destructor or a callback."""
    number = SIGNAL_OF.get(swallowed.exc_type)
    if number is None:
        sys.__unraisablehook__(swallowed)
    else:  # from another thread and a little later: at once it would be raised, and swallowed, here
        threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number)).start()
