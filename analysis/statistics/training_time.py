"""Training time from fresh examples and R (section 2 of the paper), and from timed reruns. DataFrames in and out."""

import numpy as np
import pandas as pd

from analysis.statistics import uncertainty

WALL_CLOCK_RATIO = 6.0
"""R at which version 3 of the paper times its reruns, about."""


def modelled(rows: pd.DataFrame, ratios: tuple[float, ...]) -> pd.DataFrame:
    """The paper's model, max(t_upstream, e * t_downstream) for each upstream batch, at each R.

    Args:
      rows: one row a workload and echo factor, as `reach.per_study` gives them.
      ratios: R to look at.

    Returns:
      `workload`, `echo_factor`, `ratio` and `relative_time`, 1 for the baseline behind an upstream that costs nothing;
      no rows for a factor at which the target was not reached in every search.
    """
    reached = rows[rows["reached"] == rows["searches"]]
    tables = []
    for ratio in ratios:
        baseline = _baseline_batches(reached)
        table = reached[reached["workload"].isin(baseline.index)][["workload", "echo_factor"]].copy()
        share = _upstream_batches(reached) / reached["workload"].map(baseline)
        table["ratio"] = ratio
        table["relative_time"] = share * reached["echo_factor"].clip(lower=ratio)
        tables.append(table)
    return pd.concat(tables).sort_values(["workload", "ratio", "echo_factor"], ignore_index=True)


def measured(wall_clock: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Mean, minimum and maximum over the reruns of each workload, echo factor and R.

    Columns: those three, `reruns`, `reruns_at_target` (how many reached it), `{mean,min,max}_seconds` and
    `{mean,min,max}_rerun_fresh_examples` over those, `batch_downstreams` (mean time an upstream batch that was needed,
    in units of t_downstream, from the first update on: short runs would show little but how their buffers fill), and
    `{mean,min,max}_relative`, in units of `modelled`: the same of each rerun, times the upstream batches that the
    searches needed on average, so that it shows how seconds compare with the model, whatever the rerun needed itself.
    """
    timed = _with_batches(wall_clock, rows)
    share = _upstream_batches(timed) / timed["workload"].map(_baseline_batches(rows))
    timed["relative"] = timed["batch_downstreams"] * share
    groups = timed.groupby(["workload", "echo_factor", "ratio"])
    table = groups.agg(
        reruns=("rerun", "count"),
        reruns_at_target=("reached_target", "sum"),
        batch_downstreams=("batch_downstreams", "mean"),
    )
    for end in ("mean", "min", "max"):
        table[f"{end}_seconds"] = groups["seconds"].agg(end)
        table[f"{end}_rerun_fresh_examples"] = groups["fresh_examples"].agg(end)
        table[f"{end}_relative"] = groups["relative"].agg(end)
    return table.reset_index()


def _with_batches(wall_clock: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The reruns, each with the study's sizes and with its own `batch_downstreams`."""
    timed = wall_clock.merge(rows[["workload", "echo_factor", "batch_size", "mean_fresh_examples"]], how="left")
    batches = timed["fresh_examples"] / timed["batch_size"]
    timed["batch_downstreams"] = (timed["seconds"] - timed["fill_seconds"]) / batches / timed["t_downstream"]
    return timed


def drawn_means(wall_clock: pd.DataFrame, rows: pd.DataFrame, seed: int = 0) -> dict[str, np.ndarray]:
    """Means of other editions of the reruns at WALL_CLOCK_RATIO, as `uncertainty.drawn_means` draws those of searches.

    A rerun that missed the target needs at least as much as the longest of the others.

    Returns:
      [rows, editions] for each of the columns of `measured` that are means of reruns, NaN where nothing was timed. The
      same edition has the same reruns in all of them.
    """
    timed = _with_batches(wall_clock[wall_clock["ratio"] == WALL_CLOCK_RATIO], rows)
    columns = {
        "mean_seconds": "seconds",
        "mean_rerun_fresh_examples": "fresh_examples",
        "batch_downstreams": "batch_downstreams",
    }
    means = {column: np.full((len(rows), uncertainty.EDITIONS), np.nan) for column in columns}
    generator = np.random.default_rng(seed)
    of_study = dict(list(timed.groupby(["workload", "echo_factor"])))
    for place, key in enumerate(zip(rows["workload"], rows["echo_factor"], strict=True)):
        reruns = of_study.get(key)
        if reruns is None or not reruns["reached_target"].any():
            continue
        shares = generator.random((len(reruns), uncertainty.EDITIONS))
        for column, source in columns.items():
            longest = reruns[source].max()
            values = reruns[source].fillna(longest)
            outcomes = uncertainty.Outcomes(values.to_numpy(float), reruns[source].notna().to_numpy(), longest)
            means[column][place] = outcomes.best(1, shares).mean(axis=0)
    return means


def model_errors(timed: pd.DataFrame) -> pd.DataFrame:
    """How far timed seconds an upstream batch are from the model: rows a workload and e, columns an R, as shares.

    Args:
      timed: what `measured` gives.
    """
    needed = timed["batch_downstreams"] / timed[["ratio", "echo_factor"]].max(axis=1)
    return timed.assign(error=needed - 1).pivot_table(
        index=["workload", "echo_factor"], columns="ratio", values="error"
    )


def with_seconds(rows: pd.DataFrame, seconds: pd.DataFrame) -> pd.DataFrame:
    """Fresh examples beside the reruns of the same workload and echo factor, missing where nothing was timed."""
    ranges = [f"{end}_{name}" for name in ("seconds", "rerun_fresh_examples") for end in ("mean", "min", "max")]
    names = [*ranges, "batch_downstreams", "reruns", "reruns_at_target"]
    return rows.merge(seconds[["workload", "echo_factor", *names]], on=["workload", "echo_factor"], how="left")


def speedups(rows: pd.DataFrame) -> pd.DataFrame:
    """How many times fewer fresh examples and seconds than the baseline each echo factor needs.

    `fresh_speedup` is of the searches, `rerun_fresh_speedup` and `wall_clock_speedup` are of the same reruns;
    `batch_growth` is of the time an upstream batch at the same R.
    """
    tables = []
    for _, group in rows.groupby("workload", sort=False):
        baseline = group[group["variant"] == "baseline"].iloc[0]
        table = group[["workload", "variant", "echo_factor"]].copy()
        table["fresh_speedup"] = baseline["mean_fresh_examples"] / group["mean_fresh_examples"]
        table["rerun_fresh_speedup"] = baseline["mean_rerun_fresh_examples"] / group["mean_rerun_fresh_examples"]
        table["wall_clock_speedup"] = baseline["mean_seconds"] / group["mean_seconds"]
        table["batch_growth"] = group["batch_downstreams"] / baseline["batch_downstreams"] - 1
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _upstream_batches(rows: pd.DataFrame) -> pd.Series:
    return rows["mean_fresh_examples"] / rows["batch_size"]


def _baseline_batches(rows: pd.DataFrame) -> pd.Series:
    baseline = rows[rows["variant"] == "baseline"]
    return pd.Series(_upstream_batches(baseline).to_numpy(), index=baseline["workload"].to_numpy())
