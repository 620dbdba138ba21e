import errno
import json
import multiprocessing
import os
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
    with folder.claimed():
        folder.start({"point": {"learning_rate": 0.1}})
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


@pytest.mark.parametrize("name", ["result.json", "measurements.jsonl"])
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
    with store.TrialFolder(root, tiny(), 0, 0).claimed():
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
    with store.TrialFolder(tmp_path, tiny(), 0, 0).claimed():
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
