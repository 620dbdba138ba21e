"""What a trial leaves on disk, safe against kills at any moment and against two runs at once.

    runs/<scale>/<workload>/<setting>-<hash>/study.json
                                            search0/trial000/trial.json          the point, the seed, provenance
                                                             measurements.jsonl  appended while the trial trains
                                                             log.jsonl           how it fares, of trials of over 10 s
                                                             checkpoints/        while it trains, if that takes long
                                                             result.json         atomically in place once it is done

A trial is finished when its result is there, whole, and matches its description and its measurements; anything else is
run again, from its newest checkpoint if it has one.
Who trains it holds its folder meanwhile (`claim.py`).
"""

import functools
import hashlib
import importlib.metadata
import json
import logging
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from experiments.protocol import files
from experiments.protocol.claim import Claim
from experiments.protocol.study import LogLine, Measurement, Status, Study, TrialResult

ROOT = Path("runs")
FORMAT = 2
"""Of result.json."""
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
    path = folder / "study.json"
    try:
        if path.read_text(encoding="utf-8") == study.to_json():
            return  # so a finished store may lie on a disk that cannot be written
    except (OSError, ValueError):
        pass
    for above in (*reversed(folder.relative_to(root).parents), folder.relative_to(root)):
        files.make_way(root / above, for_folder=True)
    files.make_way(path)
    files.write(path, study.to_json())


def studies(root: Path, scale: str) -> list[Study]:
    """Every study that has been started at `scale`; one whose file cannot be read is named and left out."""
    found = []
    for trials in sorted((root / scale).glob("*/*/search0")):
        if not os.path.lexists(trials.parent / "study.json"):
            _log.warning("left out: %s has trials but no study.json; run its figure again", trials.parent)
    for path in sorted((root / scale).glob("*/*/study.json")):
        try:
            study = Study.from_json(path.read_text(encoding="utf-8"))
            if study_folder(root, study) != path.parent:
                raise ValueError("its settings are not those that its folder is named after")
            found.append(study)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
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
        self._names = {"study": study.name, "search": search, "index": index}
        self.claim = Claim(self.path)

    @property
    def checkpoints(self) -> Path:
        """Where the trial saves itself while it trains."""
        return self.path / "checkpoints"

    def is_described_by(self, description: dict[str, Any]) -> bool:
        """Whether it was begun with this description."""
        try:
            return self.description() == description
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError):
            return False

    def make_way(self) -> None:
        """Sets aside whatever stands where the trial's folders belong, or the files that hold it."""
        for folder in (self.path.parent, self.path):
            files.make_way(folder, for_folder=True)
        for name in ("lock", "holder"):
            files.make_way(self.path / name)

    def start(self, description: dict[str, Any]) -> None:
        """Begins the trial anew: writes its description, forgets earlier measurements."""
        self.claim.check()
        for name in ("result.json", "measurements.jsonl", "trial.json", "log.jsonl"):
            files.make_way(self.path / name)
        (self.path / "result.json").unlink(missing_ok=True)
        (self.path / "measurements.jsonl").write_text("", encoding="utf-8")
        files.write(self.path / "trial.json", json.dumps(description, indent=1))

    def append(self, measurement: Measurement) -> None:
        """Adds one measurement; Lost if another process has taken the trial over."""
        self.claim.check()
        with (self.path / "measurements.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(asdict(measurement)) + "\n")

    def log(self, line: LogLine) -> None:
        """Adds to what people read while the trial runs; no result depends on it."""
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(asdict(line)) + "\n")

    def last_logged(self) -> LogLine | None:
        """How the trial fared when it was logged last; None if it never was."""
        try:
            return LogLine(**json.loads((self.path / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1]))
        except (OSError, ValueError, TypeError, IndexError):
            return None

    def finish(self, result: TrialResult) -> None:
        """Puts the result in place; from here on the trial counts as finished."""
        self.claim.check()
        fields = {"format": FORMAT, **asdict(result)}
        files.write(self.path / "result.json", json.dumps(fields | {"sha256": self._hash(fields)}, indent=1))

    def result(self) -> TrialResult | None:
        """The result of a finished trial; None, and a warning that names it, where any of its files is damaged."""
        path = self.path / "result.json"
        try:
            if not os.path.lexists(path):
                return None
            fields = json.loads(path.read_text(encoding="utf-8"))
            self._check_hash(fields)
            result = _checked_result(fields)
            description = self.description()
            if any(description.get(name, value) != value for name, value in self._names.items()):
                raise ValueError(f"trial.json is of {description.get('study')}, not of this trial")
            last = 0
            for measurement in self.measurements():
                if not last < measurement.sgd_steps <= result.sgd_steps:
                    raise ValueError("its measurements are not in order")
                last = measurement.sgd_steps
            return result
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            _log.warning("%s is damaged (%s); its trial is run again", path, said)
            return None

    def measurements(self) -> list[Measurement]:
        """The measurements of a finished trial."""
        lines = (self.path / "measurements.jsonl").read_text(encoding="utf-8").splitlines()
        found = [Measurement(**json.loads(line)) for line in lines]
        if not all(_is_whole(m.sgd_steps) and _is_number(m.value) for m in found):
            raise ValueError("measurements.jsonl holds something else")
        return found

    def description(self) -> dict[str, Any]:
        """The point, the seed and the provenance that `start` wrote."""
        found = json.loads((self.path / "trial.json").read_text(encoding="utf-8"))
        numbers = (*found["point"].values(), found["seed"])
        if not all(map(_is_number, numbers)) or not isinstance(found["provenance"], dict):
            raise ValueError("trial.json holds something else")
        return dict(found)

    def _check_hash(self, fields: dict[str, Any]) -> None:
        """Takes what is not the result's out of `fields`, and compares it with what is on disk."""
        if "measurements_sha256" in fields:  # format 1, of the first results, which says nothing of trial.json
            expected, found = fields.pop("measurements_sha256"), files.sha256(self.path / "measurements.jsonl")
        else:
            expected, found = fields.pop("sha256"), self._hash(fields)
            if fields.pop("format") != FORMAT:
                raise ValueError("it is of a later revision")
        if expected != found:
            raise ValueError("what is in the folder is not what it was written with")

    def _hash(self, fields: Mapping[str, Any]) -> str:
        parts = [files.sha256(self.path / name) for name in ("trial.json", "measurements.jsonl")]
        return hashlib.sha256(json.dumps([fields, *parts], sort_keys=True).encode()).hexdigest()


def _checked_result(fields: Mapping[str, Any]) -> TrialResult:
    result = TrialResult(**{**fields, "refilled_after": tuple(fields.get("refilled_after", ()))})
    whole = (result.sgd_steps, result.examples_read, result.steps_to_target or 0, *result.refilled_after)
    if result.status not in get_args(Status) or not all(map(_is_whole, whole)) or not _is_number(result.seconds):
        raise ValueError("its fields are of the wrong type")
    if not (0 <= result.seconds < math.inf and (result.steps_to_target or 0) <= result.sgd_steps):
        raise ValueError("its fields are out of range")
    return result


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def running(root: Path, study: Study) -> list[tuple[int, int, TrialFolder]]:
    """Search, index and folder of the trials that some process is training now."""
    found = []
    for path in sorted(study_folder(root, study).glob("search*/trial*/holder")):
        search, index = path.parts[-3].removeprefix("search"), path.parts[-2].removeprefix("trial")
        if search.isdecimal() and index.isdecimal():
            folder = TrialFolder(root, study, int(search), int(index))
            if folder.claim.is_held():
                found.append((int(search), int(index), folder))
    return found


def forget_checkpoints(root: Path, study: Study) -> None:
    """Removes those that finished trials have left because they were killed at their very end."""
    for path in study_folder(root, study).glob("search*/trial*/checkpoints"):
        if (path.parent / "result.json").exists():
            shutil.rmtree(path, ignore_errors=True)


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
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
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
