import dataclasses
import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import threading
import time

import pytest
from small_studies import tiny

from experiments.protocol import store
from experiments.protocol.study import Measurement, TrialResult

RESULT = TrialResult("complete", 8, 8, 100, 1.5)


@pytest.fixture
def folder(tmp_path):
    folder = store.TrialFolder(tmp_path, tiny(), 0, 3)
    with folder.claim.held():
        folder.start({"point": {"learning_rate": 0.1}, "seed": 1, "provenance": {}})
        folder.append(Measurement(4, 3.0))
        folder.append(Measurement(8, 2.5))
        folder.finish(RESULT)
    return folder


def test_what_was_written_is_read_back(folder, tmp_path):
    assert folder.result() == RESULT
    assert folder.measurements() == [Measurement(4, 3.0), Measurement(8, 2.5)]
    assert folder.description()["point"] == {"learning_rate": 0.1}
    assert store.finished_results(tmp_path, tiny(), 0) == {3: RESULT}
    assert store.finished_results(tmp_path, tiny(), 1) == {}


@pytest.mark.parametrize("name", ["result.json", "measurements.jsonl", "trial.json"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_truncated_file_is_named_and_its_trial_is_unfinished(folder, caplog, name, keep):
    path = folder.path / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    assert folder.result() is None
    assert str(folder.path / "result.json") in caplog.text
    assert "run again" in caplog.text


def test_foreign_content_is_unfinished(folder, caplog):
    for content in ("[]", "{}", json.dumps({"status": "complete"})):
        (folder.path / "result.json").write_text(content)
        assert folder.result() is None


def test_a_trial_that_was_killed_leaves_nothing_that_counts(folder):
    folder.start({})
    folder.append(Measurement(4, 1.0))
    assert folder.result() is None


def test_full_disk_keeps_the_old_file(folder, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.finish(TrialResult("complete", 9, 9, 0, 0.0))
    assert folder.result() == RESULT
    assert not list(folder.path.glob("*.unfinished"))


def hold(root, seconds, entered):
    with store.TrialFolder(root, tiny(), 0, 0).claim.held():
        entered.set()
        time.sleep(seconds)


def test_claim_waits_for_another_process_and_ends_with_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    entered = context.Event()
    holder = context.Process(target=hold, args=(tmp_path, 60, entered))
    holder.start()
    assert entered.wait(60)
    started = time.monotonic()
    threading.Timer(0.5, holder.kill).start()
    with store.TrialFolder(tmp_path, tiny(), 0, 0).claim.held():
        waited = time.monotonic() - started
    assert 0.4 < waited < 10


def test_study_is_listed(tmp_path):
    store.save_study(tmp_path, tiny())
    assert store.studies(tmp_path, "smoke") == [tiny()]
    assert store.studies(tmp_path, "small") == []


def test_provenance_names_versions_revision_and_machine(monkeypatch):
    monkeypatch.setenv("NPROC", "3")
    store.provenance.cache_clear()
    found = store.provenance()
    store.provenance.cache_clear()
    assert {"git_revision", "python", "jax", "numpy", "os"} <= set(found)
    assert found["processor"]
    assert found["threads"] == 3


NESTED = "[" * 100_000


@pytest.mark.parametrize("name", ["result.json", "measurements.jsonl", "trial.json"])
@pytest.mark.parametrize("content", ["", "null", "3", "[]", '{"a": 1}', NESTED, "\x00\x01", '"text"'])
def test_any_other_content_is_named_and_its_trial_is_unfinished(folder, caplog, name, content):
    (folder.path / name).write_text(content)
    assert folder.result() is None
    assert "result.json is damaged" in caplog.text and len(caplog.messages[-1].splitlines()) == 1


@pytest.mark.parametrize("name", ["result.json", "measurements.jsonl", "trial.json"])
@pytest.mark.parametrize("kind", ["folder", "link to nothing", "binary", "missing"])
def test_something_else_in_a_files_place_is_unfinished(folder, caplog, name, kind):
    path = folder.path / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to(folder.path / "nothing")
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    assert folder.result() is None
    assert caplog.messages or (kind, name) == ("missing", "result.json")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("trial.json", "0.1", "0.2"),
        ("result.json", '"sgd_steps": 8', '"sgd_steps": 9'),
        ("result.json", '"complete"', '"bounded"'),
        ("result.json", '"format": 2', '"format": 3'),
        ("measurements.jsonl", "2.5", "2.4"),
    ],
)
def test_a_changed_number_is_noticed(folder, name, old, new):
    path = folder.path / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert folder.result() is None


@pytest.mark.parametrize(
    "field",
    [
        ("status", "won"),
        ("sgd_steps", 8.5),
        ("sgd_steps", True),
        ("seconds", "1"),
        ("examples_read", -1),
        ("refilled_after", [1.5]),
    ],
)
def test_a_field_of_another_type_is_damage(folder, field):
    folder.finish(dataclasses.replace(RESULT, **dict([field])))
    assert folder.result() is None


def test_results_of_the_first_format_are_read(folder):
    fields = dataclasses.asdict(RESULT)
    measured = hashlib.sha256((folder.path / "measurements.jsonl").read_bytes()).hexdigest()
    (folder.path / "result.json").write_text(json.dumps(fields | {"measurements_sha256": measured}))
    assert folder.result() == RESULT


def test_a_copy_of_another_trial_is_noticed(folder, tmp_path, caplog):
    folder.start({"study": tiny().name, "search": 0, "index": 3, "point": {}, "seed": 1, "provenance": {}})
    folder.finish(RESULT)
    assert folder.result() == RESULT
    copy = store.TrialFolder(tmp_path, tiny(), 0, 4)
    shutil.copytree(folder.path, copy.path)
    assert copy.result() is None
    assert "not of this trial" in caplog.text


@pytest.mark.parametrize("content", [None, "", "{}", NESTED, "\x00", "folder"])
def test_a_study_that_cannot_be_read_is_named_and_leaves_the_others(tmp_path, caplog, content):
    for study in (tiny(), tiny("example", 2)):
        store.save_study(tmp_path, study)
        (store.study_folder(tmp_path, study) / "search0").mkdir()
    path = store.study_folder(tmp_path, tiny()) / "study.json"
    path.unlink()
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    assert store.studies(tmp_path, "smoke") == [tiny("example", 2)]
    assert str(path.parent) in caplog.text and "run its figure again" in caplog.text


def test_what_is_stored_already_is_not_written_again(tmp_path, monkeypatch):
    store.save_study(tmp_path, tiny())
    monkeypatch.setattr(store, "write_atomically", lambda *_: pytest.fail("written"))
    store.save_study(tmp_path, tiny())
