"""From trials to fresh examples needed to reach the target (section 3 of the paper). DataFrames in, DataFrames out."""

import json

import numpy as np
import pandas as pd

from analysis.load import STUDY_KEYS

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
    fresh = winners(trials).groupby(STUDY_KEYS)["fresh_examples_to_target"]
    found = fresh.agg(["count", "mean", "min", "max"]).reset_index()
    table = studies[[*STUDY_KEYS, "searches"]].merge(found, on=STUDY_KEYS, how="left")
    table["count"] = table["count"].fillna(0).astype(int)
    names = {"count": "reached"} | {end: f"{end}_fresh_examples" for end in ("mean", "min", "max")}
    return table.rename(columns=names)


def edges(trials: pd.DataFrame, studies: pd.DataFrame) -> pd.DataFrame:
    """Where each study's winners lie in its search space.

    One row a study and dimension: `low`, `high`, the winners' `lowest` and `highest` value, `median_position` (0 at
    the low edge, 1 at the high one, on the dimension's own scale), `at_edge` (how many of the winners lie at one)
    and `inside` (the median winner does not). The paper checks the same for each of its experiments.
    """
    rows = []
    won = winners(trials)
    for _, study in studies.iterrows():
        mine = won[(won[STUDY_KEYS] == study[STUDY_KEYS]).all(axis=1)]
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
