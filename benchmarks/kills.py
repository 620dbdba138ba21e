"""Kills commands that write at random moments and runs them again: what they leave must be what an unbroken run leaves.

    python -m benchmarks.kills --rounds=20                          of each job; about 10 s a round
    python -m benchmarks.kills --rounds=20 --job=ssd_coco --seed=3

A round starts the command, sends SIGKILL, SIGTERM or SIGINT to it, or to it and all that it started, waits until
nothing of it runs any more, and looks for tracebacks and unfinished files. A command that gets to its end is compared
and begun in a new folder. Trials save themselves every second. Exits with 1 if anything differs, was done twice or is
left over.
"""

import dataclasses
import gzip
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from experiments import workloads
from experiments.command_line import Parser, exit_code, natural, positive
from experiments.protocol import tables
from experiments.protocol.study import EngineError

Contents = dict[str, str]
ENDS_WITHIN_SECONDS = 60.0
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
MARK = "KILLED_BY_BENCHMARK"
SHARE_OF_THREE = 0.3
"""Of the rounds of jobs that several may do, those in which three do it at once, and all are killed."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A command that writes into a folder, `{folder}` in its arguments.

    `prepare` makes what it reads, once for all folders. `files` are compared at its end; `kept` are those that must not
    change once they are there. `several` of them may work on one folder.
    """

    arguments: tuple[str, ...]
    files: tuple[str, ...]
    kept: str = ""
    prepare: Callable[[Path], None] = lambda folder: None
    several: bool = False


def _trials(workload: str, examples: int) -> Job:
    """One trial of each variant, which reads so many fresh examples."""
    variants = ("baseline", *workloads.echoing(workload))
    command = (
        "experiments.figure3",
        "--scale=small",
        f"--panel={workloads.WORKLOADS[workload].panels[3]}",
        "--engine=inline",
        "--runs={folder}/runs",
        "--checkpoint-seconds=1",
        "--config.searches=1",
        "--config.trials=1",
        *(f"--config.budget_fresh_examples.{variant}={examples}" for variant in variants),
    )
    return Job(command, ("**/measurements.jsonl", "**/study.json"), kept="**/result.json")


def _runs(folder: Path, figure: int = 3) -> None:
    _complete(Job((f"experiments.figure{figure}", "--scale=smoke", "--panel=a", "--runs={folder}/runs"), ()), folder)


def _tables(folder: Path, figure: int = 3) -> None:
    _runs(folder, figure)
    _complete(JOBS["collect"], folder)


def _tables_of_figure4(folder: Path) -> None:
    _tables(folder, figure=4)


def _committed(folder: Path) -> None:
    shutil.copytree(tables.RESULTS / "small", folder / "results" / "small")
    for drawn in (folder / "results" / "small").glob("figure3*"):
        drawn.unlink()


def _pages(folder: Path, files: int = 6, pages: int = 1_500) -> None:
    """WET files of pages in English, a gzip member each."""
    (folder / "wet").mkdir()
    for number in range(files):
        members = []
        for page in range(pages):
            text = f"This is page {page} of file {number}, which says in plain English that it is one of many.\n"
            head = f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://{number}/{page}\r\n"
            members.append(gzip.compress(f"{head}Content-Length: {len(text)}\r\n\r\n{text}\r\n\r\n".encode(), mtime=0))
        (folder / "wet" / f"{number}.warc.wet.gz").write_bytes(b"".join(members))


JOBS = {
    "transformer_lm1b": _trials("transformer_lm1b", 12_800),
    "resnet32_cifar10": _trials("resnet32_cifar10", 16_000),
    "resnet50_imagenet": _trials("resnet50_imagenet", 12_800),
    "ssd_coco": _trials("ssd_coco", 4_800),
    "run": Job(
        ("experiments.figure3", "--scale=smoke", "--panel=a", "--workers=2", "--bound=off", "--runs={folder}/runs"),
        ("**/measurements.jsonl", "**/study.json"),
        kept="**/result.json",
        several=True,
    ),
    "collect": Job(
        ("experiments.collect", "--scale=smoke", "--runs={folder}/runs", "--results={folder}/results"),
        ("results/**/*.csv", "results/**/*.parquet"),
        prepare=_runs,
        several=True,
    ),
    "analysis": Job(
        ("analysis.figure3", "--scale=small", "--results={folder}/results"),
        ("results/small/*",),
        prepare=_committed,
        several=True,
    ),
    "replicate": Job(
        ("experiments.replicate", "--scale=smoke", "--trials=6", "--results={folder}/results"),
        ("results/smoke/*.csv", "results/smoke/*.parquet"),
        prepare=_tables,
    ),
    "wall_clock": Job(
        ("experiments.wall_clock", "--scale=smoke", "--panel=a", "--reruns=1", "--results={folder}/results"),
        ("results/smoke/trials.csv", "results/smoke/studies.csv", "results/smoke/*.parquet"),  # seconds differ
        prepare=_tables_of_figure4,
    ),
    "prepare": Job(
        ("pipelines.sources.crawl", "prepare", "--wet={folder}/wet", "--out={folder}/out"),
        ("out/*.tfrecord", "out/*.json"),
        prepare=_pages,
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--rounds", type=positive, default=20, help="kills of each job; default 20")
    parser.add_argument("--job", choices=JOBS, action="append", help="may be repeated; default: all")
    parser.add_argument("--seed", type=natural, default=0, help="of the moments; default 0")
    flags = parser.parse_args(argv)

    def work() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, and by children, in a script's background
        if faults := sum(killed(name, flags.rounds, flags.seed) for name in flags.job or JOBS):
            raise EngineError(f"{faults} faults")

    return exit_code(work)


def killed(name: str, rounds: int, seed: int) -> int:
    """Kills one job so many times, in new folders as often as it gets to its end; prints and counts faults."""
    job, chance = JOBS[name], random.Random(f"{seed}/{name}")
    counts, faults, ends = dict.fromkeys(SIGNALS, 0), 0, 0
    with tempfile.TemporaryDirectory() as prepared, tempfile.TemporaryDirectory() as unbroken:
        job.prepare(Path(prepared))
        shutil.copytree(prepared, unbroken, dirs_exist_ok=True)
        started = time.monotonic()
        _complete(job, Path(unbroken))
        seconds = time.monotonic() - started
        expected = _contents(Path(unbroken), job.files)
        while sum(counts.values()) < rounds:
            with tempfile.TemporaryDirectory() as folder:
                shutil.copytree(prepared, folder, dirs_exist_ok=True)
                found = _until_done(job, Path(folder), chance, seconds, counts, rounds)
                contents = _contents(Path(folder), job.files)
            differing = sorted(path for path in contents.keys() | expected if contents.get(path) != expected.get(path))
            found += [f"{path} differs" for path in differing]
            for fault in found:
                print(f"  {name}: {fault}", flush=True)
            faults, ends = faults + len(found), ends + 1
    sent = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"{name:20} {sent}: {ends} times {len(expected)} files the same but for {faults} faults", flush=True)
    return faults


def _until_done(
    job: Job, folder: Path, chance: random.Random, seconds: float, counts: dict[str, int], rounds: int
) -> list[str]:
    """Kills the job until it gets to its end, or has been killed often enough and is let; returns the faults."""
    faults: list[str] = []
    done: Contents = {}
    killed = True
    while killed:
        if sum(counts.values()) < rounds:
            sent, moment, everyone = chance.choice(SIGNALS), chance.uniform(0.2, seconds), chance.random() < 0.5
            count = 3 if job.several and chance.random() < SHARE_OF_THREE else 1
            killed, found = _round(job, folder, sent, moment, everyone, count)
            counts[sent] += killed
            faults += [f"{sent} at {moment:.1f} s: {fault}" for fault in found]
        else:
            _complete(job, folder)
            killed = False
        now = _contents(folder, (job.kept,)) if job.kept else {}
        faults += [f"{path} was made again" for path in done if now.get(path) != done[path]]
        done = now
    return faults


def _command(job: Job, folder: Path) -> list[str]:
    return [sys.executable, "-m", *(argument.format(folder=folder) for argument in job.arguments)]


def _complete(job: Job, folder: Path) -> None:
    done = subprocess.run(_command(job, folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"{' '.join(job.arguments)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")


def _round(job: Job, folder: Path, sent: str, moment: float, everyone: bool, count: int) -> tuple[bool, list[str]]:
    """Runs so many of a command; whether any was still running when all were to be killed, and what was wrong then."""
    before = set(folder.rglob("*.unfinished"))  # of a SIGKILL
    said = [folder / f"said{number}" for number in range(count)]
    processes = [_started(job, folder, path) for path in said]
    deadline = time.monotonic() + moment
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(0.02)
    ended = [(process.returncode, path) for process, path in zip(processes, said, strict=True) if process.returncode]
    faults = [f"ended with {code}: {_last_line(path)}" for code, path in ended]
    running = [process for process in processes if process.returncode is None]
    if not running:
        return False, faults
    number = getattr(signal, sent)
    for process in running:
        os.killpg(process.pid, number) if everyone else process.send_signal(number)
    faults += _faults_left(folder, said, running, sent)
    if sent != "SIGKILL":
        faults += [f"{path} is left" for path in set(folder.rglob("*.unfinished")) - before]
    return True, faults


def _started(job: Job, folder: Path, said: Path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {MARK: str(folder)}
    with said.open("w") as out:
        return subprocess.Popen(_command(job, folder), env=environment, stdout=out, stderr=out, start_new_session=True)


def _faults_left(folder: Path, said: list[Path], killed: "list[subprocess.Popen[bytes]]", sent: str) -> list[str]:
    """What is wrong once commands were killed."""
    faults = []
    for process in killed:
        try:
            process.wait(ENDS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            faults.append(f"still there after {ENDS_WITHIN_SECONDS:.0f} s")
    if left := _left_over(str(folder)):
        faults.append(f"{len(left)} processes left, such as {' '.join(left[0].cmdline())[:200]}")
        for each in left:
            each.kill()
    if sent != "SIGKILL":
        faults += [f"a traceback:\n{text}" for path in said if "Traceback" in (text := path.read_text())]
    return faults


def _last_line(path: Path) -> str:
    return (path.read_text().strip().splitlines() or [""])[-1]


def _left_over(mark: str) -> list[psutil.Process]:
    """Processes of a run that do not end by themselves within ten seconds."""
    deadline = time.monotonic() + 10
    while (left := [each for each in psutil.process_iter() if _marked(each, mark)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _contents(folder: Path, patterns: tuple[str, ...]) -> Contents:
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


if __name__ == "__main__":
    sys.exit(main())
