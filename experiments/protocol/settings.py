"""What the workloads' configurations share: the settings that each has, budgets, and the scales of a search space."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.protocol.study import LATER_DEFAULTS

SCALE_OF = {
    "learning_rate": "log",
    "momentum": "reverse_log",
    "decay_share": "linear",
    "first_drop": "linear",
    "second_drop": "linear",
}

SPACES = Path(__file__).parent.parent / "workloads" / "spaces"
"""Tables of search spaces, one a scale, as `experiments.place` writes them."""


def placed(scale: str) -> list[dict[str, str]]:
    """The table of a scale's search spaces, a row a setting and dimension; empty where none was placed."""
    path = SPACES / f"{scale}.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []


def make(
    workload: str, scale: str, scales: Mapping[str, Callable[[ConfigDict], None]], /, *, metric: str, goal: str
) -> ConfigDict:
    """A workload's configuration at `scale`: the settings that all have, then what the scale's function sets.

    Two of them trade time for memory and change an update by rounding only: `rematerialise` makes the inside of each
    block anew for the backward pass; `gradient_accumulation` is the number of parts, of whole virtual batches, that a
    batch is worked on in. `input_parts` cuts the training set, the shuffle buffer and each batch, so that as many
    processes or fewer can each read their own; numbers depend on it, and not on how many processes there are. `seed`
    moves all seeds: those of points, initialisation and pipeline.
    """
    c = ConfigDict({"workload": workload, "scale": scale, "metric": metric, "goal": goal, **LATER_DEFAULTS})
    c.searches = 5
    c.divergence_factor = 4.0  # a training loss this many times the first one counts as divergence
    c.figure4_updates = None  # each e has a budget of its own
    scales[scale](c)
    return c


def image_budgets(baseline: int, batch: int, after: int, before: int) -> dict[str, int]:
    """Most fresh examples of a trial of each variant, where there is augmentation to echo before or after."""
    return {
        "baseline": baseline,
        "batch": batch,
        "example_after_augmentation": after,
        "example_before_augmentation": before,
    }


def budgets(baseline: int, batch: int, example: int) -> dict[str, int]:
    """Most fresh examples of a trial of each variant, where there is no augmentation."""
    return {"baseline": baseline, "batch": batch, "example": example}


def space(**dimensions: tuple[float, float]) -> dict[str, Any]:
    """A search space, from (low, high) of each metaparameter; points depend on their order."""
    return {name: {"scale": SCALE_OF[name], "low": low, "high": high} for name, (low, high) in dimensions.items()}
