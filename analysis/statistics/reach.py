"""From trials to fresh examples needed to reach the target (section 3 of the paper). DataFrames in, DataFrames out."""

import json

import numpy as np
import pandas as pd

from experiments.protocol.tables import STUDY_KEYS

EDGE = 0.05
"""A winner within this share of a dimension's range, on its own scale, counts as being at the edge."""


def winners(trials: pd.DataFrame) -> pd.DataFrame:
    """The winning trial of each search: of those that reached the target, the one with the fewest fresh examples.

    Ties go to the lower trial index. A search none of whose trials reached the target has no row.
    """
    reached = trials[trials["reached_target"] & (trials["status"] != "infeasible")]
    order = reached.sort_values(["fresh_examples_to_target", "trial"], kind="stable")
    return order.groupby([*STUDY_KEYS, "search"], as_index=False).first()


def per_study(trials: pd.DataFrame, studies: pd.DataFrame) -> pd.DataFrame:
    """Mean, minimum and maximum over the searches of each study.

    Columns: the study's keys, `searches`, `reached` (searches in which some trial reached the target) and
    `mean_`, `min_`, `max_fresh_examples` over those, NaN where there is none.
    """
    return _over_searches(winners(trials), studies, "fresh_examples_to_target", "fresh_examples", [])


def _over_searches(won: pd.DataFrame, studies: pd.DataFrame, column: str, name: str, kept: list[str]) -> pd.DataFrame:
    found = won.groupby(STUDY_KEYS)[column].agg(["count", "mean", "min", "max"]).reset_index()
    table = studies[[*STUDY_KEYS, *kept, "searches"]].merge(found, on=STUDY_KEYS, how="left")
    table["count"] = table["count"].fillna(0).astype(int)
    names = {"count": "reached"} | {end: f"{end}_{name}" for end in ("mean", "min", "max")}
    return table.rename(columns=names)


def best_trials(trials: pd.DataFrame, studies: pd.DataFrame) -> pd.DataFrame:
    """The trial of each search that reached the best metric of its feasible ones, whenever it did (section 3.6).

    Ties go to the lower trial index. A search without a feasible trial has no row.
    """
    measured = trials[(trials["status"] != "infeasible") & trials["best_metric"].notna()]
    kept = [measured.iloc[:0]]
    for _, study in studies.iterrows():
        mine = of_study(measured, study).sort_values("trial", kind="stable")
        ordered = mine.sort_values("best_metric", ascending=study["goal"] == "min", kind="stable")
        kept.append(ordered.drop_duplicates("search"))
    return pd.concat(kept, ignore_index=True)


def best_values(trials: pd.DataFrame, studies: pd.DataFrame) -> pd.DataFrame:
    """Mean, minimum and maximum over the searches of each study's best metric.

    Columns: the study's keys, `metric`, `searches`, `reached` (searches with a feasible trial) and `mean_`, `min_`,
    `max_best_value`, NaN where there is none.
    """
    return _over_searches(best_trials(trials, studies), studies, "best_metric", "best_value", ["metric"])


def first_feasible(trials: pd.DataFrame, number: int) -> pd.DataFrame:
    """The trials of each search up to its `number`-th feasible one: the search, had it had that budget."""
    ordered = trials.sort_values("trial", kind="stable")
    feasible = (ordered["status"] != "infeasible").astype(int)
    earlier = feasible.groupby([ordered[key] for key in (*STUDY_KEYS, "search")]).cumsum() - feasible
    return ordered[earlier < number].sort_index()


def statuses(trials: pd.DataFrame, studies: pd.DataFrame) -> pd.DataFrame:
    """How many trials of each study are complete, bounded and infeasible, in columns of these names."""
    table = studies[STUDY_KEYS].copy()
    for status in ("complete", "bounded", "infeasible"):
        table[status] = [int((of_study(trials, study)["status"] == status).sum()) for _, study in studies.iterrows()]
    return table


def of_study(rows: pd.DataFrame, study: pd.Series) -> pd.DataFrame:
    """The rows of one study."""
    return rows[(rows[STUDY_KEYS] == study[STUDY_KEYS]).all(axis=1)]


def edges(won: pd.DataFrame, studies: pd.DataFrame) -> pd.DataFrame:
    """Where each study's winners, one trial a search, lie in its search space.

    One row a study and dimension: `low`, `high`, the winners' `lowest` and `highest` value, `median_position` (0 at
    the low edge, 1 at the high one, on the dimension's own scale), `at_edge` (how many of the winners lie at one)
    and `inside` (the median winner does not). The paper checks the same for each of its experiments.
    """
    rows = []
    for _, study in studies.iterrows():
        mine = of_study(won, study)
        for name, dimension in json.loads(study["config"])["search_space"].items():
            positions = position(mine[name].to_numpy(dtype=float), **dimension)
            median = float(np.median(positions)) if len(positions) else np.nan
            rows.append(
                dict(study[STUDY_KEYS])
                | {"dimension": name, "low": dimension["low"], "high": dimension["high"]}
                | {"lowest": mine[name].min(), "highest": mine[name].max(), "median_position": median}
                | {"winners": len(mine), "at_edge": int(np.sum((positions < EDGE) | (positions > 1 - EDGE)))}
                | {"inside": EDGE <= median <= 1 - EDGE}
            )
    return pd.DataFrame(rows)


def position(values: np.ndarray, scale: str, low: float, high: float) -> np.ndarray:
    """Places values between the edges of a dimension: 0 at `low`, 1 at `high`, evenly on its scale."""
    if scale == "log":
        return np.log(values / low) / np.log(high / low)
    if scale == "reverse_log":
        return np.log((1 - values) / (1 - low)) / np.log((1 - high) / (1 - low))
    return (values - low) / (high - low)
