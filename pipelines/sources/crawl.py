"""Turns Common Crawl's WET files into pages: English kept, repeated lines dropped, sharded to TFRecords.

    python -m pipelines.sources.crawl prepare --wet=DIR --out=DIR

The paper used the crawl of June 2017, CC-MAIN-2017-26; its `wet.paths.gz` lists the files, each a gzip member a page.
Files are independent of each other: a killed run goes on with the file it was in, and several machines may each
prepare a part of the crawl. Memory does not grow with the input: one page is held at a time, and at most
REMEMBERED_LINES line hashes.
"""

import hashlib
import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from pipelines import shards
from pipelines.command_line import Parser
from pipelines.sources.presence import DatasetMissing
from pipelines.sources.wet import BadMember, Page, members, read_pages

REMEMBERED_LINES = 4_000_000  # more than a WET file has; at most about 0.5 GB
LANGUAGE_SAMPLE = 1000  # characters of a page that its language is detected from
VALIDATION_EVERY = 100  # one line in so many is kept for validation
SPLITS = ("train", "validation")
COUNTS = ("pages", "train", "validation", "not_english", "repeated_lines", "skipped_members")


class BadInput(Exception):
    """The WET files cannot be prepared; the message says why."""


def is_english(page: Page) -> bool:
    """Whether a page is in English: by what the crawl wrote (since August 2018), else as py3langid tells.

    The crawl names the languages of a page, the most used first. py3langid looks at LANGUAGE_SAMPLE characters from
    the page's middle, where its text is rather than its menus; it is deterministic.
    """
    if page.languages:
        return page.languages.split(",")[0] == "eng"
    import py3langid  # with NumPy

    middle = max(0, len(page.text) - LANGUAGE_SAMPLE) // 2
    language, _ = py3langid.classify(page.text[middle : middle + LANGUAGE_SAMPLE])
    return language == "en"


def line_hash(line: str) -> bytes:
    """64 bits."""
    return hashlib.blake2b(line.encode("utf-8"), digest_size=8).digest()


def split_of(line: str) -> str:
    """The split that a line belongs to, by its hash: a line that other files repeat is never in both."""
    held_out = int.from_bytes(line_hash(line), "big") % VALIDATION_EVERY == 0
    return "validation" if held_out else "train"


class NewLines:
    """Drops lines that occurred before, exactly but for white space at their ends; compared by their hashes.

    After `limit` different lines it forgets them all and begins again, so that its memory is bounded. `repeated`
    counts the lines that it dropped.
    """

    def __init__(self, limit: int = REMEMBERED_LINES) -> None:
        self._limit, self._seen, self.repeated = limit, set[bytes](), 0

    def of(self, text: str) -> list[str]:
        """The text's lines that have not occurred, empty ones left out."""
        lines = [line for raw in text.split("\n") if (line := raw.strip())]
        new = [line for line in lines if self._is_new(line)]
        self.repeated += len(lines) - len(new)
        return new

    def _is_new(self, line: str) -> bool:
        digest = line_hash(line)
        if digest in self._seen:
            return False
        if len(self._seen) >= self._limit:
            self._seen.clear()
        self._seen.add(digest)
        return True


def shard(out: Path, wet_name: str, split: str) -> Path:
    """The TFRecord file of a WET file's pages."""
    return out / f"{wet_name}.{split}.tfrecord"


def counts_file(out: Path, wet_name: str) -> Path:
    """The file of a prepared WET file's counts."""
    return out / f"{wet_name}.json"


def read_counts(out: Path, wet_name: str) -> Counter[str]:
    """How many pages and lines of a prepared WET file were read, kept and left out, by the names of COUNTS."""
    return Counter(json.loads(counts_file(out, wet_name).read_text(encoding="utf-8")))


def is_prepared(wet: Path, out: Path) -> bool:
    """Whether this WET file was prepared, not another of its name, and what was written is still whole."""
    if not counts_file(out, wet.name).exists():
        return False
    counts = read_counts(out, wet.name)
    return counts["bytes"] == wet.stat().st_size and not damaged(out, wet.name, counts)


def damaged(out: Path, wet_name: str, counts: Mapping[str, int]) -> list[Path]:
    """The files of a prepared WET file that are not there or not as large as they were."""
    paths = {split: shard(out, wet_name, split) for split in SPLITS}
    return [
        path for split, path in paths.items() if not path.is_file() or path.stat().st_size != counts[f"{split}_bytes"]
    ]


def prepare_file(wet: Path, out: Path, progress: Callable[[float], object]) -> None:
    """Writes a WET file's pages to `out`, a TFRecord file a split, then its counts, the sign that it is done.

    Each record is an Example of a page's `url` and of its `text`, the lines of the split that are left. What cannot
    be read is named on stderr; `progress` is called with the bytes done since its last call.
    """
    import tensorflow as tf

    counts = Counter(dict.fromkeys(COUNTS, 0))
    new_lines = NewLines()
    unfinished = {split: shard(out, wet.name, split).with_suffix(".unfinished") for split in SPLITS}

    def skipped(offset: int, fault: str) -> None:
        counts["skipped_members"] += 1
        tqdm.write(f"{wet}: skipped what begins at byte {offset}: {fault}", file=sys.stderr)

    with wet.open("rb") as stream, ExitStack() as stack:
        writers = {split: stack.enter_context(tf.io.TFRecordWriter(str(path))) for split, path in unfinished.items()}
        done = 0
        for offset, member in members(stream, skipped):
            progress(offset - done)
            done = offset
            pages: list[Page] = []
            try:
                pages.extend(read_pages(member))
            except BadMember as fault:
                skipped(offset, str(fault))
            for page in pages:
                counts["pages"] += 1
                if not is_english(page):
                    counts["not_english"] += 1
                else:
                    lines: dict[str, list[str]] = {split: [] for split in SPLITS}
                    for line in new_lines.of(page.text):
                        lines[split_of(line)].append(line)
                    for split, kept in lines.items():
                        if kept:
                            writers[split].write(example(url=page.url, text="\n".join(kept)))
                            counts[split] += 1
        counts["bytes"] = wet.stat().st_size
        progress(counts["bytes"] - done)
    for split, path in unfinished.items():
        counts[f"{split}_bytes"] = path.stat().st_size
        shards.put_in_place(path, shard(out, wet.name, split))
    counts["repeated_lines"] = new_lines.repeated
    finished = counts_file(out, wet.name)
    finished.with_suffix(".unfinished").write_text(json.dumps(counts, indent=1), encoding="utf-8")
    shards.put_in_place(finished.with_suffix(".unfinished"), finished)


def example(**texts: str) -> bytes:
    """A record of texts, serialised."""
    import tensorflow as tf

    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode("utf-8")]))
        for name, text in texts.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def prepare(wet: Path, out: Path) -> Counter[str]:
    """Prepares every WET file in a folder that is not prepared yet; returns the counts of all that are.

    Raises:
      BadInput: there is none, its pages cannot be written, or another process is preparing files into `out`.
    """
    files = sorted(wet.glob("*.warc.wet.gz"))
    if not files:
        raise BadInput(f"no *.warc.wet.gz in {wet}")
    out.mkdir(parents=True, exist_ok=True)
    import tensorflow as tf  # takes seconds: after what can be refused without it

    try:
        with FileLock(out / "lock", blocking=False):
            todo = [file for file in files if not is_prepared(file, out)]
            total = sum(file.stat().st_size for file in todo)
            with tqdm(total=total, desc="preparing", unit="B", unit_scale=True) as bar:
                for file in todo:
                    try:
                        prepare_file(file, out, bar.update)
                    finally:
                        for unfinished in out.glob("*.unfinished"):
                            unfinished.unlink()
    except Timeout as error:
        raise BadInput(f"another process is preparing files into {out}") from error
    except tf.errors.OpError as error:
        raise BadInput(str(error)) from error
    return sum((read_counts(out, file.name) for file in files), Counter())


class PageReader:
    """Lines of the pages that `prepare` wrote to a folder, read as `text.SentenceReader` reads those of a dataset."""

    def __init__(self, folder: Path, most_pages: Mapping[str, int]) -> None:
        self._folder, self._most_pages = folder, most_pages
        self._names = sorted(path.name.removesuffix(".json") for path in folder.glob("*.json"))
        self._counts = [read_counts(folder, name) for name in self._names]
        for name, counts in zip(self._names, self._counts, strict=True):
            if found := damaged(folder, name, counts):
                raise DatasetMissing(
                    f"{found[0]} is missing or damaged; run `python -m pipelines.sources.crawl prepare` again"
                )

    def size(self, split: str) -> int:
        """Pages with lines in `split`: as many as are wanted, or what is there where that is less."""
        return min(self._most_pages[split], sum(counts[split] for counts in self._counts))

    def read(self, split: str, start: int, stop: int) -> Iterator[str]:
        """The lines of pages `start` to `stop` of `split`."""
        import tensorflow as tf

        stop = min(stop, self.size(split))
        first = 0
        for name, counts in zip(self._names, self._counts, strict=True):
            end = first + counts[split]
            if start < end and first < stop:
                records = tf.data.TFRecordDataset(str(shard(self._folder, name, split)))
                records = records.skip(max(0, start - first)).take(min(stop, end) - max(start, first))
                for record in records.as_numpy_iterator():
                    page = tf.train.Example.FromString(record).features.feature["text"].bytes_list.value[0]
                    yield from page.decode("utf-8").split("\n")
            first = end


def main(argv: list[str]) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("command", choices=["prepare"])
    parser.add_argument("--wet", type=Path, required=True, metavar="DIR", help="folder of *.warc.wet.gz files")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the prepared pages")
    flags = parser.parse_args(argv)
    try:
        counts = prepare(flags.wet.expanduser(), flags.out.expanduser())
    except KeyboardInterrupt:
        print("stopped; finished files are kept, the same command goes on from here", file=sys.stderr)
        return 130
    except (BadInput, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(", ".join(f"{name.replace('_', ' ')} {counts[name]:,}" for name in COUNTS))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same clean end
    sys.exit(main(sys.argv[1:]))
