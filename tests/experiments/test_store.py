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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_studies import tiny

from experiments.protocol import files, store
from experiments.protocol.study import Measurement, TrialResult

RESULT = TrialResult("complete", 8, 8, 100, 1.5)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))


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
    monkeypatch.setattr(files, "write", lambda *_: pytest.fail("written"))
    store.save_study(tmp_path, tiny())


def something_else(path, kind):
    if kind == "folder":
        path.mkdir(parents=True)
        (path / "notes.txt").write_text("kept")
    elif kind == "link to nothing":
        path.symlink_to(path.parent / "nothing")
    else:
        path.write_text("a file")


@pytest.mark.parametrize("kind", ["folder", "link to nothing"])
@pytest.mark.parametrize("name", ["result.json", "measurements.jsonl", "trial.json", "log.jsonl", "lock", "holder"])
def test_what_stands_in_a_files_place_is_set_aside_and_the_trial_is_run(tmp_path, caplog, name, kind):
    folder = store.TrialFolder(tmp_path, tiny(), 0, 3)
    folder.path.mkdir(parents=True)
    something_else(folder.path / name, kind)
    folder.make_way()
    with folder.claim.held():
        folder.start({"point": {"learning_rate": 0.1}, "seed": 1, "provenance": {}})
        folder.append(Measurement(8, 2.5))
        folder.finish(RESULT)
    assert folder.result() == RESULT
    assert f"{folder.path / name} is no file; it is now {name}.set-aside-1" in caplog.text
    assert os.path.lexists(folder.path / f"{name}.set-aside-1")


@pytest.mark.parametrize("kind", ["file", "link to nothing"])
@pytest.mark.parametrize("depth", [0, 1])
def test_what_stands_in_a_folders_place_is_set_aside(tmp_path, caplog, depth, kind):
    folder = store.TrialFolder(tmp_path, tiny(), 0, 3)
    path = (folder.path, folder.path.parent)[depth]
    path.parent.mkdir(parents=True)
    something_else(path, kind)
    assert store.finished_results(tmp_path, tiny(), 0) == {}
    folder.make_way()
    with folder.claim.held():
        pass
    assert "is no folder" in caplog.text


@pytest.mark.parametrize("kind", ["file", "link to nothing"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_what_stands_in_a_studys_place_is_set_aside(tmp_path, caplog, depth, kind):
    path = (store.study_folder(tmp_path, tiny()), *store.study_folder(tmp_path, tiny()).parents)[depth]
    path.parent.mkdir(parents=True, exist_ok=True)
    something_else(path, kind)
    store.save_study(tmp_path, tiny())
    assert store.studies(tmp_path, "smoke") == [tiny()]
    assert "is no folder" in caplog.text


def test_a_folder_where_a_studys_file_belongs_is_set_aside(tmp_path):
    something_else(store.study_folder(tmp_path, tiny()) / "study.json", "folder")
    store.save_study(tmp_path, tiny())
    assert store.studies(tmp_path, "smoke") == [tiny()]


@pytest.mark.parametrize(
    "changes", [{"seconds": float("nan")}, {"seconds": -1.0}, {"seconds": float("inf")}, {"steps_to_target": 9}]
)
def test_a_number_that_cannot_be_is_damage(folder, changes):
    folder.finish(dataclasses.replace(RESULT, **changes))
    assert folder.result() is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=8), parts, max_size=3),
    max_leaves=8,
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(["result.json", "measurements.jsonl", "trial.json"]),
    field=st.sampled_from([*dataclasses.asdict(RESULT), "sha256", "format", "point", "seed", "provenance", "value"]),
    value=JSON,
    cut=st.integers(0, 400),
    raw=st.none() | st.binary(max_size=40),
)
def test_whatever_is_in_a_trials_files_it_is_a_result_or_unfinished(tmp_path_factory, name, field, value, cut, raw):
    """A field of another value, a cut, any bytes: never an exception, never another result."""
    root = tmp_path_factory.getbasetemp() / "fuzzed"
    folder = store.TrialFolder(root, tiny(), 0, 3)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.start({"point": {"learning_rate": 0.1}, "seed": 1, "provenance": {}})
    folder.append(Measurement(8, 2.5))
    folder.finish(RESULT)
    path = folder.path / name
    if raw is not None:
        path.write_bytes(raw)
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | {field: value})[: cut or None])
    assert folder.result() in (None, RESULT)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    field=st.sampled_from([*vars(tiny()), *tiny().config]), value=JSON, cut=st.integers(0, 2_000), inside=st.booleans()
)
def test_whatever_is_in_a_studys_file_it_is_that_study_or_left_out(tmp_path_factory, field, value, cut, inside):
    root = tmp_path_factory.getbasetemp() / "fuzzed-studies"
    study = tiny()
    store.save_study(root, study)
    fields = json.loads(study.to_json())
    (fields["config"] if inside else fields)[field] = value
    (store.study_folder(root, study) / "study.json").write_text(json.dumps(fields)[: cut or None])
    for found in store.studies(root, "smoke"):
        assert found.name == study.name
