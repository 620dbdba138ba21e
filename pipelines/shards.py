"""TFRecord files that are written once and read for ever: put in place whole, and known by their sizes.

A folder's `sizes.json` says how large each of its shards was, so one that was cut or emptied since, even between two
records, is written again instead of being read as a smaller data set. Whoever writes holds a lock on the folder.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path


def write(records: Iterable[bytes], path: Path) -> None:
    """Writes one file, whole or not at all, and notes its size."""
    import tensorflow as tf  # takes seconds

    unfinished = path.with_suffix(".unfinished")
    with tf.io.TFRecordWriter(str(unfinished)) as out:
        for record in records:
            out.write(record)
    put_in_place(unfinished, path)
    noted = path.parent / "sizes.json"
    beside = noted.with_suffix(".unfinished")
    beside.write_text(json.dumps(_sizes(path.parent) | {path.name: path.stat().st_size}), encoding="utf-8")
    put_in_place(beside, noted)


def missing(paths: Iterable[Path]) -> list[Path]:
    """Those that are not there, or not as they were written."""
    paths = list(paths)
    sizes = {folder: _sizes(folder) for folder in {path.parent for path in paths}}
    return [path for path in paths if not path.is_file() or path.stat().st_size != sizes[path.parent].get(path.name)]


def put_in_place(unfinished: Path, path: Path) -> None:
    """Renames a finished file once it is on the disk."""
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def _sizes(folder: Path) -> dict[str, int]:
    try:
        return dict(json.loads((folder / "sizes.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
