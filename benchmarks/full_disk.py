"""A disk that fills up at any write: a run, collecting it and drawing it end in one line, lose nothing and go on.

    sudo python -m benchmarks.full_disk [--steps=12]      Linux; mounts a small disk in memory; about ten minutes

Each command meets a disk with so many KiB left, from none up to what it needs, in equal steps. It must end well, or
with an error in one line, without a traceback; tables and pictures must be all old or all new; and with space the same
command must lead to what it leads to on an empty disk.
"""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.command_line import Parser, exit_code, positive
from experiments.protocol.study import EngineError

DISK_KIB = 64 * 1024
BALLAST = "ballast"

RUN = ["experiments.figure3", "--scale=smoke", "--panel=a", "--engine=inline", "--config.searches={searches}"]
COMMANDS = {
    "run": [*RUN, "--runs={disk}/runs"],
    "collect": ["experiments.collect", "--scale=smoke", "--runs={disk}/runs", "--results={disk}/results"],
    "draw": ["analysis.figure3", "--scale=smoke", "--results={disk}/results"],
}
WHAT_COUNTS = {"run": "runs/**/measurements.jsonl", "collect": "results/**/*.*", "draw": "results/**/*.*"}


def command(name: str, disk: Path, searches: int = 2) -> subprocess.CompletedProcess[str]:
    """Runs one of COMMANDS on the disk."""
    words = [word.format(disk=disk, searches=searches) for word in COMMANDS[name]]
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=600)


@contextlib.contextmanager
def mounted() -> Iterator[Path]:
    """A small disk in memory.

    Raises:
      EngineError: it cannot be mounted.
    """
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KIB}k", "tmpfs", folder]
        made = subprocess.run(mount, capture_output=True, text=True)
        if made.returncode:
            raise EngineError(f"no disk in memory could be mounted: {made.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def used_kib(disk: Path) -> int:
    """What lies on the disk."""
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize // 1024


def leave(disk: Path, kib: int) -> None:
    """Fills the disk but for so much."""
    (disk / BALLAST).write_bytes(bytes(1024 * max(0, DISK_KIB - used_kib(disk) - kib)))


def contents(name: str, disk: Path) -> dict[str, bytes]:
    """The files that a command makes."""
    found = disk.glob(WHAT_COUNTS[name])
    return {str(path.relative_to(disk)): path.read_bytes() for path in found if path.is_file()}


def states(folder: Path, disk: Path) -> None:
    """Keeps in `folder`, by name, what lies on the disk before each command and, as `after`, behind the last."""
    for searches in (1, 2):
        for name in COMMANDS:
            if searches == 2:
                shutil.copytree(disk, folder / name)
            done = command(name, disk, searches)
            if done.returncode:
                raise EngineError(f"{name} fails with space enough: {done.stderr.strip()}")
    shutil.copytree(disk, folder / "after")


def step(name: str, disk: Path, kib: int, before: Path, after: Path) -> list[str]:
    """What was wrong when a command met a disk with so much left, and when it was repeated with space."""
    for path in disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(before, disk, dirs_exist_ok=True)
    leave(disk, kib)
    wrong = []
    done = command(name, disk)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if "Traceback" in done.stderr:
        wrong.append("traceback")
    if done.returncode not in (0, 1) or (done.returncode == 1 and len(errors) != 1):
        wrong.append(f"exit code {done.returncode}, {len(errors)} lines of error")
    if name != "run" and contents(name, disk) not in (contents(name, before), contents(name, after)):
        wrong.append("neither old nor new")
    (disk / BALLAST).unlink()
    again = command(name, disk)
    if again.returncode or contents(name, disk) != contents(name, after):
        wrong.append("repeated, it leads elsewhere")
    print(f"{name:8} {kib:6} KiB left: exit code {done.returncode}, {', '.join(wrong) or 'well'}", flush=True)
    return wrong


def main() -> None:
    """Prints a line a step."""
    parser = Parser(__doc__)
    parser.add_argument("--steps", type=positive, default=12, help="sizes of each command; default 12")
    flags = parser.parse_args()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as kept, mounted() as disk:
        folder = Path(kept)
        states(folder, disk)
        names: Sequence[str] = [*COMMANDS, "after"]
        for name, following in itertools.pairwise(names):
            before, after = folder / name, folder / following
            most = 2 * sum(map(len, contents(name, after).values())) // 1024 + 64
            for number in range(flags.steps):
                faults += step(name, disk, 4 * (number * most // (4 * max(1, flags.steps - 1))), before, after)
    print(f"{len(faults)} faults in {flags.steps * len(COMMANDS)} steps")
    if faults:
        raise EngineError("; ".join(sorted(set(faults))))


if __name__ == "__main__":
    sys.exit(exit_code(main))
