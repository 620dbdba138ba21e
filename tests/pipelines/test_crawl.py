"""From WET files to pages: damage, language, repeated lines, killed and resumed; then the examples made of them."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st
from wet_files import member

from experiments import workloads
from pipelines.sources import bundled, crawl, wet
from pipelines.sources import registry as sources
from pipelines.sources.presence import DatasetMissing
from pipelines.sources.wet import BadMember, members, read_pages
from pipelines.transforms import text

ENGLISH = bundled.load_text("brown").replace("\n\n", "\n").split("\n")
GERMAN = "Der schnelle braune Fuchs springt heute über den faulen Hund und schläft danach im Garten ein.\n"


def page(number: int) -> list[str]:
    """Ten lines that no other page has."""
    return [f"{number}: {line}" for line in ENGLISH[10 * number : 10 * number + 10]]


def url(number: int) -> str:
    return f"http://example.org/{number}"


def records(out, split):
    paths = sorted(str(path) for path in out.glob(f"*.{split}.tfrecord"))
    for record in tf.data.TFRecordDataset(paths).as_numpy_iterator() if paths else []:
        features = tf.train.Example.FromString(record).features.feature
        yield tuple(features[name].bytes_list.value[0].decode() for name in ("url", "text"))


@pytest.fixture
def every_fifth_held_out(monkeypatch):
    monkeypatch.setattr(crawl, "VALIDATION_EVERY", 5)


@pytest.fixture
def wet_folder(tmp_path):
    """Two files: a header record, pages, a corrupt member, a German page, repeated lines, a page of both, a cut end."""
    folder = tmp_path / "wet"
    folder.mkdir()
    corrupt = bytearray(member("\n".join(page(90)), url(90)))
    corrupt[len(corrupt) // 2] ^= 0xFF
    first = [member("software: test", kind="warcinfo")]
    first += [member("\n".join(page(i)), url(i)) for i in range(6)]
    first += [bytes(corrupt), member(GERMAN * 10, url(91)), member("\n".join([*page(0), "New.", "New."]), url(92))]
    first += [member("\n".join(page(i)), url(i)) for i in range(6, 12)]
    second = [member("\n".join(page(i)), url(i)) for i in [*range(12, 20), 1]]
    (folder / "a.warc.wet.gz").write_bytes(b"".join(first))
    (folder / "b.warc.wet.gz").write_bytes(b"".join(second) + member("\n".join(page(93)), url(93))[:-20])
    return folder


def expected():
    """Split, URL and text of the lines that should be left."""
    numbers = [*range(6), 92, *range(6, 20), 1]
    pages = [(url(i), ["New."] if i == 92 else page(i)) for i in numbers]
    kept = {
        split: [(at, [x for x in lines if crawl.split_of(x) == split]) for at, lines in pages] for split in crawl.SPLITS
    }
    return {split: [(at, "\n".join(lines)) for at, lines in kept[split] if lines] for split in crawl.SPLITS}


def test_pages_come_out_once_and_the_rest_is_counted_and_named(wet_folder, tmp_path, capsys, every_fifth_held_out):
    assert crawl.main(["prepare", f"--wet={wet_folder}", f"--out={tmp_path / 'out'}"]) == 0
    for split in crawl.SPLITS:
        assert list(records(tmp_path / "out", split)) == expected()[split]
    printed = capsys.readouterr()
    before = [member("software: test", kind="warcinfo"), *(member("\n".join(page(i)), url(i)) for i in range(6))]
    offset = len(b"".join(before))
    assert f"a.warc.wet.gz: skipped what begins at byte {offset}: " in printed.err
    assert "b.warc.wet.gz: skipped what begins at byte" in printed.err
    assert "truncated" in printed.err
    kept = ", ".join(f"{split} {len(expected()[split])}" for split in crawl.SPLITS)
    assert printed.out.strip() == f"pages 23, {kept}, not english 1, repeated lines 11, skipped members 2"


def test_no_line_is_in_both_splits(wet_folder, tmp_path, every_fifth_held_out):
    crawl.prepare(wet_folder, tmp_path)
    train, validation = (
        [line for _, text in records(tmp_path, split) for line in text.split("\n")] for split in crawl.SPLITS
    )
    assert len(train) + len(validation) == 211
    assert len(set(train)) < len(train)  # page 1 is in both files
    assert not set(train) & set(validation)
    assert 25 <= len(validation) <= 60


def test_a_file_replaced_by_another_of_its_name_is_prepared_again(wet_folder, tmp_path):
    crawl.prepare(wet_folder, tmp_path)
    (wet_folder / "a.warc.wet.gz").write_bytes((wet_folder / "b.warc.wet.gz").read_bytes())
    counts = crawl.prepare(wet_folder, tmp_path)
    assert counts["pages"] == 18


KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.sources import crawl
crawl.VALIDATION_EVERY, read_pages, members_read = 5, crawl.read_pages, []
def killed_at_the_twentieth(member):
    members_read.append(member)
    if len(members_read) == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return read_pages(member)
crawl.read_pages = killed_at_the_twentieth
crawl.main(["prepare", f"--wet={sys.argv[1]}", f"--out={sys.argv[2]}"])
"""


@pytest.mark.slow
def test_killed_half_way_and_resumed_every_record_comes_out_once(wet_folder, tmp_path, every_fifth_held_out):
    out = tmp_path / "out"
    run = subprocess.run([sys.executable, "-c", KILLED, wet_folder, out], capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert [path.name for path in out.glob("*.json")] == ["a.warc.wet.gz.json"]
    assert list(out.glob("b.*.unfinished"))
    finished = out / "a.warc.wet.gz.train.tfrecord"
    written = finished.stat().st_mtime_ns
    crawl.prepare(wet_folder, out)
    assert finished.stat().st_mtime_ns == written
    assert not list(out.glob("*.unfinished"))
    for split in crawl.SPLITS:
        assert list(records(out, split)) == expected()[split]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (b"no gzip at all", "incorrect header"),
        (wet.GZIP_MAGIC + b"\0" * 200_000, "invalid"),
        (gzip.compress(b"no WARC record", mtime=0), "not a WARC record"),
        (gzip.compress(gzip.decompress(member("cut short"))[:-8], mtime=0), "cut short"),
        (gzip.compress(b"0" * 3_000_000, mtime=0), "more than 2 MiB"),
    ],
)
def test_damage_costs_only_what_is_damaged(damage, fault, monkeypatch):
    monkeypatch.setattr(wet, "LARGEST_RECORD_BYTES", 2 << 20)
    faults, texts = [], []
    around = [member("before"), member("after" * 5000), member("last")]
    stream = io.BytesIO(around[0] + damage + around[1] + around[2])
    for offset, content in wet.members(stream, lambda offset, fault: faults.append((offset, fault))):
        try:
            texts += [page.text for page in wet.read_pages(content)]
        except wet.BadMember as bad:
            faults.append((offset, str(bad)))
    assert texts == ["before", "after" * 5000, "last"]
    [(offset, printed)] = faults
    assert offset == len(around[0])
    assert fault in printed


def test_languages_that_the_crawl_wrote_decide():
    sentence = "The committee said that it would look into the matter once more before the end of the year."
    assert crawl.is_english(wet.Page("", sentence, None))
    assert not crawl.is_english(wet.Page("", GERMAN, None))
    assert not crawl.is_english(wet.Page("", sentence, "deu,eng"))
    assert crawl.is_english(wet.Page("", GERMAN, "eng,deu"))


def test_lines_are_remembered_up_to_a_limit():
    lines = crawl.NewLines(limit=3)
    assert lines.of("a\n b \n\na\nb\r\nc") == ["a", "b", "c"]
    assert lines.repeated == 2
    assert lines.of("c\nd\na\nd") == ["d", "a"]


def test_bad_input_is_one_line_and_an_exit_code(wet_folder, tmp_path, capsys):
    assert crawl.main(["prepare", f"--wet={tmp_path}", f"--out={tmp_path / 'out'}"]) == 1
    assert capsys.readouterr().err == f"error: no *.warc.wet.gz in {tmp_path}\n"
    assert crawl.main(["prepare", f"--wet={wet_folder}", f"--out={wet_folder / 'a.warc.wet.gz'}"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1


SETTINGS = {"source": "common_crawl", "vocab_size": 300, "length": 24, "train_pages": 1000, "validation_examples": 20}


def parts(numbers):
    """The lines of each page in each split, where it has any."""
    lines = {split: [[x for x in page(i) if crawl.split_of(x) == split] for i in numbers] for split in crawl.SPLITS}
    return {split: [part for part in lines[split] if part] for split in crawl.SPLITS}


@pytest.fixture
def prepared_wet(tmp_path, every_fifth_held_out):
    (tmp_path / "c.warc.wet.gz").write_bytes(b"".join(member("\n".join(page(i))) for i in range(30)))
    crawl.prepare(tmp_path, tmp_path)
    return "wet", tmp_path


@pytest.fixture
def prepared_c4(tmp_path, every_fifth_held_out):
    """The same lines, in the same splits, as TensorFlow Datasets writes C4."""
    builder = tfds.builder("c4/en.noclean", data_dir=tmp_path)
    os.makedirs(builder.data_dir)
    writer = tfds.core.SequentialWriter(builder.info, max_examples_per_shard=10)
    writer.initialize_splits(["train", "validation"])
    rest = {"url": "", "content-type": "text/plain", "content-length": "", "timestamp": "2019-04-01T00:00:00Z"}
    for split, pages in parts(range(30)).items():
        writer.add_examples({split: [{"text": "\n".join(lines), **rest} for lines in pages]})
    writer.close_all()
    return "c4/en.noclean", tmp_path


@pytest.mark.parametrize("form", ["prepared_wet", "prepared_c4"])
def test_both_forms_give_a_line_an_example(form, request):
    dataset, folder = request.getfixturevalue(form)
    source = sources.load(SETTINGS | {"dataset": dataset, "data_dir": str(folder)})
    vocabulary = text.load_vocabulary(next((folder / "data_echoing").glob("*/vocabulary.model")))

    def expected(split):
        return [tuple(ids[:24]) for lines in parts(range(30))[split] for ids in vocabulary.encode(lines)]

    def read(dataset, count):
        tokens = [example["tokens"] for example in dataset.take(count).as_numpy_iterator()]
        assert all(t.shape == (24,) and t.dtype == np.int32 for t in tokens)
        return [tuple(int(token) for token in t if token) for t in tokens]

    train = expected("train")
    assert sorted(read(source.train(0), len(train))) == sorted(train)
    assert read(source.validation(), 1000) == expected("validation")[:20]


def test_both_forms_give_the_same_examples(prepared_wet, prepared_c4):
    readers = []
    for dataset, folder in (prepared_wet, prepared_c4):
        source = sources.load(SETTINGS | {"dataset": dataset, "data_dir": str(folder)})
        readers.append([example["tokens"].tolist() for example in source.train(0).take(240).as_numpy_iterator()])
    assert readers[0] == readers[1]


def test_pages_prepared_later_are_tokenised_too(prepared_wet):
    dataset, folder = prepared_wet
    settings = SETTINGS | {"dataset": dataset, "data_dir": str(folder)}
    sources.load(settings)
    (folder / "d.warc.wet.gz").write_bytes(b"".join(member("\n".join(page(i))) for i in range(30, 40)))
    crawl.prepare(folder, folder)
    lines = [line for part in parts(range(40))["train"] for line in part]
    examples = sources.load(settings).train(0).take(len(lines)).as_numpy_iterator()
    assert len({example["tokens"].tobytes() for example in examples}) > len(lines) - 10


def test_pages_that_are_not_prepared_are_named_with_a_remedy(tmp_path):
    settings = SETTINGS | {"data_dir": str(tmp_path)}
    with pytest.raises(DatasetMissing, match=r"no prepared pages .*pipelines.sources.crawl prepare"):
        sources.load(settings | {"dataset": "wet"})
    with pytest.raises(DatasetMissing, match=r"c4/en is not prepared in .*pipelines.sources.prepare c4/en"):
        sources.load(settings | {"dataset": "c4/en"})
    paper = workloads.load("transformer_common_crawl", "paper", {"data.data_dir": str(tmp_path)})
    with pytest.raises(DatasetMissing, match=r"c4/en.noclean is not prepared"):
        sources.load(paper.data.to_dict())
    with pytest.raises(ValueError, match=r"data.dataset must be .*got 'c4'"):
        sources.load(settings | {"dataset": "c4"})


@pytest.mark.parametrize("scale", workloads.SCALES)
def test_the_workload_is_lm1bs_but_for_data_budget_and_target(scale):
    lm1b, crawled = (
        json.loads(workloads.load(name, scale).to_json_best_effort())
        for name in ("transformer_lm1b", "transformer_common_crawl")
    )
    different = {key for key in lm1b.keys() | crawled.keys() if lm1b.get(key) != crawled.get(key)}
    assert different <= {"workload", "data", "budget_fresh_examples", "target", "eval_every_steps"}
    assert crawled["data"]["source"] != lm1b["data"]["source"]


def record(text, *, end="\r\n", length="Content-Length", declared=None, kind="conversion"):
    """A WARC record, not compressed."""
    body = text.encode("utf-8")
    lines = ["WARC/1.0", f"WARC-Type: {kind}", "warc-target-uri: http://a", f"{length}: {declared or len(body)}"]
    return (end.join(lines) + end + end).encode("utf-8") + body + (end + end).encode("utf-8")


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("length", ["Content-Length", "content-length", "CONTENT-LENGTH"])
def test_field_names_know_no_case_and_lines_may_end_in_line_feeds(end, length):
    pages = list(read_pages(record("one\n\ntwo", end=end, length=length) + record("three", end=end, length=length)))
    assert [(page.url, page.text) for page in pages] == [("http://a", "one\n\ntwo"), ("http://a", "three")]


def test_a_good_record_beside_a_cut_one_in_a_member_is_kept(tmp_path):
    cut = record("\n".join(page(1)), declared=100_000)
    (tmp_path / "wet").mkdir()
    content = gzip.compress(record("\n".join(page(0))) + cut)
    (tmp_path / "wet" / "a.warc.wet.gz").write_bytes(content)
    counts = crawl.prepare(tmp_path / "wet", tmp_path / "out")
    assert (counts["pages"], counts["skipped_members"]) == (1, 1)


def test_an_empty_file_is_named(tmp_path, capsys):
    (tmp_path / "a.warc.wet.gz").write_bytes(b"")
    counts = crawl.prepare(tmp_path, tmp_path / "out")
    assert counts["skipped_members"] == 1
    assert "a.warc.wet.gz: skipped what begins at byte 0: the file is empty" in capsys.readouterr().err


RECORDS = [record("a"), record("b", end="\n"), b"WARC/1.0\r\n", b"Content-Length: 5\n\n"]


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "200")), deadline=None)
@given(
    st.lists(
        st.binary(max_size=80) | st.sampled_from([record("a"), record("b", end="\n"), b"WARC/1.0\r\n"]), max_size=5
    ),
    st.booleans(),
    st.integers(0, 400),
)
def test_whatever_a_file_holds_is_read_or_skipped(parts, compressed, cut):
    file = b"".join(map(gzip.compress, parts) if compressed else parts)
    skipped = []
    for _, content in members(io.BytesIO(file[: max(0, len(file) - cut)]), lambda *fault: skipped.append(fault)):
        try:
            assert all(isinstance(page.text, str) for page in read_pages(content))
        except BadMember as fault:
            assert str(fault)
