"""Kills at any moment, two runs at once, damaged files: the table stays the same."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pandas as pd
import psutil
import pytest
from distributed import Client, LocalCluster
from distributed.security import Security
from small_studies import OVERRIDES, tiny

from experiments import collect, command_line, figure3, workloads
from experiments.protocol import cluster, engine, progress, store, worker
from experiments.protocol.study import EngineError, TrialResult

SETTINGS = OVERRIDES | {
    "searches": "1",
    "target": "3.0",
    "eval_every_steps": "20",
    "budget_fresh_examples.baseline": "1600",
    "budget_fresh_examples.batch": "1600",
    "budget_fresh_examples.example": "1600",
}


def start(runs, workers=2, new_group=False):
    command = [
        sys.executable,
        "-m",
        "experiments.figure3",
        "--scale=smoke",
        "--panel=a",
        f"--workers={workers}",
        f"--runs={runs}",
    ]
    command += [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    # A program that a script started in the background ignores interrupts, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=new_group
    )


def results(runs):
    return sorted(runs.glob("smoke/*/*/search*/trial*/result.json"))


def wait_for_results(runs, count, process, seconds=150):
    deadline = time.monotonic() + seconds
    while len(results(runs)) < count:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, f"{len(results(runs))} of {count} results after {seconds} s"
        time.sleep(0.05)


def table(runs, results_folder):
    collect.collect(runs, results_folder, "smoke")
    trials = pd.read_csv(results_folder / "smoke" / "trials.csv")
    measurements = pd.read_parquet(results_folder / "smoke" / "measurements.parquet")
    return trials.drop(columns=["seconds", "git_revision"]), measurements


@pytest.mark.slow
def test_kills_damage_and_company_change_nothing(tmp_path):
    runs = tmp_path / "runs"
    first = start(runs)
    try:
        wait_for_results(runs, 1, first)
        family = psutil.Process(first.pid).children(recursive=True)
        listening = [
            connection.laddr.ip
            for process in [psutil.Process(first.pid), *family]
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert set(listening) <= {"127.0.0.1", "::1"}
        worker = max(family, key=lambda process: process.memory_info().rss)
        worker.kill()
        wait_for_results(runs, 3, first)
        family = psutil.Process(first.pid).children(recursive=True)
    finally:
        first.kill()
    first.wait()
    psutil.wait_procs(family, timeout=30)
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    finished = {path: path.stat().st_mtime_ns for path in results(runs)}
    damaged = next(iter(finished))
    damaged.write_bytes(damaged.read_bytes()[:20])

    second, third = start(runs, workers=1), start(runs, workers=1)
    outputs = [process.communicate(timeout=400)[0] for process in (second, third)]
    assert [second.returncode, third.returncode] == [0, 0], outputs
    assert str(damaged) in outputs[0] + outputs[1]
    kept = {path: path.stat().st_mtime_ns for path in finished if path != damaged}
    assert kept == {path: time for path, time in finished.items() if path != damaged}

    config = workloads.load("transformer_lm1b", "smoke", SETTINGS)
    whole = tmp_path / "unbroken"
    engine.run(figure3.studies(config), root=whole, engine="inline")
    for ours, unbroken in zip(table(runs, tmp_path / "a"), table(whole, tmp_path / "b"), strict=True):
        pd.testing.assert_frame_equal(ours, unbroken)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_stop_of_all_its_processes_at_once_does_not_wait_for_workers_that_are_gone(tmp_path):
    process = start(tmp_path, new_group=True)
    wait_for_results(tmp_path, 1, process)
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=40)[0]
    assert process.returncode == 143
    assert "the same command goes on from here" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_terminals_interrupt_is_heard_by_the_command_and_not_by_workers_that_import(tmp_path):
    process = start(tmp_path, new_group=True)
    deadline = time.monotonic() + 60
    while not any("spawn_main" in " ".join(each.cmdline()) for each in psutil.Process(process.pid).children()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=40)[0]
    assert process.returncode == 130
    assert "the same command goes on from here" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_bound_saves_updates_and_changes_no_minimum(tmp_path):
    least = {}
    updates = {}
    for bound in (True, False):
        study = tiny(bound=bound, trials=6, overrides={"target": "3.6", "eval_every_steps": "2"})
        progress = engine.run([study], root=tmp_path, engine="inline")
        for search in range(study.searches):
            steps = [r.steps_to_target for i, r in progress.results[0, search].items() if i < 6]
            least[bound, search] = min((s for s in steps if s is not None), default=None)
            updates[bound] = updates.get(bound, 0) + sum(r.sgd_steps for r in progress.results[0, search].values())
    assert [least[True, s] for s in range(2)] == [least[False, s] for s in range(2)]
    assert None not in least.values()
    assert updates[True] < updates[False]


def test_infeasible_trials_are_replaced_and_a_hopeless_search_is_given_up(tmp_path, monkeypatch):
    statuses = iter(["infeasible", "complete", "infeasible", "complete", "complete"] + ["infeasible"] * 15)

    def run_task(root, study, search, index, *_):
        folder = store.TrialFolder(root, study, search, index)
        with folder.claim.held():
            folder.start({})
            result = TrialResult(next(statuses), 4, None, 0, 0.0)
            folder.finish(result)
            return result

    monkeypatch.setattr(worker, "run_task", run_task)
    progress = engine.run([tiny(searches=1)], root=tmp_path / "a", engine="inline")
    assert len(progress.results[0, 0]) == 5
    progress = engine.run([tiny(searches=1)], root=tmp_path / "b", engine="inline")
    assert progress.counts == {"complete": 0, "bounded": 0, "infeasible": 15}
    assert not progress.open


def test_trial_order_takes_low_indices_of_all_searches_first(tmp_path):
    studies = [tiny(), tiny("batch", 2)]
    known = progress.Progress(studies, tmp_path)
    assert known.open == 12
    tasks = list(iter(known.next_task, None))
    assert [(t.study, t.index, t.search) for t in tasks[:5]] == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 2, 0)]
    assert len(tasks) == 12


def test_failing_trial_stops_the_run_with_its_message(tmp_path, monkeypatch):
    def run_task(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(worker, "run_task", run_task)
    with pytest.raises(OSError, match="No space left"):
        engine.run([tiny()], root=tmp_path, engine="inline")


@pytest.mark.slow
def test_unreachable_scheduler_is_named(tmp_path):
    with pytest.raises(EngineError, match=r"tcp://127\.0\.0\.1:1"):
        engine.run([tiny()], root=tmp_path, scheduler="tcp://127.0.0.1:1")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_interrupt_is_reported_and_keeps_results(tmp_path):
    process = start(tmp_path)
    try:
        wait_for_results(tmp_path, 1, process)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "finished trials are kept" in output
    assert results(tmp_path)


def test_trains_on_a_cluster_that_is_already_there(tmp_path):
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as dask:
        progress = engine.run([tiny(searches=1, trials=2)], root=tmp_path, scheduler=dask.scheduler_address)
    assert len(progress.results[0, 0]) == 2
    assert not progress.open


@pytest.mark.slow
@pytest.mark.parametrize("banner", [b"", b"SSH-2.0-OpenSSH_9.2\r\n"], ids=["silent", "ssh"])
def test_a_port_that_is_no_schedulers_is_named(tmp_path, monkeypatch, banner):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    kept.append(server.accept()[0])
                    kept[-1].sendall(banner)

        monkeypatch.setattr(cluster, "ANSWER_SECONDS", 5.0)
        kept = []
        threading.Thread(target=accept, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(EngineError, match=f"no Dask scheduler answers at {address}"):
            engine.run([tiny()], root=tmp_path, scheduler=address)
        assert time.monotonic() - started < 30
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.slow
def test_a_stranger_on_the_same_machine_is_refused(tmp_path):
    """Loopback is open to every account, and a scheduler runs what it is sent."""
    with cluster.connected(None, [worker.environment("smoke")]) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert client.submit(lambda: 1).result() == 1
        plain = address.replace("tls://", "tcp://")
        for where, security in [(plain, None), (address, Security.temporary()), (address, None)]:
            with pytest.raises((OSError, TimeoutError, TypeError, RuntimeError)):
                Client(where, security=security, timeout=3)
        hosts = {each["host"] for each in client.scheduler_info()["workers"].values()}
        assert hosts == {"127.0.0.1"}


def failing(root, study, search, index, *_):
    if index == 1:
        raise ZeroDivisionError("in the model\nand more")
    return run_task(root, study, search, index)


run_task = worker.run_task


@pytest.mark.parametrize("way", ["inline", "dask"])
def test_a_trial_that_fails_is_named_with_its_point_and_the_others_go_on(tmp_path, monkeypatch, capsys, way):
    monkeypatch.setattr(worker, "run_task", failing)
    study = tiny(searches=2, trials=2)
    with contextlib.ExitStack() as stack:
        address = None
        if way == "dask":
            dask = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
            address = stack.enter_context(dask).scheduler_address
        with pytest.raises(EngineError, match=r"2 trials failed, the others are kept; the first: trial 1 of search 0"):
            engine.run([study], root=tmp_path, engine=way, scheduler=address)
    said = capsys.readouterr().err
    assert "learning_rate = " in said and "ZeroDivisionError: in the model" in said and "and more" not in said
    for search in range(2):
        finished = store.finished_results(tmp_path, study, search)
        assert 0 in finished and 1 not in finished


def test_a_cluster_without_workers_is_waited_for(tmp_path, capsys):
    with LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=None) as dask:
        with Client(dask) as client:
            threading.Timer(0.5, dask.scale, [1]).start()
            cluster._await_workers(client, seconds=0.1)
        assert f"no worker is connected to {dask.scheduler_address}; waiting" in capsys.readouterr().err


def test_what_never_reached_the_target_is_shown_beside_it(tmp_path):
    """By the bar and by --status."""
    study = tiny(searches=1, trials=2, overrides={"target": "0.1"})
    known = engine.run([study], root=tmp_path, engine="inline")
    values = [m.value for index in (0, 1) for m in store.TrialFolder(tmp_path, study, 0, index).measurements()]
    assert known.best_in_words(0) == f"cross_entropy {min(values):.4g}, target 0.1"
    assert known.best_in_words(0) in command_line.status([study], tmp_path)
    assert "none yet" in command_line.status([study], tmp_path / "elsewhere")
