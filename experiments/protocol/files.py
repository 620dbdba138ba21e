"""Files are put in place whole, those that belong together at once, and only when all of them could be written."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock

_log = logging.getLogger(__name__)


def sha256(path: Path) -> str:
    """The digest of what a file holds, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(path: Path, content: str | bytes) -> None:
    """Puts a file in place whole, or leaves what was there."""
    write_together({path: content})


def write_together(contents: Mapping[Path, str | bytes]) -> None:
    """Puts files in place whole, text as UTF-8; where one cannot be written, all stay as they were."""
    unfinished = {path.with_name(f"{path.name}.{os.getpid()}.unfinished"): path for path in contents}
    try:
        for beside, path in unfinished.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            content = contents[path]
            with beside.open("wb") as out:
                out.write(content.encode() if isinstance(content, str) else content)
                out.flush()
                os.fsync(out.fileno())
        for beside, path in unfinished.items():
            os.replace(beside, path)
        for folder in {path.parent for path in contents}:
            _sync_folder(folder)
    finally:
        for beside in unfinished:
            beside.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes renames last through a loss of power, where the system can do that."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from updating the files of a folder meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        yield


def make_way(path: Path, *, for_folder: bool = False) -> None:
    """Sets aside, and names, what stands where a file or a folder of ours belongs: the other kind, or a dead link."""
    right = path.is_dir() if for_folder else path.is_file()
    if right or not os.path.lexists(path):
        return
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.set-aside-{number}")):
        number += 1
    os.replace(path, aside)
    _log.warning("%s is no %s; it is now %s", path, "folder" if for_folder else "file", aside.name)
