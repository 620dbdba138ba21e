"""Workers on a cluster: who may train, what a lost or a leaving one costs, how GPUs are shared."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from small_studies import tiny

from experiments.examples import slurm
from experiments.protocol import accelerators, claim, cluster, engine, store, worker
from experiments.protocol.study import EngineError

CHECKOUT = Path(__file__).parents[2]
LONG = {"target": "0.1", "eval_every_steps": "100"}


@contextlib.contextmanager
def started(*command, cwd, env=None):
    """A process that is told to end, and killed if it does not."""
    process = subprocess.Popen(command, cwd=cwd, env=env, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()


@pytest.fixture
def scheduler_file(tmp_path):
    """A scheduler that does not run in the checkout."""
    path = tmp_path / "cluster.json"
    command = ["-m", "distributed.cli.dask_scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard"]
    with started(sys.executable, *command, f"--scheduler-file={path}", cwd=tmp_path):
        deadline = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield path


def own_worker(scheduler_file):
    command = [sys.executable, "-m", "experiments.worker", "--scale=smoke", "--workers=1", str(scheduler_file)]
    return started(*command, cwd=CHECKOUT)


def measured(root):
    return {
        path.relative_to(root): path.read_bytes() for path in root.glob("smoke/*/*/search*/trial*/measurements.jsonl")
    }


def wait_until(there, seconds=90):
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_trial_moves_from_a_worker_that_leaves_to_the_next_one(tmp_path, scheduler_file):
    study = tiny(searches=1, trials=1, overrides=LONG, budget_steps=2_500)
    folder = store.TrialFolder(tmp_path / "runs", study, 0, 0)
    run = threading.Thread(
        target=engine.run, args=([study],), kwargs={"root": tmp_path / "runs", "scheduler": str(scheduler_file)}
    )
    with own_worker(scheduler_file) as first:
        run.start()
        wait_until(lambda: folder.path.joinpath("measurements.jsonl").exists() and folder.measurements())
        first.terminate()
        assert first.wait(30) == 0
        assert "Traceback" not in first.stderr.read()
    assert folder.result() is None
    assert len(list(folder.checkpoints.glob("*/digests.json"))) == 1
    with own_worker(scheduler_file):
        run.join(90)
    assert folder.result().status == "complete"
    engine.run([study], root=tmp_path / "unbroken", engine="inline")
    assert measured(tmp_path / "runs") == measured(tmp_path / "unbroken")


@pytest.mark.slow
def test_a_scheduler_that_dies_is_one_line(tmp_path):
    address = tmp_path / "cluster.json"
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host=127.0.0.1", "--port=0"]
    command = [sys.executable, "-m", "experiments.figure3", "--scale=smoke", "--panel=a", f"--scheduler={address}"]
    with started(*scheduler, "--no-dashboard", f"--scheduler-file={address}", cwd=tmp_path) as dying:
        wait_until(address.exists)
        said = (tmp_path / "said").open("w+", encoding="utf-8")
        run = subprocess.Popen([*command, f"--runs={tmp_path / 'runs'}"], cwd=CHECKOUT, stdout=said, stderr=said)
        wait_until(lambda: "no worker is connected" in (tmp_path / "said").read_text(encoding="utf-8"))
        dying.kill()
        assert run.wait(60) == 1
    said.close()
    lines = (tmp_path / "said").read_text(encoding="utf-8").splitlines()
    waiting, *rest = (line for line in lines if line.strip() and "trial/s" not in line)  # beside the bar
    assert waiting.startswith("no worker is connected")
    assert [line for line in rest if "no worker" not in line] == [f"error: {cluster.GONE}"]


@pytest.mark.slow
def test_a_worker_without_the_suites_environment_is_refused(tmp_path, scheduler_file):
    command = ["-m", "distributed.cli.dask_worker", "--nthreads=1", f"--scheduler-file={scheduler_file}"]
    bare = {name: value for name, value in os.environ.items() if name not in worker.environment("smoke")}
    with (
        started(sys.executable, *command, cwd=CHECKOUT, env=bare),
        pytest.raises(EngineError, match=r"start workers with `python -m experiments\.worker --scale=smoke"),
    ):
        engine.run([tiny(searches=1, trials=1)], root=tmp_path, scheduler=str(scheduler_file))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_worker_that_stops_answering_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(claim, "SILENT_SECONDS", 6.0)
    study = tiny(searches=1, trials=2, overrides=LONG, budget_steps=2_500)
    folder = store.TrialFolder(tmp_path, study, 0, 0)
    run = threading.Thread(target=engine.run, args=([study],), kwargs={"root": tmp_path, "workers": 1})
    run.start()
    wait_until(lambda: folder.path.joinpath("measurements.jsonl").exists() and folder.measurements())
    family = psutil.Process().children(recursive=True)
    training = max(family, key=lambda process: process.memory_info().rss)
    training.suspend()
    run.join(120)
    assert not run.is_alive()
    assert not training.is_running()
    assert folder.result().status == "complete"


def test_workers_share_out_the_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    names = [share["CUDA_VISIBLE_DEVICES"] for share in accelerators.shares(4)]
    assert names == ["0", "1", "2", "3"]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in accelerators.shares(2)] == ["0,1", "2,3"]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in accelerators.shares(3)] == ["0", "1", "2,3"]
    crowded = accelerators.shares(6)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in crowded] == ["0", "1", "2", "3", "0", "1"]
    of_first = [float(s["XLA_PYTHON_CLIENT_MEM_FRACTION"]) for s in crowded if s["CUDA_VISIBLE_DEVICES"] == "0"]
    assert of_first == [0.45, 0.45]


def test_without_nvidia_gpus_workers_see_what_is_there(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(accelerators, "NVIDIA", tmp_path)
    assert accelerators.shares(3) == [{}, {}, {}]
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:02:00.0").mkdir()
    assert accelerators.shares(1) == [{"CUDA_VISIBLE_DEVICES": "0,1"}]


def test_each_scale_has_its_environment(monkeypatch):
    worker.check_environment("smoke")
    with pytest.raises(EngineError, match="JAX_COMPILATION_CACHE_DIR is not set"):
        worker.check_environment("paper")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/tmp/x")
    assert worker.environment("smoke")["XLA_FLAGS"].split() == ["--xla_dump_to=/tmp/x", worker.ONE_THREAD]


def test_a_scheduler_is_an_address_or_a_file(tmp_path):
    path = tmp_path / "cluster.json"
    path.write_text('{"address": "tcp://host:8786"}')
    assert cluster.address("tcp://host:8786") == cluster.address(str(path)) == "tcp://host:8786"
    for content in ("", "{", "[]", "{}", "3"):
        path.write_text(content)
        with pytest.raises(EngineError, match="no file that a Dask scheduler wrote"):
            cluster.address(str(path))
    with pytest.raises(EngineError, match="no address, such as tcp://host:8786"):
        cluster.address("localhost")


JOB = """#!/usr/bin/env bash

#SBATCH -J dask-worker
#SBATCH -p gpu
#SBATCH -n 1
#SBATCH --cpus-per-task=8
#SBATCH --mem=60G
#SBATCH -t 24:00:00
#SBATCH --gres=gpu:1
#SBATCH --signal=TERM@120
cd CHECKOUT
srun PYTHON -m experiments.worker --scale=paper SCHEDULER --name dummy-name --nthreads 1 --memory-limit 59.60GiB \
--death-timeout 60
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="runs a shell script")
def test_the_job_script_for_slurm_is_as_it_should_be_and_starts_a_worker(tmp_path, monkeypatch):
    """Read by eye; run here by a shell, with an srun that only runs its command."""
    monkeypatch.setattr(slurm, "SCHEDULER_FILE", tmp_path / "cluster.json")
    (tmp_path / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    with slurm.cluster(jobs=0) as jobs:
        script = jobs.job_script()
        wanted = JOB.replace("\\\n", "").replace("CHECKOUT", str(CHECKOUT)).replace("PYTHON", sys.executable)
        assert script.strip() == wanted.replace("SCHEDULER", jobs.scheduler_address).strip()
        (tmp_path / "job.sh").write_text(script)
        path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        with started("bash", str(tmp_path / "job.sh"), cwd=tmp_path, env=os.environ | path) as job:
            jobs.wait_for_workers(1, timeout=60)
            psutil.Process(job.pid).children()[0].terminate()
            assert job.wait(30) == 0
