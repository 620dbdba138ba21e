"""`pipelines.sources.crawl prepare` on generated WET files: speed, share of each step, memory beside the input's size.

    python -m benchmarks.crawl [--files=5]      a few minutes; needs a gigabyte of space for temporary files

A generated page has lines of the bundled public-domain text, a number in each, so that few lines repeat; one page in
five is not English. Speed is of one process, in MB of text, the unpacked WET.
"""

import gzip
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.command_line import Parser, exit_code, positive
from experiments.protocol.study import EngineError
from pipelines.sources import bundled, crawl, wet

FILE_BYTES = 100_000_000
LINES_PER_PAGE = 40
STEP_PAGES = 4_000
GERMAN = "Die Seite {} wurde nicht gefunden, weil der Rechner gestern wegen einer langen Wartung ausgeschaltet war."


def pages(seed: int, size: int) -> Iterator[str]:
    """Generated pages of `size` bytes of text in all."""
    lines = bundled.load_text("public_domain").split("\n")
    generator = np.random.default_rng(seed)
    while size > 0:
        numbers = generator.integers(0, 10**9, LINES_PER_PAGE)
        if generator.random() < 0.2:
            text = "\n".join(GERMAN.format(number) for number in numbers)
        else:
            text = "\n".join(f"{lines[number % len(lines)]} {number % 10**7}" for number in numbers)
        size -= len(text)
        yield text


def member(text: str) -> bytes:
    """A page as Common Crawl writes it."""
    head = (
        "WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://example.org/\r\n"
        "WARC-Date: 2017-06-22T12:00:00Z\r\nWARC-Record-ID: <urn:uuid:12345678-1234-1234-1234-123456789012>\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(text.encode())}\r\n\r\n"
    )
    return gzip.compress(f"{head}{text}\r\n\r\n".encode(), compresslevel=1)


def print_steps(path: Path, scratch: Path) -> None:
    """Times each step alone over the first pages of a file, one after the other."""
    taken: dict[str, float] = {}

    def timed(name: str, work: Callable[[], list[Any]]) -> list[Any]:
        started = time.process_time()
        result = work()
        taken[name] = time.process_time() - started
        return result

    def unpack() -> list[tuple[int, bytes]]:
        with path.open("rb") as stream:
            return list(itertools.islice(wet.members(stream, lambda *_: None), STEP_PAGES))

    def write(kept: list[list[str]]) -> list[Any]:
        import tensorflow as tf

        with tf.io.TFRecordWriter(str(scratch / "steps.tfrecord")) as out:
            for lines in kept:
                out.write(crawl.example(url="http://example.org/", text="\n".join(lines)))
        return []

    crawl.is_english(wet.Page("", "The model is read once.", None))
    new_lines = crawl.NewLines()
    contents = [content for _, content in timed("unpack", unpack)]
    found = timed("parse records", lambda: [page for content in contents for page in wet.read_pages(content)])
    english = timed("identify language", lambda: [page for page in found if crawl.is_english(page)])
    kept = timed("drop repeated lines", lambda: [new_lines.of(page.text) for page in english])
    timed("write", lambda: write(kept))
    total, megabytes = sum(taken.values()), sum(len(page.text.encode()) for page in found) / 1e6
    for name, seconds in taken.items():
        print(f"{name:20} {seconds / total:6.1%}  {megabytes / seconds:8.1f} MB/s")
    print(f"{'all steps':20} {1:6.1%}  {megabytes / total:8.1f} MB/s of CPU time")


def prepare(folder: Path, out: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory in MB of the command in a process of its own."""
    command = [sys.executable, "-m", "pipelines.sources.crawl", "prepare", f"--wet={folder}", f"--out={out}"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise EngineError(f"{' '.join(command)} failed")
    peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, peak_bytes / 1e6


def main() -> None:
    """Prints all of it."""
    parser = Parser(__doc__)
    parser.add_argument("--files", type=positive, default=5, help="files of 100 MB of text in the larger input")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, flags.files):
            inputs = Path(folder) / f"{count}"
            inputs.mkdir()
            for i in range(count):
                with (inputs / f"{i}.warc.wet.gz").open("wb") as file:
                    file.writelines(member(text) for text in pages(i, FILE_BYTES))
            if count == 1:
                print_steps(inputs / "0.warc.wet.gz", Path(folder))
            wall, cpu, peak = prepare(inputs, Path(folder) / f"out{count}")
            megabytes = count * FILE_BYTES / 1e6
            packed = sum(path.stat().st_size for path in inputs.iterdir()) / 1e6
            print(
                f"{megabytes:,.0f} MB of text ({packed:,.0f} MB of files): {wall:,.0f} s, {megabytes / wall:.1f} MB/s, "
                f"{megabytes / cpu:.1f} MB/s of CPU time, peak memory {peak:,.0f} MB"
            )


if __name__ == "__main__":
    sys.exit(exit_code(main))
