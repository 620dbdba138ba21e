"""Every command against bad invocations: each must end in one line that says what to do, soon and without a traceback.

    python -m benchmarks.invocations [--only=experiments.collect]      four minutes; a quiet machine

Prints the exit code, the lines on stderr and the seconds of each; exits with 1 where one ends well, shows a traceback,
says more than two lines, or takes more than SECONDS to refuse a flag.
"""

import ast
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.command_line import Parser, exit_code
from experiments.protocol.study import EngineError

CHECKOUT = Path(__file__).parent.parent
SECONDS = 3.0

NEEDS = {
    **{f"experiments.figure{number}": "--scale=smoke" for number in range(3, 9)},
    **{f"experiments.{name}": "--scale=smoke" for name in ("collect", "replicate", "wall_clock", "timeline", "place")},
    "experiments.detections": "--scale=smoke",
    "experiments.worker": "--scale=smoke cluster.json",
    "pipelines.sources.prepare": "cifar10",
    "pipelines.sources.crawl": "prepare --wet={empty} --out={empty}",
    "pipelines.service": "--address=localhost:5050",
    "pipelines.echoing.advice": "{file}",
}
"""What commands want, for the flag that they do not know to be what is wrong."""

BAD = (
    "experiments.figure3",
    "experiments.figure3 --scale=tiny",
    "experiments.figure3 --scale=smoke --panel=z",
    "experiments.figure3 --scale=smoke --plan --status",
    "experiments.figure3 --scale=smoke --workers=0",
    "experiments.figure3 --scale=smoke --engine=inline --workers=2",
    "experiments.figure3 --scale=smoke --distributed=auto",
    "experiments.figure3 --scale=smoke --checkpoint-seconds=nan",
    "experiments.figure3 --scale=smoke --config.no_such_key=1",
    "experiments.figure3 --scale=smoke --config.batch_size=true",
    "experiments.figure3 --scale=smoke --config.trials=10**20",
    "experiments.figure3 --scale=smoke --config.target=nan",
    "experiments.figure3 --scale=smoke --config.batch_size",
    "experiments.figure3 --scale=smoke --runs={file}",
    "experiments.figure3 --scale=smoke --status --runs={empty}/none",
    "experiments.figure3 --scale=smoke --panel=a --scheduler={file}",
    "experiments.figure3 --scale=smoke --panel=a --scheduler=tcp://127.0.0.1:1",
    "experiments.figure3 --scale=smoke --panel=a --data-service=localhost",
    "experiments.figure3 --scale=smoke --panel=a --data-service=localhost:1 --runs={empty}/runs",
    "experiments.figure3 --scale=smoke --plan --timing={file}",
    "experiments.figure3 --scale=paper --panel=c --config.data.data_dir={empty} --runs={empty}/runs",
    "experiments.collect",
    "experiments.collect --scale=smoke --runs={empty}/none",
    "experiments.collect --scale=smoke --runs={empty}",
    "experiments.collect --scale=smoke --results={file}",
    "experiments.replicate --scale=small --trials=100000",
    "experiments.replicate --scale=small --trials=-1",
    "experiments.replicate --scale=paper --trials=1",
    "experiments.wall_clock --scale=paper",
    "experiments.detections --scale=paper",
    "experiments.timeline --scale=nothing",
    "experiments.advise --workload=none",
    "experiments.worker --scale=smoke --death-timeout=1 {empty}/none.json",
    "experiments.place --scale=smoke --workload=none",
    "analysis.figure3 --scale=paper",
    "analysis.figure3 --scale=small --results={empty}",
    "analysis.figure4 --scale=paper",
    "analysis.detections --scale=paper",
    "analysis.timeline --scale=paper",
    "pipelines.sources.prepare",
    "pipelines.sources.prepare no_such_set",
    "pipelines.sources.prepare cifar10 --data-dir={file}",
    "pipelines.sources.crawl prepare --wet={empty}/none --out={empty}",
    "pipelines.service --address=localhost",
    "pipelines.echoing.advice {empty}/none.py",
    "pipelines.echoing.advice {file}",
    "benchmarks.step --workload=none",
    "benchmarks.kills --rounds=0",
    "benchmarks.accelerator --seconds=x",
)


def commands() -> list[str]:
    """Every module that is run with `python -m`."""
    found = []
    for package in ("analysis", "benchmarks", "experiments", "pipelines"):
        for path in sorted((CHECKOUT / package).rglob("*.py")):
            name = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
            if _is_run(ast.parse(path.read_text(encoding="utf-8"))):
                found.append(name.removesuffix(".__main__"))
    return found


def _is_run(module: ast.Module) -> bool:
    return any(isinstance(node, ast.If) and "'__main__'" in ast.unparse(node.test) for node in module.body)


def fault(invocation: str, most_seconds: float, *, cwd: Path) -> str:
    """What is wrong with how an invocation ends, "" if nothing; prints a line."""
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", *invocation.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, env=environment)
    seconds = time.perf_counter() - started
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    faults = {
        "ends well": done.returncode == 0,
        "traceback": "Traceback" in done.stderr,
        "no line" if not lines else f"{len(lines)} lines": not 1 <= len(lines) <= 2,
        "slow": seconds > most_seconds,
    }
    wrong = ", ".join(name for name, holds in faults.items() if holds)
    shown = invocation.replace(str(cwd), "...")
    print(f"{done.returncode:4} {len(lines):3} {seconds:6.1f}  {shown:100} {wrong}", flush=True)
    return wrong


def main() -> None:
    """Prints the table."""
    parser = Parser(__doc__)
    parser.add_argument("--only", metavar="MODULE", help="of this command alone")
    flags = parser.parse_args()
    print(f"{'exit':>4} {'err':>3} {'s':>6}")
    wrong = count = 0
    with tempfile.TemporaryDirectory() as folder:
        places = {"empty": Path(folder) / "empty", "file": Path(folder) / "file.py"}
        places["empty"].mkdir()
        places["file"].write_text("loader = step = 1\n", encoding="utf-8")
        unknown = [f"{name} {NEEDS.get(name, '')} --no-such-flag" for name in commands()]
        for invocation, most in [(words, SECONDS) for words in unknown] + [(words, 60.0) for words in BAD]:
            if flags.only in (None, invocation.split()[0]):
                wrong += bool(fault(invocation.format(**places), most, cwd=Path(folder)))
                count += 1
    print(f"{count} invocations, {wrong} at fault")
    if wrong:
        raise EngineError(f"{wrong} invocations end otherwise than in one line")


if __name__ == "__main__":
    sys.exit(exit_code(main))
