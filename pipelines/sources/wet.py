"""Reads Common Crawl's WET files: gzip members of one WARC record each, whatever is damaged skipped and named."""

import io
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecordType

GZIP_MAGIC = b"\x1f\x8b\x08"
CHUNK_BYTES = 1 << 14
LARGEST_RECORD_BYTES = 64 << 20


class BadMember(Exception):
    """A gzip member cannot be read; the message says why."""


def members(stream: BinaryIO, skipped: Callable[[int, str], None]) -> Iterator[tuple[int, bytes]]:
    """Offset and content of each of a stream's gzip members, one at a time.

    Args:
      stream: a file of concatenated gzip members.
      skipped: called with the offset and the fault of each stretch that cannot be read; what follows is read again.
    """
    offset: int | None = 0
    damaged = False
    size = stream.seek(0, os.SEEK_END)
    while offset is not None and offset < size:
        try:
            content, end = _inflate(stream, offset)
        except BadMember as fault:
            if not damaged:  # what lies before the next whole member belongs to this fault
                skipped(offset, str(fault))
            damaged, offset = True, _find_magic(stream, offset + 1)
        else:
            yield offset, content
            damaged, offset = False, end


def _inflate(stream: BinaryIO, offset: int) -> tuple[bytes, int]:
    """The content of the gzip member at `offset`, and the offset of its end."""
    inflater = zlib.decompressobj(wbits=31)
    parts, room = [], LARGEST_RECORD_BYTES
    end = stream.seek(offset)
    try:
        while not inflater.eof:
            chunk = stream.read(CHUNK_BYTES)
            if not chunk:
                raise BadMember("truncated")
            parts.append(inflater.decompress(chunk, room + 1))
            end, room = end + len(chunk), room - len(parts[-1])
            if room < 0:
                raise BadMember(f"more than {LARGEST_RECORD_BYTES >> 20} MiB")
    except zlib.error as error:
        raise BadMember(str(error)) from error
    return b"".join(parts), end - len(inflater.unused_data)


def _find_magic(stream: BinaryIO, offset: int) -> int | None:
    """Where a gzip member may start at or after `offset`, None if nowhere."""
    stream.seek(offset)
    tail = b""
    while chunk := stream.read(CHUNK_BYTES):
        window = tail + chunk
        if (found := window.find(GZIP_MAGIC)) >= 0:
            return offset - len(tail) + found
        offset, tail = offset + len(chunk), window[1 - len(GZIP_MAGIC) :]
    return None


@dataclass(frozen=True)
class Page:
    """A page of the crawl; `languages` are those that the crawl identified in it, if it did."""

    url: str
    text: str
    languages: str | None


def read_pages(member: bytes) -> Iterator[Page]:
    """The pages in a gzip member's content: one, or none where it holds a record of another kind.

    Raises:
      BadMember: it does not hold whole WARC records.
    """
    try:
        for record in ArchiveIterator(io.BytesIO(member), parse_http=False):
            content = record.reader.read()
            if len(content) != int(record.headers.get("Content-Length") or -1):
                raise BadMember("its WARC record is cut short")
            if record.record_type == WarcRecordType.conversion:
                url, languages = (
                    record.headers.get(f"WARC-{name}") for name in ("Target-URI", "Identified-Content-Language")
                )
                yield Page(url or "", content.decode("utf-8", "replace"), languages)
    except (OSError, ValueError) as error:
        raise BadMember(f"not a WARC record ({error})") from error
