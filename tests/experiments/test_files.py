"""Old files stay whole until all new ones are written."""

import errno
import multiprocessing
import os
import threading

import pandas as pd
import pytest
from small_studies import tiny

from analysis import figure3
from experiments import detections, replicate, timeline, wall_clock
from experiments.protocol import files, tables


def test_what_belongs_together_appears_together_or_not_at_all(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in "abc"]
    files.write_together(dict.fromkeys(paths, "old"))
    real, calls = os.fsync, []

    def fails_at_the_third(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fails_at_the_third)
    with pytest.raises(OSError, match="No space left"):
        files.write_together(dict.fromkeys(paths, "new"))
    assert {path.read_text() for path in paths} == {"old"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize("room", range(4))
def test_a_full_disk_keeps_a_figure_as_it_was(tmp_path, monkeypatch, room):
    figure3.ANALYSIS.make(tmp_path, "published")
    folder = tmp_path / "published"
    for path in folder.iterdir():
        path.write_bytes(b"old")
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > room:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        figure3.ANALYSIS.make(tmp_path, "published")
    assert {path.read_bytes() for path in folder.iterdir()} == {b"old"}


def rows(batch_size):
    keys = tables.study_keys(tiny()) | {"batch_size": batch_size}
    numbers = dict.fromkeys(tables.COLUMNS["studies"], 1)
    words = {
        "metric": "m",
        "goal": "min",
        "config_hash": "x",
        "config": "{}",
        "workload": "w",
        "variant": "v",
        "bound": True,
    }
    return pd.DataFrame([numbers | words | keys])


def update(folder, first):
    for number in range(8):
        tables.update(folder, {"studies": rows(first + number)})


def test_two_that_update_one_table_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=update, args=(tmp_path / "small", first)) for first in (100, 200, 300)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    sizes = tables.read(tmp_path, "small", "studies")["batch_size"]
    assert sorted(sizes) == [first + number for first in (100, 200, 300) for number in range(8)]


def rerun(number):
    keys = {"workload": "w", "variant": "v", "echo_factor": 1.0, "ratio": 6.0, "rerun": number}
    assert [*keys] == tables.KEYS["wall_clock"]
    return keys


@pytest.mark.parametrize("command", [detections, replicate, timeline, wall_clock])
def test_a_table_is_written_when_no_other_process_writes_into_its_folder(tmp_path, command):
    path = tmp_path / "small" / "table"
    writing = threading.Thread(target=command.save, args=(path, [rerun(0)]))
    with files.locked(path.parent):
        writing.start()
        writing.join(0.3)
        assert not path.exists()
    writing.join(60)
    assert path.stat().st_size


@pytest.mark.parametrize("command", [detections, replicate, timeline, wall_clock])
def test_two_that_write_one_table_do_not_fail(tmp_path, command):
    path, failed = tmp_path / "small" / "table", []

    def write(number):
        try:
            command.save(path, [rerun(number)])
        except Exception as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert not failed
    assert sorted(entry.name for entry in path.parent.iterdir()) in (["table"], [".lock", "table"])
    if command is wall_clock:
        assert sorted(pd.read_csv(path)["rerun"]) == list(range(8))


@pytest.mark.parametrize("kind", ["folder", "link to nothing", "file"])
def test_only_what_is_of_the_wrong_kind_is_set_aside(tmp_path, kind, caplog):
    path = tmp_path / "it"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("kept")
    else:
        path.symlink_to(tmp_path / "nothing")
    files.make_way(path)
    files.make_way(path, for_folder=kind == "folder")
    assert os.path.lexists(path) == (kind == "file")
    assert ("set-aside-1" in caplog.text) == (kind != "file")
