"""Ctrl-C while a command is still importing, or already ending: one line or none, as in between."""

import signal
import sys
from types import TracebackType


def in_one_line() -> None:
    """Has an interrupt said in one line, if Python was started as `python -m` a module of ours; for its packages."""
    if sys.argv[:1] == ["-m"]:  # until that module runs
        sys.excepthook = _hook


def at_the_end() -> None:
    """Has an interrupt end the process at once, where `in_one_line` took effect: all that is left is cleaning up."""
    if sys.excepthook is _hook:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
