"""Every command against bad invocations: each must end in a line or two that say what to do, without a traceback.

    python -m benchmarks.invocations [--only=experiments.collect]      two minutes

Bad are flags and values, missing arguments, files and folders that are missing, damaged, foreign or of the other kind,
settings that a workload does not have or not with this type, and addresses at which nobody answers. Prints of each
invocation its exit code, the lines on stderr and the seconds; exits with 1 where one ends well, shows a traceback, says
more than two lines, or takes more than SECONDS to refuse what its flags alone show.
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
MOST_SECONDS = 120.0
"""For what has to be looked for, such as a scheduler."""

REFUSED = 2
"""The exit code where the flags alone show what is wrong."""

UNKNOWN = "--no-such-flag"
TABLES = ("trials.csv", "studies.csv", "measurements.parquet", "wall_clock.csv", "timeline.csv", "detections.parquet")

NEEDS = {
    **{f"experiments.figure{number}": "--scale=smoke" for number in range(3, 9)},
    **{f"experiments.{name}": "--scale=smoke" for name in ("collect", "replicate", "wall_clock", "timeline", "place")},
    "experiments.detections": "--scale=smoke",
    "experiments.advise": "--workload=transformer_lm1b --scale=smoke",
    "experiments.examples.slurm": "--jobs=1",
    **{f"analysis.figure{number}": "--scale=small" for number in range(3, 9)},
    **{f"analysis.{name}": "--scale=small" for name in ("timeline", "detections")},
    "experiments.backbone": "--scale=smoke --out={empty}/backbone.npz",
    "experiments.worker": "--scale=smoke cluster.json",
    "pipelines.sources.prepare": "cifar10",
    "pipelines.sources.crawl": "prepare --wet={empty} --out={empty}",
    "pipelines.service": "--address=localhost:5050",
    "pipelines.sources.bundled.build": "brown",
    "pipelines.echoing.advice": "{file}",
}
"""What commands need, for the flag that they do not know to be all that is wrong."""

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
    "experiments.figure3 --scale=smoke --panel=a --config.trials=many --plan",
    "experiments.figure4 --scale=smoke --panel=a --config.model.width=wide --plan",
    "experiments.figure5 --scale=smoke --config.batch_size=-1",
    "experiments.figure6 --scale=smoke --bound=perhaps",
    "experiments.figure7 --scale=smoke --engine=threads",
    "experiments.figure8 --scale=smoke --accelerators=none --plan",
    "experiments.figure3 --scale=smoke --config.target=nan",
    "experiments.figure3 --scale=smoke --config.batch_size",
    "experiments.figure3 --scale=smoke --runs={file}",
    "experiments.figure3 --scale=smoke --panel=a --runs={file}/runs",
    "experiments.figure3 --scale=smoke --status --runs={empty}/none",
    "experiments.figure3 --scale=smoke --panel=a --scheduler={file}",
    "experiments.figure3 --scale=smoke --panel=a --scheduler=tcp://127.0.0.1:1",
    "experiments.figure3 --scale=smoke --panel=a --data-service=localhost",
    "experiments.figure3 --scale=smoke --panel=a --data-service=localhost:1 --runs={empty}/runs",
    "experiments.figure3 --scale=smoke --plan --timing={file}",
    "experiments.figure3 --scale=smoke --plan --timing={empty}",
    "experiments.figure3 --scale=paper --panel=c --config.data.data_dir={empty} --runs={empty}/runs",
    "experiments.figure3 --scale=smoke --panel=e --config.model.init_from={empty}/none",
    "experiments.figure3 --scale=smoke --panel=e --config.model.init_from={file} --runs={empty}/runs --engine=inline",
    "experiments.backbone --scale=smoke --out={empty}",
    "experiments.backbone --scale=smoke --out={empty}/backbone.npz --learning-rate=0",
    "experiments.collect",
    "experiments.collect --scale=smoke --runs={empty}/none",
    "experiments.collect --scale=smoke --runs={empty}",
    "experiments.collect --scale=smoke --runs={damaged}",
    "experiments.collect --scale=smoke --results={file}",
    "experiments.replicate",
    "experiments.replicate --scale=small --trials=100000",
    "experiments.replicate --scale=small --results={damaged}",
    "experiments.replicate --scale=small --trials=-1",
    "experiments.replicate --scale=paper --trials=1",
    "experiments.wall_clock --scale=paper",
    "experiments.wall_clock --scale=small --results={damaged}",
    "experiments.wall_clock --scale=small --panel=a --echo-factor=99",
    "experiments.wall_clock --scale=small --ratio=0",
    "experiments.wall_clock --scale=small --config.no_such_key=1",
    "experiments.detections --scale=paper --config.data.data_dir={empty}",
    "experiments.detections --scale=smoke --momentum=1",
    "experiments.detections --scale=smoke --results={file}",
    "experiments.timeline --scale=nothing",
    "experiments.timeline --scale=paper --config.data.data_dir={empty}",
    "experiments.timeline --scale=smoke --ratio=0.5",
    "experiments.timeline --scale=smoke --workload=ssd_coco --config.batch_size=x",
    "experiments.timeline --scale=smoke --results={file}",
    "experiments.advise --workload=none",
    "experiments.advise --workload=resnet32_cifar10 --scale=paper --config.data.data_dir={empty}",
    "experiments.advise --workload=transformer_lm1b --scale=smoke --ratio=inf",
    "experiments.advise --workload=transformer_lm1b --scale=smoke --config.no_such_key=1",
    "experiments.worker --scale=smoke --death-timeout=1 {empty}/none.json",
    "experiments.worker --scale=smoke",
    "experiments.worker --scale=smoke {file}",
    "experiments.worker --scale=smoke --death-timeout=2 tcp://127.0.0.1:1",
    "experiments.worker --scale=smoke --workers=0 tcp://127.0.0.1:1",
    "experiments.place --scale=smoke --workload=none",
    "experiments.place",
    "experiments.examples.slurm --jobs=0",
    "analysis.all surplus",
    "analysis.figure3",
    "analysis.figure3 --scale=paper",
    "analysis.figure3 --scale=small --results={empty}",
    "analysis.figure3 --scale=small --results={file}",
    "analysis.figure3 --scale=small --results={damaged}",
    "analysis.figure4 --scale=small --results={damaged}",
    "analysis.figure5 --scale=small --results={damaged}",
    "analysis.figure6 --scale=small --results={damaged}",
    "analysis.figure7 --scale=small --results={damaged}",
    "analysis.figure8 --scale=small --results={damaged}",
    "analysis.figure4 --scale=paper",
    "analysis.detections --scale=paper",
    "analysis.detections --scale=small --results={damaged}",
    "analysis.timeline --scale=paper",
    "analysis.timeline --scale=small --results={damaged}",
    "pipelines.sources.prepare",
    "pipelines.sources.prepare no_such_set",
    "pipelines.sources.prepare cifar10 --data-dir={file}",
    "pipelines.sources.crawl prepare --wet={empty}/none --out={empty}",
    "pipelines.sources.crawl prepare",
    "pipelines.sources.crawl prepare --wet={file} --out={empty}/out",
    "pipelines.sources.crawl prepare --wet={damaged} --out={file}",
    "pipelines.sources.bundled.build",
    "pipelines.sources.bundled.build brown --package={file}",
    "pipelines.sources.bundled.build brown --package={empty}/none.tgz",
    "pipelines.service --address=localhost",
    "pipelines.service",
    "pipelines.service --address=localhost:99999",
    "pipelines.echoing.advice {empty}/none.py",
    "pipelines.echoing.advice {file}",
    "pipelines.echoing.advice",
    "pipelines.echoing.advice {empty}",
    "pipelines.echoing.advice {file} --epochs=some",
    "pipelines.echoing.advice {damaged}/ends.py",
    "benchmarks.step --workload=none",
    "benchmarks.kills --rounds=0",
    "benchmarks.kills --job=none",
    "benchmarks.accelerator --seconds=x",
    "benchmarks.accelerator --workloads=none",
    "benchmarks.accelerator --out={file}",
    "benchmarks.memory --workloads=none",
    "benchmarks.service --workload=none",
    "benchmarks.remote --scale=paper",
    "benchmarks.crawl --files=none",
    "benchmarks.full_disk --steps=0",
    "benchmarks.loaders --rounds=0",
    "benchmarks.queue --trials=0",
    "benchmarks.learning --workload=ssd_coco",
    "benchmarks.invocations --only=none",
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


def invocations() -> list[str]:
    """Every command with a flag that it does not know, then BAD."""
    return [" ".join(filter(None, (name, NEEDS.get(name), UNKNOWN))) for name in commands()] + list(BAD)


def places(folder: Path) -> dict[str, Path]:
    """Makes in a folder what BAD names in braces: an empty folder, a file of Python, a folder of damaged files."""
    made = {name: folder / name for name in ("empty", "file", "damaged")}
    made["empty"].mkdir()
    made["file"].write_text("loader = step = 1\n", encoding="utf-8")
    study = made["damaged"] / "smoke" / "transformer_lm1b" / "foreign"
    for part in (study / "search0", made["damaged"] / "small"):
        part.mkdir(parents=True)
    (study / "study.json").write_text("{}", encoding="utf-8")
    (made["damaged"] / "ends.py").write_text("loader = iter([1])\n\ndef step(batch): pass\n", encoding="utf-8")
    for name in TABLES:
        (made["damaged"] / "small" / name).write_bytes(b"\xff\x00 no table")
    return made


def fault(invocation: str, cwd: Path) -> str:
    """What is wrong with how an invocation ends, "" if nothing; prints a line."""
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", *invocation.split()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, cwd=cwd, env=environment)
        code, err = done.returncode, done.stderr
    except subprocess.TimeoutExpired:
        code, err = 0, ""
    seconds = time.perf_counter() - started
    lines = [line for line in err.splitlines() if line.strip()]
    faults = {
        "ends well or not at all": code == 0,
        "flag not refused": code != REFUSED and invocation.endswith(UNKNOWN),
        "traceback": "Traceback" in err,
        f"{len(lines)} lines": not 1 <= len(lines) <= 2,
        "slow": seconds > SECONDS and code == REFUSED,
    }
    wrong = ", ".join(name for name, holds in faults.items() if holds)
    print(f"{code:4} {len(lines):3} {seconds:6.1f}  {invocation.replace(str(cwd), '...'):100} {wrong}", flush=True)
    return wrong


def main() -> None:
    """Prints the table."""
    parser = Parser(__doc__)
    parser.add_argument("--only", metavar="MODULE", choices=commands(), help="of this command alone")
    flags = parser.parse_args()
    wanted = [words for words in invocations() if flags.only in (None, words.split()[0])]
    print(f"{'exit':>4} {'err':>3} {'s':>6}")
    with tempfile.TemporaryDirectory() as folder:
        made = places(Path(folder))
        wrong = sum(bool(fault(words.format(**made), Path(folder))) for words in wanted)
    print(f"{len(wanted)} invocations, {wrong} at fault")
    if wrong:
        raise EngineError(f"{wrong} of {len(wanted)} invocations do not end as they must")


if __name__ == "__main__":
    sys.exit(exit_code(main))
