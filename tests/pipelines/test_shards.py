"""A shard that is not as it was written is written again, or named."""

import numpy as np
import pytest
import tensorflow as tf
import wet_files

from pipelines import shards
from pipelines.sources import crawl
from pipelines.sources import registry as sources
from pipelines.sources.presence import DatasetMissing

SCENES = {
    "source": "composites",
    "stored_size": 24,
    "size": 16,
    "train_examples": 40,
    "validation_examples": 10,
    "smallest_area": 0.5,
    "colour_strength": 0.4,
    "corrupt": "fail",
    "shards": 4,
}


def last_record(path):
    """Where the last record of a file begins."""
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    return path.stat().st_size - len(records[-1]) - 16


def damage(path, kind):
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut between two records":
        path.write_bytes(path.read_bytes()[: last_record(path)])
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.unlink()


KINDS = pytest.mark.parametrize("kind", ["empty", "cut between two records", "cut", "gone"])


@KINDS
def test_a_damaged_shard_is_written_again(tmp_path, kind):
    def epoch():
        source = sources.load(SCENES | {"data_dir": str(tmp_path)})
        return np.stack([example["image"] for example in source.train(0).take(40).as_numpy_iterator()])

    before = epoch()
    path = sorted(tmp_path.glob("*train*.tfrecord"))[2]
    times = {other: other.stat().st_mtime_ns for other in tmp_path.glob("*.tfrecord") if other != path}
    damage(path, kind)
    assert shards.missing([path]) == [path]
    np.testing.assert_array_equal(epoch(), before)
    assert {other: other.stat().st_mtime_ns for other in times} == times


def test_without_sizes_everything_is_written_again(tmp_path):
    path = tmp_path / "a.tfrecord"
    shards.write([b"record"], path)
    assert shards.missing([path]) == []
    for content in ("", "[]", "{", "\x00"):
        (tmp_path / "sizes.json").write_text(content)
        assert shards.missing([path]) == [path]


@KINDS
def test_damaged_pages_are_named_and_prepared_again(tmp_path, kind):
    wet, out = tmp_path / "wet", tmp_path / "out"
    wet.mkdir()
    pages = [f"Page {number} says in plain English that it is number {number}." for number in range(40)]
    (wet / "a.warc.wet.gz").write_bytes(b"".join(wet_files.member(page, languages="eng") for page in pages))
    crawl.prepare(wet, out)
    path = crawl.shard(out, "a.warc.wet.gz", "train")
    whole = path.read_bytes()
    damage(path, kind)
    with pytest.raises(DatasetMissing, match="is missing or damaged; run"):
        crawl.PageReader(out, {"train": 100, "validation": 100})
    crawl.prepare(wet, out)
    assert path.read_bytes() == whole
