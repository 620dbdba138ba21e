"""What a trial leaves on disk, safe against kills at any moment and against two runs at once.

    runs/<scale>/<workload>/<setting>-<hash>/study.json
                                            search0/trial000/trial.json          the point, the seed, provenance
                                                             measurements.jsonl  appended while the trial trains
                                                             result.json         atomically in place once it is done

A trial is finished when its result is there and matches its measurements; anything else is run again from its start.
The kernel drops a killed process's lock, so no lock outlives its holder.
"""

import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from experiments.protocol.study import Measurement, Study, TrialResult

ROOT = Path("runs")
MACHINE = ("device", "processor", "threads")
PROVENANCE = ("git_revision", *MACHINE, "python", "jax", "tensorflow", "tensorflow-cpu", "numpy")
"""What of a trial's provenance the committed tables hold."""
_PROCESSOR_FIELDS = {"family": "cpu family", "model": "model", "stepping": "stepping"}
_log = logging.getLogger(__name__)


def study_folder(root: Path, study: Study) -> Path:
    """Where a study's trials live."""
    return root / study.scale / study.name


def save_study(root: Path, study: Study) -> None:
    """Writes the study's own settings beside its trials."""
    folder = study_folder(root, study)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "study.json", study.to_json())


def studies(root: Path, scale: str) -> list[Study]:
    """Every study that has been started at `scale`; one whose file cannot be read is named and left out."""
    found = []
    for path in sorted((root / scale).glob("*/*/study.json")):
        try:
            study = Study.from_json(path.read_text())
            if study_folder(root, study) != path.parent:
                raise ValueError("its settings are not those that its folder is named after")
            found.append(study)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            _log.warning(
                "left out: %s is damaged or of another revision (%s); run its figure again, or move its folder away",
                path,
                str(error).splitlines()[0] if str(error) else type(error).__name__,
            )
    return found


class TrialFolder:
    """One trial's directory."""

    def __init__(self, root: Path, study: Study, search: int, index: int) -> None:
        self.path = study_folder(root, study) / f"search{search}" / f"trial{index:03d}"

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Holds the trial for this process; waits while another one trains it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / "lock"):
            yield

    def start(self, description: dict[str, Any]) -> None:
        """Begins the trial anew: writes its description, forgets earlier measurements."""
        (self.path / "result.json").unlink(missing_ok=True)
        (self.path / "measurements.jsonl").write_text("")
        write_atomically(self.path / "trial.json", json.dumps(description, indent=1))

    def append(self, measurement: Measurement) -> None:
        """Adds one measurement."""
        with (self.path / "measurements.jsonl").open("a") as out:
            out.write(json.dumps(asdict(measurement)) + "\n")

    def finish(self, result: TrialResult) -> None:
        """Puts the result in place; from here on the trial counts as finished."""
        fields = asdict(result) | {"measurements_sha256": self._measurements_hash()}
        write_atomically(self.path / "result.json", json.dumps(fields, indent=1))

    def result(self) -> TrialResult | None:
        """The result of a finished trial; None, and a warning that names the file, where it is damaged."""
        path = self.path / "result.json"
        try:
            fields = json.loads(path.read_text())
            if fields.pop("measurements_sha256") != self._measurements_hash():
                raise ValueError("its measurements are not the ones it was written with")
            return TrialResult(**fields)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("%s is damaged (%s); its trial is run again", path, error)
            return None

    def measurements(self) -> list[Measurement]:
        """The measurements of a finished trial."""
        lines = (self.path / "measurements.jsonl").read_text().splitlines()
        return [Measurement(**json.loads(line)) for line in lines]

    def description(self) -> dict[str, Any]:
        """The point, the seed and the provenance that `start` wrote."""
        return json.loads((self.path / "trial.json").read_text())

    def _measurements_hash(self) -> str:
        return hashlib.sha256((self.path / "measurements.jsonl").read_bytes()).hexdigest()


def finished_results(root: Path, study: Study, search: int) -> dict[int, TrialResult]:
    """The finished trials of one search, by index."""
    results = {}
    for path in (study_folder(root, study) / f"search{search}").glob("trial*"):
        if not (number := path.name.removeprefix("trial")).isdecimal():
            continue  # such as a copy that a file manager made
        index = int(number)
        if (result := TrialFolder(root, study, search, index).result()) is not None:
            results[index] = result
    return results


@functools.cache
def provenance() -> dict[str, str | int]:
    """What made a trial's numbers: git revision (`-dirty` if files were changed), versions, processor, threads.

    On another kind of processor the same code gives other sums from about the sixth digit on.
    """
    packages = ("jax", "jaxlib", "flax", "optax", "tensorflow", "tensorflow-cpu", "tensorflow-datasets", "numpy")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    machine: dict[str, str | int] = {
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        "os": platform.system(),
        "processor": _processor(),
        # NPROC is what XLA's and TensorFlow's thread pools go by where it is set.
        "threads": int(os.environ.get("NPROC") or os.cpu_count() or 1),
    }
    return machine | versions


def provenance_columns(provenance: Mapping[str, str | int]) -> dict[str, str | int]:
    """The part of `provenance` that the committed tables hold."""
    return {key: value for key, value in provenance.items() if key in PROVENANCE}


def _processor() -> str:
    """The processor's name, with family, model and stepping where Linux says them: names alone are ambiguous."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    known = [f"{word} {fields[key]}" for word, key in _PROCESSOR_FIELDS.items() if key in fields]
    return ", ".join([fields.get("model name", platform.machine()), *known])


def _git_revision() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        run = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Puts a file in place whole, or leaves what was there."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as out:
            out.write(content.encode() if isinstance(content, str) else content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
