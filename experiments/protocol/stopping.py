"""Tells the trials of this process that they shall save themselves and end: a notice of preemption, or SIGTERM.

Imports neither JAX nor TensorFlow, so a worker hears the notice before it has loaded them.
"""

import threading

_asked = threading.Event()


def ask() -> None:
    """Asks every trial of this process to stop; none begins after that."""
    _asked.set()


def asked() -> bool:
    """Whether trials shall stop."""
    return _asked.is_set()


def forget() -> None:
    """Lets trials begin again."""
    _asked.clear()
