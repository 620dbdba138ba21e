"""Reads Common Crawl's WET files: gzip members of one WARC record each, whatever is damaged skipped and named."""

import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

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
    if not size:
        skipped(0, "the file is empty")
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

    Field names know no case, and lines may end in line feeds alone.

    Raises:
      BadMember: what follows the pages given so far is no whole WARC record.
    """
    position = 0
    while (record := _HEAD.match(member, position)) is not None:
        lines = record["fields"].decode("utf-8", "replace").splitlines()
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if not (length := fields.get("content-length", "")).isdecimal():
            raise BadMember(f"not a WARC record (its content-length is {length!r})")
        position = record.end() + int(length)
        if position > len(member):
            raise BadMember("its WARC record is cut short")
        if fields.get("warc-type") == "conversion":
            text = member[record.end() : position].decode("utf-8", "replace")
            yield Page(fields.get("warc-target-uri", ""), text, fields.get("warc-identified-content-language"))
    if member[position:].strip():
        raise BadMember("not a WARC record")


_HEAD = re.compile(rb"\s*WARC/\d[^\n]*\n(?P<fields>(?:[^\r\n][^\n]*\n)*)\r?\n")
