"""A process's hold of a folder: exclusive, dropped when its holder dies, and taken over when its holder falls silent.

The kernel's lock sees to the first two. It outlives a process that is stopped, or a machine that has lost its network,
so a holder also shows that it is alive, and looks whether the hold is still its own before it writes.
"""

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

SILENT_SECONDS = 120.0
"""After so long without a sign of life a holder counts as lost."""
BEATS = 12
"""Signs of life in that time."""
SAID_AFTER_SECONDS = 10.0
_POLL_SECONDS = 0.5

_log = logging.getLogger(__name__)


class Lost(Exception):
    """Another process has taken over."""


class Claim:
    """A hold of `folder`, which is made if it is not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = ""

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Waits for the hold, and has it for the `with` block."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = self._acquired()
        done = threading.Event()
        threading.Thread(target=self._show_life, args=(done,), daemon=True).start()
        try:
            yield
        finally:
            done.set()
            if self._is_own():
                self._holder.unlink(missing_ok=True)
            self._name = ""
            lock.release()

    def is_held(self) -> bool:
        """Whether some process holds it and has shown life of late, by this machine's clock."""
        try:
            return time.time() - self._holder.stat().st_mtime < SILENT_SECONDS
        except OSError:
            return False

    def check(self) -> None:
        """Raises Lost if it was taken over."""
        if self._name and not self._is_own():
            raise Lost(f"{self._folder} was taken over by another process, since this one had stopped")

    @property
    def _holder(self) -> Path:
        """The file that names who holds the folder; its time of change is the last sign of life."""
        return self._folder / "holder"

    def _acquired(self) -> FileLock:
        lock = FileLock(self._folder / "lock")
        began = alive = time.monotonic()
        seen, said = self._sign_of_life(), False
        while True:
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=_POLL_SECONDS)
                self._write_name()
                return lock
            now = time.monotonic()
            if (latest := self._sign_of_life()) != seen:
                seen, alive = latest, now
            elif now - alive > SILENT_SECONDS and self._taken_from_silent(lock, seen):
                return lock
            if not said and now - began > SAID_AFTER_SECONDS:
                said = True
                _log.warning("waiting for another process, which trains %s", self._folder)

    def _taken_from_silent(self, lock: FileLock, seen: tuple[str, int] | None) -> bool:
        """Takes the hold from a silent process, unless a third one was faster."""
        with FileLock(self._folder / "taking-over"):
            if self._sign_of_life() != seen:
                return False
            _log.warning("%s: whoever trained it has been silent for %g s; taken over", self._folder, SILENT_SECONDS)
            (self._folder / "lock").unlink(missing_ok=True)
            lock.acquire()
            self._write_name()
            return True

    def _write_name(self) -> None:
        self._name = uuid.uuid4().hex
        self._holder.write_text(self._name, encoding="ascii")

    def _is_own(self) -> bool:
        try:
            return self._holder.read_text(encoding="ascii") == self._name
        except (OSError, UnicodeError):
            return False

    def _sign_of_life(self) -> tuple[str, int] | None:
        try:
            return self._holder.read_text(encoding="ascii"), self._holder.stat().st_mtime_ns
        except (OSError, UnicodeError):
            return None

    def _show_life(self, done: threading.Event) -> None:
        while not done.wait(SILENT_SECONDS / BEATS):
            if self._is_own():
                with contextlib.suppress(OSError):
                    os.utime(self._holder)
