"""Kills commands that write at random moments and runs them again: what they leave must be what an unbroken run leaves.

    python -m benchmarks.kills --rounds=20                          of each job; about 10 s a round
    python -m benchmarks.kills --rounds=20 --job=ssd_coco --seed=3

A round starts the command, sends SIGKILL, SIGTERM or SIGINT to it, or to it and all that it started, waits until
nothing of it runs any more, and looks for tracebacks and unfinished files. A command that gets to its end is compared
and begun in a new folder. Trials save themselves every second. Exits with 1 if anything differs, was done twice or is
left over.
"""

import dataclasses
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from experiments.command_line import Parser, exit_code, natural, positive
from experiments.protocol.study import EngineError

Contents = dict[str, str]
ENDS_WITHIN_SECONDS = 60.0
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
MARK = "KILLED_BY_BENCHMARK"


@dataclasses.dataclass(frozen=True)
class Job:
    """A command that writes into a folder, `{folder}` in its arguments.

    `files` are compared at its end; `kept` are those that must not change once they are there.
    """

    arguments: tuple[str, ...]
    files: tuple[str, ...]
    kept: str = ""
    prepare: Callable[[Path], None] = lambda folder: None


def _trials(figure: int, workload_panel: str, *settings: str) -> Job:
    command = (
        f"experiments.figure{figure}",
        "--scale=small",
        f"--panel={workload_panel}",
        "--engine=inline",
        "--runs={folder}/runs",
        "--checkpoint-seconds=1",
        "--config.searches=1",
        "--config.trials=1",
        *settings,
    )
    return Job(command, ("**/measurements.jsonl", "**/study.json"), kept="**/result.json")


def _smoke_runs(folder: Path) -> None:
    _complete(Job(("experiments.figure3", "--scale=smoke", "--panel=a", "--runs={folder}/runs"), ()), folder)


JOBS = {
    "transformer_lm1b": _trials(3, "a"),
    "resnet32_cifar10": _trials(3, "c"),
    "resnet50_imagenet": _trials(3, "d"),
    "ssd_coco": _trials(3, "e"),
    "run": Job(
        ("experiments.figure3", "--scale=smoke", "--panel=a", "--workers=2", "--runs={folder}/runs"),
        ("**/measurements.jsonl", "**/study.json"),
        kept="**/result.json",
    ),
    "collect": Job(
        ("experiments.collect", "--scale=smoke", "--runs={folder}/runs", "--results={folder}/results"),
        ("results/**/*.csv", "results/**/*.parquet"),
        prepare=_smoke_runs,
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
    with tempfile.TemporaryDirectory() as unbroken:
        started = time.monotonic()
        job.prepare(Path(unbroken))
        _complete(job, Path(unbroken))
        seconds = time.monotonic() - started
        expected = _contents(Path(unbroken), job.files)
        while sum(counts.values()) < rounds:
            with tempfile.TemporaryDirectory() as folder:
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
    job.prepare(folder)
    faults: list[str] = []
    done: Contents = {}
    killed = True
    while killed:
        if sum(counts.values()) < rounds:
            sent, moment, everyone = chance.choice(SIGNALS), chance.uniform(0.2, seconds), chance.random() < 0.5
            killed, found = _round(job, folder, sent, moment, everyone)
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


def _round(job: Job, folder: Path, sent: str, moment: float, everyone: bool) -> tuple[bool, list[str]]:
    """Whether the command was still running when it was to be killed, and what was wrong after it was."""
    environment = os.environ | {MARK: str(folder)}
    said = folder / "said"
    faults = []
    with said.open("w") as out:
        process = subprocess.Popen(
            _command(job, folder), env=environment, stdout=out, stderr=out, start_new_session=True
        )
        try:
            process.wait(moment)
            return False, [] if process.returncode == 0 else [f"ended with {process.returncode}: {_last_line(said)}"]
        except subprocess.TimeoutExpired:
            pass
        number = getattr(signal, sent)
        os.killpg(process.pid, number) if everyone else process.send_signal(number)
        try:
            process.wait(ENDS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            faults.append(f"still there after {ENDS_WITHIN_SECONDS:.0f} s")
    if left := _left_over(str(folder)):
        faults.append(f"{len(left)} processes left, such as {' '.join(left[0].cmdline())[:200]}")
        for each in left:
            each.kill()
    if sent != "SIGKILL":
        faults += [f"a traceback: {_last_line(said)}"] if "Traceback" in said.read_text() else []
        faults += [f"{path} is left" for path in folder.rglob("*.unfinished")]
    return True, faults


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
