"""Plain data: what a study asks for and what a trial found. Imports neither JAX nor TensorFlow."""

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ml_collections import ConfigDict

from experiments.protocol import files

Status = Literal["complete", "bounded", "infeasible"]


LATER_DEFAULTS = {
    "nesterov": True,
    "warm_up_examples": 0.0,
    "end_factor": 1.0,
    "rematerialise": False,
    "gradient_accumulation": 1,
    "input_parts": 1,
    "seed": 0,
}
"""Settings that are younger than the first results, with what those had: left out of a study's hash at this value."""


PROGRAM = ("model", "nesterov", "rematerialise", "gradient_accumulation")
"""Settings that the compiled update depends on, its metaparameters and the batch's shape apart."""


class ConfigError(ValueError):
    """A setting is unknown or out of range; the message names it."""


class EngineError(Exception):
    """Trials could not be run; the message says why and what to do. Finished trials are kept."""


class Stopped(BaseException):
    """A run was asked to stop, and has saved what it was at.

    No Exception, as KeyboardInterrupt is none: libraries catch those while they are imported, and go on.
    """


class ResultsError(Exception):
    """Results are missing or contradict each other; the message says what to do."""


@dataclass(frozen=True)
class Dimension:
    """One searched metaparameter, drawn between `low` and `high` on a linear, log or reverse_log (1 - value) scale."""

    name: str
    scale: Literal["linear", "log", "reverse_log"]
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.scale not in ("linear", "log", "reverse_log"):
            raise ConfigError(f"search_space.{self.name}.scale must be linear, log or reverse_log, got {self.scale!r}")
        if not -math.inf < self.low < self.high < math.inf:
            raise ConfigError(f"search_space.{self.name}: low must be below high, got {self.low} and {self.high}")
        if (self.scale == "log" and self.low <= 0) or (self.scale == "reverse_log" and self.high >= 1):
            raise ConfigError(f"search_space.{self.name}: {self.low} to {self.high} does not fit a {self.scale} scale")


@dataclass(frozen=True)
class Study:
    """One search space at one setting; repeated as `searches` independent searches of `trials` feasible trials each.

    `budget_steps` is the most SGD steps a trial may take. With `bound`, a trial stops at the target, or once it
    cannot need the fewest fresh examples of its search; without, it trains to its budget. `config` holds the
    workload's other settings; where the model starts from a file of weights, that is `init_from`, with its digest.
    """

    workload: str
    scale: str
    variant: str
    echo_factor: float
    batch_size: int
    shuffle_buffer: int
    repeated_batch_buffer: int
    budget_steps: int
    searches: int
    trials: int
    bound: bool
    config: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", LATER_DEFAULTS | dict(self.config))

    @property
    def space(self) -> tuple[Dimension, ...]:
        """The searched metaparameters."""
        return tuple(Dimension(name, **settings) for name, settings in self.config["search_space"].items())

    @property
    def setting(self) -> str:
        """The setting in words fit for a file name, e.g. `example-e2-b32-s1200`."""
        return _setting(
            self.variant, self.echo_factor, self.batch_size, self.shuffle_buffer, self.repeated_batch_buffer
        )

    @property
    def config_hash(self) -> str:
        """Hash of everything that a single trial's numbers depend on.

        How many trials are run, where data and weights lie and how long an update is thought to take are left out:
        more trials may be added to a study, and its finished ones stay.
        """
        fields = asdict(self) | {"searches": None, "trials": None}
        later = [key for key, value in LATER_DEFAULTS.items() if self.config[key] == value]
        fields["config"] = _without(fields["config"], "seconds_per_update", "data_dir", "init_from", *later)
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """Names the study's folder: workload, setting and configuration."""
        return f"{self.workload}/{self.setting}-{self.config_hash}"

    def fresh_examples(self, sgd_steps: int) -> float:
        """Examples read from the source that `sgd_steps` updates use (section 3 of the paper)."""
        return sgd_steps * self.batch_size / self.echo_factor

    def seed(self, *purpose: object) -> int:
        """A 31-bit seed, its own for each purpose, search and trial: a function of the study's setting and `seed`."""
        own = (self.config["seed"],) if self.config["seed"] else ()
        words = (*own, self.scale, self.workload, self.setting, *purpose)
        return int.from_bytes(hashlib.sha256("/".join(map(str, words)).encode()).digest()[:4], "big") >> 1

    def reaches_target(self, value: float) -> bool:
        """Whether a measured metric is strictly better than the target."""
        target = self.config["target"]
        return value < target if self.config["goal"] == "min" else value > target

    def to_json(self) -> str:
        """The study as text; `from_json` reads it back, in the order of the search space, on which points depend."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> "Study":
        """Reads what `to_json` wrote."""
        return Study(**json.loads(text))


@dataclass(frozen=True)
class Measurement:
    """The validation metric after `sgd_steps` updates."""

    sgd_steps: int
    value: float


@dataclass(frozen=True)
class LogLine:
    """How a running trial fares: loss of an update, examples it trains on a second, time left to its budget."""

    sgd_steps: int
    loss: float
    examples_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class TrialResult:
    """How a trial ended: after `sgd_steps` updates, with `steps_to_target` set if it reached the target.

    A bounded trial was stopped because it could not win any more; an infeasible one diverged. `examples_read` is
    how many examples the source gave up to the last one that was trained on; those that waited behind it in buffers are
    not counted. `refilled_after` are the numbers of updates after which a trial that went on filled its buffers anew,
    from another seed.
    """

    status: Status
    sgd_steps: int
    steps_to_target: int | None
    examples_read: int
    seconds: float
    refilled_after: tuple[int, ...] = ()


def make_study(
    config: ConfigDict,
    variant: str,
    echo_factor: float,
    *,
    batch_size: int | None = None,
    shuffle_buffer: int | None = None,
    repeated_batch_buffer: int = 0,
    budget_fresh_examples: float | None = None,
    eval_every_steps: int | None = None,
    trials: int | None = None,
    bound: bool = True,
) -> Study:
    """The study of one variant of a workload; sizes, budget, trials and the like that are not given are its own.

    A workload's own are those of `config`, with what `config.at` changes at this setting (see `at_setting`).

    Raises:
      ConfigError: the budget is less than an update, or the model shall start from a file that cannot be read.
    """
    if batch_size is None:
        batch_size = config.batch_size
    if shuffle_buffer is None:
        shuffle_buffer = at_setting(config, f"b{batch_size}").shuffle_buffer
    setting = _setting(variant, echo_factor, batch_size, shuffle_buffer, repeated_batch_buffer)
    plain = json.loads(at_setting(config, setting).to_json_best_effort())
    for key in ("at", "batch_size", "batch_sizes", "figure4_updates", "fixed_budget", "shuffle_buffer"):
        plain.pop(key, None)
    if init_from := plain["model"].pop("init_from", None):
        plain |= {"init_from": init_from, "init_from_sha256": _digest(init_from)}
    workload_budget = plain.pop("budget_fresh_examples")[variant]
    workload_trials = plain.pop("trials")
    if eval_every_steps is not None:
        plain["eval_every_steps"] = eval_every_steps
    budget = workload_budget if budget_fresh_examples is None else budget_fresh_examples
    if (budget_steps := round(budget * echo_factor / batch_size)) < 1:
        raise ConfigError(
            f"{config.workload} {setting}: a budget of {budget:,} fresh examples is less than a batch of {batch_size:,}"
        )
    return Study(
        workload=plain.pop("workload"),
        scale=plain.pop("scale"),
        variant=variant,
        echo_factor=float(echo_factor),
        batch_size=batch_size,
        shuffle_buffer=shuffle_buffer,
        repeated_batch_buffer=repeated_batch_buffer,
        budget_steps=budget_steps,
        searches=plain.pop("searches"),
        trials=workload_trials if trials is None else trials,
        bound=bound,
        config=plain,
    )


def at_setting(config: ConfigDict, setting: str) -> ConfigDict:
    """A workload's configuration with what it changes at one setting.

    Keys of the optional `config.at` are parts of a setting's name: what stands under `b128` holds for every study at
    that batch size, what stands under `example-e4-b128` for one of them. Keys of more parts come later and win.

    Raises:
      ConfigError: a change is of a key that the configuration has not, or of another type.
    """
    changed = config.copy_and_resolve_references()
    parts = set(setting.split("-"))
    matching = [key for key in changed.get("at", {}) if parts.issuperset(key.split("-"))]
    for key in sorted(matching, key=lambda key: key.count("-")):
        try:
            changed.update(changed.at[key])
        except (KeyError, TypeError) as error:
            raise ConfigError(f"config.at.{key}: {str(error).splitlines()[0]}") from error
    return changed


def _digest(init_from: str) -> str:
    path = Path(init_from).expanduser()
    try:
        digest = files.sha256(path)
    except OSError as error:
        raise ConfigError(f"config.model.init_from: {init_from}: {error.strerror}") from None
    if not zipfile.is_zipfile(path):  # what NumPy writes; its arrays are looked at once the network is known
        raise ConfigError(
            f"config.model.init_from: {init_from} is damaged, or nothing that `python -m experiments.backbone` wrote"
        )
    return digest


def _setting(variant: str, echo_factor: float, batch_size: int, shuffle_buffer: int, repeated_batch_buffer: int) -> str:
    repeated = f"-r{repeated_batch_buffer}" if repeated_batch_buffer else ""
    return f"{variant}-e{echo_factor:g}-b{batch_size}-s{shuffle_buffer}{repeated}"


def _without(tree: Any, *keys: str) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    return {key: _without(value, *keys) for key, value in tree.items() if key not in keys}
