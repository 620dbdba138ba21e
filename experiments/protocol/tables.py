"""The committed tables of results/<scale>/: their columns, the rules that they obey, reading and updating them.

`trials`, `measurements` and `studies` are described in `experiments.collect`, `wall_clock` in `experiments.wall_clock`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from experiments.protocol import files
from experiments.protocol.study import ResultsError, Study

SETTING_KEYS = ["workload", "variant", "echo_factor", "batch_size", "shuffle_buffer", "repeated_batch_buffer"]
STUDY_KEYS = [*SETTING_KEYS, "budget_steps", "bound"]
STATUSES = ("complete", "bounded", "infeasible")

KEYS = {
    "studies": STUDY_KEYS,
    "trials": [*STUDY_KEYS, "search", "trial"],
    "measurements": [*STUDY_KEYS, "search", "trial", "sgd_steps"],
    "wall_clock": ["workload", "variant", "echo_factor", "ratio", "rerun"],
}
"""The columns that tell the rows of each table apart."""
_TIMES = ("fresh_examples", "seconds", "fill_seconds")
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
    "wall_clock": [*KEYS["wall_clock"], "reached_target", "t_downstream", *_TIMES, "config_hash"],
}
"""The columns that figures need; tables have others besides, for people."""
_WORDS = ("workload", "variant", "metric", "goal", "config_hash", "config", "status", "bound", "reached_target")
_FLAGS = ("bound", "reached_target")
_TYPES = {"threads": "Int64"}
"""Whole numbers that trials of the first revisions did not record."""
RESULTS = Path("results")


def study_keys(study: Study) -> dict[str, object]:
    """The columns that name a study in every table."""
    return {key: getattr(study, key) for key in STUDY_KEYS}


def has_results(results: Path, scale: str) -> bool:
    """Whether there is anything to draw at this scale."""
    return (results / scale / "trials.csv").exists()


def read(results: Path, scale: str, name: str) -> pd.DataFrame:
    """Reads one table of a scale.

    Raises:
      ResultsError: it is missing, unreadable or breaks a rule of `tables.check`.
    """
    path = _path(results / scale, name)
    try:
        return _read(path, name)
    except FileNotFoundError as error:
        raise ResultsError(
            f"{path} is missing; run a figure's experiment, `python -m experiments.figureN --scale={scale}`, "
            f"then `python -m experiments.collect --scale={scale}`"
        ) from error


def recorded(path: Path, columns: Mapping[str, type], command: str) -> pd.DataFrame:
    """Reads columns, of these types where it is CSV, of a table that one command records whole.

    Raises:
      ResultsError: it is missing, unreadable or empty, or lacks a column; the message names the command.
    """
    try:
        if path.suffix == ".parquet":
            rows = pd.read_parquet(path, columns=list(columns))
        else:
            rows = pd.read_csv(path, usecols=list(columns), dtype=dict(columns))
    except FileNotFoundError:
        raise ResultsError(f"{path} is missing; run `{command}`") from None
    except ValueError as error:
        words = " ".join(str(error).split())
        raise ResultsError(f"{path} is damaged ({words}); restore it, or run `{command}`") from error
    if rows.empty:
        raise ResultsError(f"{path} has no rows; run `{command}`")
    return rows


def _read(path: Path, name: str) -> pd.DataFrame:
    try:
        rows = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=_TYPES)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise ResultsError(f"{path} is damaged ({error}); restore it, or remove it and collect it again") from error
    return check(rows, name, path)


def is_changed(git_revision: object) -> bool:
    """Whether a trial was made by files that are in no revision, or whose revision nobody knows."""
    return not isinstance(git_revision, str) or git_revision == "unknown" or git_revision.endswith("-dirty")


def of_rows(rows: pd.DataFrame, studies: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that belong to the given rows of studies."""
    wanted = pd.MultiIndex.from_frame(studies[STUDY_KEYS])
    return rows[pd.MultiIndex.from_frame(rows[STUDY_KEYS]).isin(wanted)].reset_index(drop=True)


def update(folder: Path, rows_of: Mapping[str, pd.DataFrame], replaced: Sequence[str] = STUDY_KEYS) -> None:
    """Puts rows into tables, by name, in place of those that have the same values of `replaced`; all of them or none.

    By default those are of the same studies.
    """
    with files.locked(folder):
        files.write_together(
            {_path(folder, name): _updated(_path(folder, name), name, rows, replaced) for name, rows in rows_of.items()}
        )


def _updated(path: Path, name: str, rows: pd.DataFrame, replaced: Sequence[str]) -> str | bytes:
    if path.exists():
        old, keys = _read(path, name), list(replaced)
        new = pd.MultiIndex.from_frame(rows[keys])
        rows = pd.concat([old[~pd.MultiIndex.from_frame(old[keys]).isin(new)], rows])
    order = [key for key in (*STUDY_KEYS, "search", "trial", "sgd_steps") if key in rows]
    rows = rows.sort_values(order, ignore_index=True)
    return bytes(rows.to_parquet(index=False)) if path.suffix == ".parquet" else str(rows.to_csv(index=False))


def wall_clock(results: Path, scale: str) -> pd.DataFrame:
    """The timed reruns of a scale, a row each; none if none were made.

    Raises:
      ResultsError: the table is unreadable or breaks a rule of `tables.check`.
    """
    path = _path(results / scale, "wall_clock")
    return _read(path, "wall_clock") if path.exists() else pd.DataFrame(columns=COLUMNS["wall_clock"])


def check(rows: pd.DataFrame, name: str, path: Path) -> pd.DataFrame:
    """Returns the rows of a table if they can be relied on.

    Args:
      rows: as read.
      name: of the table, a key of `COLUMNS`.
      path: where they were read, for the message.

    Raises:
      ResultsError: a column is missing, a row stands twice, a status is unknown or a number is none; the message
        names the file and the first of the rows.
    """
    remedy = "restore it (`git checkout`, if it is committed), or remove it and collect it again"
    if missing := [column for column in COLUMNS[name] if column not in rows]:
        raise ResultsError(f"{path} has no column {', '.join(missing)}; {remedy}")
    for column in COLUMNS[name]:
        # A rerun that missed its target has no times.
        timed = rows[rows["reached_target"].eq(True)] if name == "wall_clock" and column in _TIMES else rows
        if fault := _fault(timed[column], column):
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
    return f"line {int(wrong[wrong].index[0]) + 2}"


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.{'parquet' if name == 'measurements' else 'csv'}"
