"""Reads the paper's numbers: results/published/figures.csv, one row a bar of Figures 3 to 7, and final_quality.csv.

The latter, of Figure 8, is digitised from its vector graphics.
"""

from pathlib import Path

import pandas as pd

from experiments.protocol.study import ResultsError
from experiments.protocol.tables import SETTING_KEYS

PUBLISHED = "published"
PUBLISHED_FOLDER = Path(__file__).parents[2] / "results" / PUBLISHED


def bars(figure: int) -> pd.DataFrame:
    """The paper's bars of one figure, with the columns of `reach.per_study` and `panel`.

    Figure 8 is of best values, with the columns of `reach.best_values`.
    """
    if figure == 8:
        rows = _table("final_quality").rename(columns={"best_value": "mean_best_value"})
        return rows.assign(searches=1, reached=1)
    rows = _table("figures")
    rows = rows[rows["figure"].astype(int) == figure].reset_index(drop=True)
    for end in ("min", "max"):
        rows[f"{end}_fresh_examples"] = rows[f"{end}_upstream_batches"] * rows["batch_size"]
    rows["searches"] = rows["reached"] = 5
    size, unit = (rows["buffer"].str.extract(r"^(.*?)(ex|batch|batches)$")[i] for i in (0, 1))
    examples = size.astype(float).where(unit == "ex")
    rows["shuffle_buffer"] = examples.fillna(examples.groupby(rows["panel"]).transform("max")).astype(int)
    # One batch is no shuffling at all: our studies have no such buffer then.
    rows["repeated_batch_buffer"] = size.astype(float).where((unit == "batches"), 0).astype(int)
    kept = ["panel", *SETTING_KEYS, "searches", "reached"]
    return rows[[*kept, "mean_fresh_examples", "min_fresh_examples", "max_fresh_examples"]]


def seconds() -> pd.DataFrame:
    """The paper's wall-clock seconds to the target (Figure 4 right), digitised: mean, minimum and maximum."""
    return _table("figure4_walltime")


def _table(name: str) -> pd.DataFrame:
    path = PUBLISHED_FOLDER / f"{name}.csv"
    try:
        return pd.read_csv(path)
    except (FileNotFoundError, ValueError) as error:
        raise ResultsError(
            f"{path} is missing or damaged; copy it from the repository, or, in a git checkout, `git checkout {path}`"
        ) from error
