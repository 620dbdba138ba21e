"""Reading TFRecord files over HTTP from a server of limited bandwidth: a slow upstream that is not simulated.

`serve` is that server, on loopback, for measuring; `read_records` reads from any HTTP server.
"""

import struct
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf

PIECE_BYTES = 16 * 1024
RECORDS_AT_A_TIME = 32
TIMEOUT_SECONDS = 60


@contextmanager
def serve(folder: Path, bytes_per_second: float) -> Iterator[str]:
    """Serves the files of a folder on loopback, all connections together at this bandwidth; yields the base URL.

    Raises:
      ValueError: the bandwidth is not positive.
    """
    if not bytes_per_second > 0:  # true for NaN as well
        raise ValueError(f"bytes_per_second must be positive, got {bytes_per_second}")
    handler = partial(_Handler, directory=str(folder), bandwidth=_Bandwidth(bytes_per_second))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def read_records(urls: Sequence[str]) -> tf.data.Dataset:
    """The serialised records of TFRecord files, [] string each, file after file, each one read as it arrives.

    The lengths of records are checked, their checksums are not. Iterating raises tf.errors.DataLossError or
    tf.errors.UnknownError where a file ends before its end or within a record, cannot be read, or nothing arrives for a
    minute.
    """

    def groups() -> Iterator[np.ndarray]:
        for url in urls:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
                group: list[bytes] = []
                for record in _records(response):
                    group.append(record)
                    if len(group) == RECORDS_AT_A_TIME:
                        yield np.array(group, dtype=object)
                        group = []
                if group:
                    yield np.array(group, dtype=object)
                if response.length:
                    raise EOFError(f"{url} ended {response.length} bytes before its end: the connection was closed")

    return tf.data.Dataset.from_generator(groups, output_signature=tf.TensorSpec([None], tf.string)).unbatch()


def _records(file: BinaryIO) -> Iterator[bytes]:
    """A record is its length, 8 bytes, a checksum of these, 4 bytes, the data, and a checksum of these, 4 bytes."""
    while header := _exactly(file, 12, or_nothing=True):
        (length,) = struct.unpack("<Q", header[:8])
        yield _exactly(file, length + 4)[:-4]


def _exactly(file: BinaryIO, size: int, or_nothing: bool = False) -> bytes:
    content = file.read(size)
    if len(content) != size and not (or_nothing and not content):
        raise EOFError(f"a TFRecord file ended after {len(content)} of {size} bytes of a record")
    return content


class _Bandwidth:
    """Shares a number of bytes a second among threads."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def spend(self, size: int) -> None:
        """Sleeps until `size` more bytes may have passed; a short oversleep is made up for."""
        with self._lock:
            started = max(self._free_at, time.monotonic() - 0.1)
            self._free_at = started + size / self._bytes_per_second
            due = self._free_at
        time.sleep(max(0.0, due - time.monotonic()))


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, bandwidth: _Bandwidth, **settings: Any) -> None:
        self._bandwidth = bandwidth
        super().__init__(*arguments, **settings)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Sends a file piece by piece."""
        try:
            while piece := source.read(PIECE_BYTES):
                self._bandwidth.spend(len(piece))
                outputfile.write(piece)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the reader has what it wanted

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""
