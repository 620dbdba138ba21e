"""The columns of the committed tables, defined once for writers and readers, and the rules that every table obeys."""

from pathlib import Path

import pandas as pd

SETTING_KEYS = ["workload", "variant", "echo_factor", "batch_size", "shuffle_buffer", "repeated_batch_buffer"]
STUDY_KEYS = [*SETTING_KEYS, "budget_steps", "bound"]
STATUSES = ("complete", "bounded", "infeasible")

KEYS = {
    "studies": STUDY_KEYS,
    "trials": [*STUDY_KEYS, "search", "trial"],
    "measurements": [*STUDY_KEYS, "search", "trial", "sgd_steps"],
}
"""The columns that tell the rows of each table apart."""
_COUNTS = ["searches", "feasible_trials_a_search", *STATUSES]
COLUMNS = {
    "studies": [*KEYS["studies"], "metric", "goal", "target", *_COUNTS, "config_hash", "config"],
    "trials": [
        *KEYS["trials"],
        "status",
        "fresh_examples",
        "best_metric",
        "reached_target",
        "fresh_examples_to_target",
    ],
    "measurements": [*KEYS["measurements"], "fresh_examples", "metric", "value"],
}
"""The columns that figures need; tables have others besides, for people."""
_WORDS = ("workload", "variant", "metric", "goal", "config_hash", "config", "status", "bound", "reached_target")
_FLAGS = ("bound", "reached_target")


class ResultsError(Exception):
    """Results are missing or contradict each other; the message says what to do."""


def check(rows: pd.DataFrame, name: str, path: Path) -> pd.DataFrame:
    """Returns the rows of a table if they can be relied on.

    Args:
      rows: as read.
      name: `studies`, `trials` or `measurements`.
      path: where they were read, for the message.

    Raises:
      ResultsError: a column is missing, a row stands twice, a status is unknown or a number is none; the message
        names the file and the first of the rows.
    """
    remedy = f"restore it with `git checkout {path}`, or remove it and collect it again"
    if missing := [column for column in COLUMNS[name] if column not in rows]:
        raise ResultsError(f"{path} has no column {', '.join(missing)}; {remedy}")
    for column in COLUMNS[name]:
        if fault := _fault(rows[column], column):
            raise ResultsError(f"{path}, {fault}; {remedy}")
    doubled = rows.duplicated(KEYS[name])
    if doubled.any():
        raise ResultsError(f"{path} has rows twice: {doubled.sum()} of them, the first is {_place(doubled)}; {remedy}")
    return rows


def _fault(values: pd.Series, column: str) -> str | None:
    """What is wrong with a column and where, if anything is."""
    if column == "status":
        wrong, should = ~values.isin(STATUSES), f"must be one of {', '.join(STATUSES)}"
    elif column in _FLAGS:
        wrong, should = ~values.isin([True, False]), "must be True or False"
    elif column in _WORDS:
        wrong, should = values.isna(), "must not be empty"
    else:
        numbers = pd.to_numeric(values, errors="coerce")
        empty_is_right = column in ("best_metric", "fresh_examples_to_target", "value")
        wrong, should = numbers.isna() & ~(values.isna() & empty_is_right), "must be a number"
    return f"{_place(wrong)}: {column} {should}, got {values[wrong].iloc[0]!r}" if wrong.any() else None


def _place(wrong: pd.Series) -> str:
    """The first row that is wrong, as an editor counts lines of a CSV file."""
    return f"line {int(wrong.to_numpy().argmax()) + 2}"
