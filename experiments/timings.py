"""What `python -m benchmarks.accelerator` measured, and what studies cost by it. Imports neither JAX nor TensorFlow."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.protocol.study import LATER_DEFAULTS, PROGRAM, ResultsError, Study

KEYS = (*PROGRAM, "eval_batch_size")
Record = Mapping[str, Any]
"""One measured program: what `described` says of it, its device, costs of its update and of an evaluation batch."""


@dataclass(frozen=True)
class Cost:
    """What updates of a study cost on `devices`, evaluations included: seconds an update, and bytes a device.

    `measured` if its own batch size was; otherwise everything is in proportion to another size's. `r` is the paper's
    R, seconds of the input for a batch over seconds of an update without evaluations; None where no input was timed.
    """

    devices: int
    kind: str
    seconds_per_update: float
    state_bytes: float
    batch_bytes: float
    measured: bool
    r: float | None

    def bytes_per_device(self, devices: int) -> float:
        """Memory that training takes on each of so many devices: the state whole, of the batch its part."""
        return self.state_bytes + self.batch_bytes * self.devices / devices


def program(study: Study) -> dict[str, Any]:
    """What of a study the programs depend on, but for the batch size."""
    return {key: study.config[key] for key in KEYS}


def described(study: Study) -> dict[str, Any]:
    """How a record names the study that it is of."""
    return {
        "workload": study.workload,
        "scale": study.scale,
        "batch_size": study.batch_size,
        **json.loads(json.dumps(program(study))),
    }


def _setting(record: Record, key: str) -> Any:
    """A setting of a record, which may be older than the setting."""
    return record.get(key, LATER_DEFAULTS.get(key))


def replaces(new: Record, old: Record) -> bool:
    """Whether a record is of the same program on the same device as an older one, and not of a failure in its place."""
    if "update" in old and "update" not in new:
        return False
    named = [key for key in new if key in ("workload", "scale", "batch_size", *KEYS)]
    devices = [(record.get("device", {}).get("kind"), record.get("device", {}).get("count")) for record in (new, old)]
    return devices[0] == devices[1] and all(new[key] == _setting(old, key) for key in named)


def read(path: Path) -> list[Record]:
    """The records of a file.

    Raises:
      ResultsError: it is not there, or is none of `benchmarks.accelerator`.
    """
    try:
        records = json.loads(path.read_text())["records"]
        if not all({"workload", "scale", "batch_size", "model"} <= set(record) for record in records):
            raise KeyError
    except FileNotFoundError:
        raise ResultsError(f"{path} is not there; `python -m benchmarks.accelerator --out={path}` makes it") from None
    except (IsADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        raise ResultsError(f"{path} is no file that `python -m benchmarks.accelerator` wrote") from None
    return list(records)


def text(records: Sequence[Record]) -> str:
    """What `read` reads back."""
    return json.dumps({"records": list(records)}, indent=1) + "\n"


def cost(study: Study, records: Sequence[Record]) -> Cost | None:
    """What updates of a study cost, by the record of its program whose batch size is nearest; None without one."""
    wanted = json.loads(json.dumps(program(study)))
    of_program = [
        record
        for record in records
        if "update" in record and all(_setting(record, key) == value for key, value in wanted.items())
    ]
    if not of_program:
        return None

    def distance(record: Record) -> float:
        ratio: float = record["batch_size"] / study.batch_size
        return max(ratio, 1 / ratio)

    record = min(of_program, key=distance)
    share = study.batch_size / record["batch_size"]
    update, evaluation, host = record["update"], record.get("evaluation"), record.get("input")
    seconds = update["seconds"] * share
    if evaluation:
        batches = -(-study.config["data"]["validation_examples"] // study.config["eval_batch_size"])
        seconds += evaluation["seconds"] * batches / study.config["eval_every_steps"]
    return Cost(
        record["device"]["count"],
        record["device"]["kind"],
        seconds,
        update["state_bytes"],
        (update["peak_bytes"] - update["state_bytes"]) * share,
        measured=share == 1 and evaluation is not None,
        r=host and record["batch_size"] / host["examples_per_second"] / update["seconds"],
    )


def in_words(record: Record) -> str:
    """A record in one line."""
    words = f"{record['workload']} batch {record['batch_size']:,}:"
    if "does_not_fit" in record:
        words += f" {', '.join(f'{size:,}' for size in record['does_not_fit'])} do not fit;"
    if update := record.get("update"):
        words += f" {update['seconds'] * 1e3:,.2f} ms an update, {update['peak_bytes'] / 1e9:.1f} GB"
        if update["share_of_peak_operations"]:
            words += f", {update['share_of_peak_operations']:.0%} of the device's peak"
    if evaluation := record.get("evaluation"):
        words += f"; {evaluation['seconds'] * 1e3:,.2f} ms an evaluation batch"
    if host := record.get("input"):
        rate, cores = host["examples_per_second"], host["cores"]
        words += f"; input {rate:,.0f} examples/s on {cores} cores, {rate / cores:,.0f} a core"
        if update:
            words += f", R = {record['batch_size'] / rate / update['seconds']:.2g}"
    if twin := record.get("same_program_as"):
        words += f" (the program of {twin})"
    return words + (f"; {record['error']}" if "error" in record else "")
