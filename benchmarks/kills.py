"""Kills commands that write at random moments and runs them again: what they leave must be what an unbroken run leaves.

    python -m benchmarks.kills --rounds=20                          of each job; about 10 s a round
    python -m benchmarks.kills --rounds=20 --job=ssd_coco --seed=3

A round starts the command, sends SIGKILL, SIGTERM or SIGINT to it, or to it and all that it started, waits until nothing
of it runs any more, and looks for tracebacks and unfinished files. After the rounds the command runs to its end. Trials
save themselves every second. Exits with 1 if anything differs, was done twice or is left over.
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
MARK = "KILLED_BY_BENCHMARK"


@dataclasses.dataclass(frozen=True)
class Job:
    """A command that writes into a folder, `{folder}` in its arguments; `kept` is what must not change once it is there."""

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
        faults = [fault for name in flags.job or JOBS for fault in killed(name, flags.rounds, flags.seed)]
        for fault in faults:
            print(f"  {fault}")
        if faults:
            raise EngineError(f"{len(faults)} faults")

    return exit_code(work)


def killed(name: str, rounds: int, seed: int) -> list[str]:
    """The faults of one job, killed so many times; prints a line."""
    job, chance = JOBS[name], random.Random(f"{seed}/{name}")
    with tempfile.TemporaryDirectory() as unbroken, tempfile.TemporaryDirectory() as broken:
        job.prepare(Path(unbroken))
        job.prepare(Path(broken))
        started = time.monotonic()
        _complete(job, Path(unbroken))
        seconds = time.monotonic() - started
        faults: list[str] = []
        counts: dict[str, int] = {}
        done: Contents = {}
        for number in range(rounds):
            sent = chance.choice(("SIGKILL", "SIGTERM", "SIGINT"))
            moment = chance.uniform(0.2, min(seconds, 30.0))
            everyone = chance.random() < 0.5
            if _round(job, Path(broken), sent, moment, everyone, faults, f"round {number}, {sent} at {moment:.1f} s"):
                counts[sent] = counts.get(sent, 0) + 1
            done = _unchanged(Path(broken), job, done, faults)
        _complete(job, Path(broken))
        _unchanged(Path(broken), job, done, faults)
        ours, theirs = _contents(Path(broken), job.files), _contents(Path(unbroken), job.files)
    differing = sorted(path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))
    faults += [f"{name}: {path} differs" for path in differing]
    sent_words = ", ".join(f"{count} {sent}" for sent, count in sorted(counts.items())) or "no kill in time"
    print(
        f"{name:20} {rounds} rounds ({sent_words}): {len(theirs)} files, {len(differing)} differ, {len(faults)} faults",
        flush=True,
    )
    return faults


def _command(job: Job, folder: Path) -> list[str]:
    return [sys.executable, "-m", *(argument.format(folder=folder) for argument in job.arguments)]


def _complete(job: Job, folder: Path) -> None:
    done = subprocess.run(_command(job, folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"{' '.join(job.arguments)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")


def _round(job: Job, folder: Path, sent: str, moment: float, everyone: bool, faults: list[str], words: str) -> bool:
    """Whether the command was still running when it was killed."""
    environment = os.environ | {MARK: str(folder)}
    said = folder / "said"
    with said.open("w") as out:
        process = subprocess.Popen(
            _command(job, folder),
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            process.wait(moment)
            return False
        except subprocess.TimeoutExpired:
            pass
        number = getattr(signal, sent)
        os.killpg(process.pid, number) if everyone else process.send_signal(number)
        try:
            process.wait(ENDS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            faults.append(f"{words}: still there after {ENDS_WITHIN_SECONDS:.0f} s")
    if left := _left_over(str(folder)):
        faults.append(f"{words}: {len(left)} processes left, such as {' '.join(left[0].cmdline())[:200]}")
        for each in left:
            each.kill()
    text = said.read_text()
    if sent != "SIGKILL" and "Traceback" in text:
        faults.append(f"{words}: {text.strip().splitlines()[-1]}")
    if sent != "SIGKILL" and (unfinished := list(folder.rglob("*.unfinished"))):
        faults.append(f"{words}: {unfinished[0]} is left")
    return True


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


def _unchanged(folder: Path, job: Job, before: Contents, faults: list[str]) -> Contents:
    """What is finished now; a fault for each file that was there before and is not the same any more."""
    now = _contents(folder, (job.kept,)) if job.kept else {}
    faults += [f"{path} was made again" for path in before if now.get(path) != before[path]]
    return now


if __name__ == "__main__":
    sys.exit(main())
