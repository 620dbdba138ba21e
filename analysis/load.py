"""Reads and writes the tables under results/, and reads the paper's.

`trials`, `measurements` and `studies` are described in `analysis.collect`. The published numbers are in
results/published/figures.csv, one row a bar of the paper's Figures 3 to 7, and in final_quality.csv, those of Figure 8,
digitised from its vector graphics.
"""

from pathlib import Path

import pandas as pd

from analysis import tables
from analysis.tables import SETTING_KEYS, STUDY_KEYS, ResultsError
from experiments.study import Study

RESULTS = Path("results")
PUBLISHED = "published"
PUBLISHED_FOLDER = Path(__file__).parents[1] / "results" / PUBLISHED
_TYPES = {"threads": "Int64"}
"""Whole numbers that trials of the first revisions did not record."""
_TIMES = ("t_downstream", "fresh_examples", "seconds", "fill_seconds")
WALL_CLOCK_COLUMNS = ["workload", "echo_factor", "ratio", "rerun", "reached_target", *_TIMES, "config_hash"]


def study_keys(study: Study) -> dict[str, object]:
    """The columns that name a study in every table."""
    return {key: getattr(study, key) for key in STUDY_KEYS}


def has_results(results: Path, scale: str) -> bool:
    """Whether there is anything to draw at this scale."""
    return (results / scale / "trials.csv").exists()


def table(results: Path, scale: str, name: str) -> pd.DataFrame:
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
            f"then `python -m analysis.collect --scale={scale}`"
        ) from error


def _read(path: Path, name: str) -> pd.DataFrame:
    try:
        rows = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=_TYPES)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise ResultsError(f"{path} is damaged ({error}); restore it, or remove it and collect it again") from error
    return tables.check(rows, name, path)


def is_changed(git_revision: object) -> bool:
    """Whether a trial was made by files that are in no revision, or whose revision nobody knows."""
    return not isinstance(git_revision, str) or git_revision == "unknown" or git_revision.endswith("-dirty")


def of_rows(rows: pd.DataFrame, studies: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that belong to the given rows of studies."""
    wanted = pd.MultiIndex.from_frame(studies[STUDY_KEYS])
    return rows[pd.MultiIndex.from_frame(rows[STUDY_KEYS]).isin(wanted)].reset_index(drop=True)


def update_table(folder: Path, name: str, rows: pd.DataFrame) -> None:
    """Puts rows into a table, in place of those that it has of the same studies."""
    path = _path(folder, name)
    if path.exists():
        old = _read(path, name)
        new_studies = pd.MultiIndex.from_frame(rows[STUDY_KEYS])
        rows = pd.concat([old[~pd.MultiIndex.from_frame(old[STUDY_KEYS]).isin(new_studies)], rows])
    order = [key for key in (*STUDY_KEYS, "search", "trial", "sgd_steps") if key in rows]
    rows = rows.sort_values(order, ignore_index=True)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    if path.suffix == ".parquet":
        rows.to_parquet(unfinished, index=False)
    else:
        rows.to_csv(unfinished, index=False)
    unfinished.replace(path)


def published(figure: int) -> pd.DataFrame:
    """The paper's bars of one figure, with the columns of `reach.per_study` and `panel`.

    Figure 8 is of best values, with the columns of `reach.best_values`.
    """
    if figure == 8:
        bars = _paper_table("final_quality").rename(columns={"best_value": "mean_best_value"})
        return bars.assign(searches=1, reached=1)
    bars = _paper_table("figures")
    bars = bars[bars["figure"].astype(int) == figure].reset_index(drop=True)
    for end in ("min", "max"):
        bars[f"{end}_fresh_examples"] = bars[f"{end}_upstream_batches"] * bars["batch_size"]
    bars["searches"] = bars["reached"] = 5
    size, unit = (bars["buffer"].str.extract(r"^(.*?)(ex|batch|batches)$")[i] for i in (0, 1))
    examples = size.astype(float).where(unit == "ex")
    bars["shuffle_buffer"] = examples.fillna(examples.groupby(bars["panel"]).transform("max")).astype(int)
    # One batch is no shuffling at all: our studies have no such buffer then.
    bars["repeated_batch_buffer"] = size.astype(float).where((unit == "batches"), 0).astype(int)
    kept = ["panel", *SETTING_KEYS, "searches", "reached"]
    return bars[[*kept, "mean_fresh_examples", "min_fresh_examples", "max_fresh_examples"]]


def published_seconds() -> pd.DataFrame:
    """The paper's wall-clock seconds to the target (Figure 4 right), digitised: mean, minimum and maximum."""
    return _paper_table("figure4_walltime")


def _paper_table(name: str) -> pd.DataFrame:
    path = PUBLISHED_FOLDER / f"{name}.csv"
    try:
        return pd.read_csv(path)
    except FileNotFoundError as error:
        raise ResultsError(f"{path} is missing; restore it with `git checkout {path}`") from error


def wall_clock(results: Path, scale: str) -> pd.DataFrame:
    """The timed reruns of a scale, a row each, as `experiments.wall_clock` describes them; none if none were made."""
    path = results / scale / "wall_clock.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=WALL_CLOCK_COLUMNS)


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.{'parquet' if name == 'measurements' else 'csv'}"
