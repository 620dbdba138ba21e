"""What the analysis writes beside a picture: tables as CSV and Markdown."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown."""
    return table.to_markdown(index=False, disable_numparse=True)


def describe(bars: pd.DataFrame) -> str:
    """The numbers behind a bar chart, a line a bar; with the interval of `statistics.uncertainty` if any."""
    low, mean, high = (bars[f"{end}_fresh_examples"] for end in ("min", "mean", "max"))
    shown = pd.DataFrame(
        _settings(bars)
        | {
            "mean fresh": mean.map("{:,.0f}".format),
            "min - max": [f"{a:,.0f} - {b:,.0f}" for a, b in zip(low, high, strict=True)],
            "spread": ((high - low) / mean).map("{:.0%}".format),
            "searches at target": _searches(bars),
        }
        | _trials(bars)
        | _interval(bars, "{:,.0f}")
    )
    return markdown(shown)


def describe_best(bars: pd.DataFrame) -> str:
    """The best values at a fixed budget, a line a variant; the paper's have no ends."""
    ends = [end for end in ("mean", "min", "max") if f"{end}_best_value" in bars]
    values = {f"{end} best": bars[f"{end}_best_value"].map("{:.4f}".format) for end in ends}
    shown = _settings(bars) | {"metric": bars["metric"]} | values | {"searches": _searches(bars)}
    return markdown(pd.DataFrame(shown | _trials(bars) | _interval(bars, "{:.4f}")))


def describe_statuses(statuses: pd.DataFrame) -> str:
    """How many trials of each study completed, were bounded and were infeasible, a line a study."""
    counts = {status: statuses[status].astype(str) for status in ("complete", "bounded", "infeasible")}
    return markdown(pd.DataFrame(_settings(statuses) | counts))


def _settings(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """The columns that tell studies apart, those without a second value left out."""
    sizes = {"batch_size": "batch", "shuffle_buffer": "buffer", "repeated_batch_buffer": "repeated batches"}
    columns = {"workload": rows["workload"], "variant": rows["variant"], "e": rows["echo_factor"].map("{:g}".format)}
    varied = [key for key in sizes if key in rows and rows[key].nunique() > 1]
    return columns | {sizes[key]: rows[key].map("{:,.0f}".format) for key in varied}


def _searches(bars: pd.DataFrame) -> list[str]:
    """How many of the searches have a result."""
    return [f"{a} of {b}" for a, b in zip(bars["reached"], bars["searches"], strict=True)]


def _trials(bars: pd.DataFrame) -> dict[str, pd.Series]:
    """How many feasible trials of each search count, of ours."""
    return {"trials a search": bars["trials"].astype(str)} if "trials" in bars else {}


def _interval(bars: pd.DataFrame, form: str) -> dict[str, list[str]]:
    if "interval_low" not in bars:
        return {}
    ends = zip(bars["interval_low"], bars["interval_high"], strict=True)
    return {
        "95 %": [f"{form.format(low)} - {form.format(high)}" for low, high in ends],
        "searches that would miss": [f"{share:.1%}" for share in bars["misses"]],
    }


def describe_edges(edges: pd.DataFrame) -> str:
    """Where the winners lie in each search space, a line a study and dimension."""
    verdict = edges["inside"].map({True: "inside", False: "AT AN EDGE"}).where(edges["winners"] > 0, "no winner")
    shown = pd.DataFrame(
        _settings(edges)
        | {
            "dimension": edges["dimension"],
            "searched": [f"{a:g} - {b:g}" for a, b in zip(edges["low"], edges["high"], strict=True)],
            "winners": [f"{a:.3g} - {b:.3g}" for a, b in zip(edges["lowest"], edges["highest"], strict=True)],
            "median position": edges["median_position"].map("{:.2f}".format),
            "winners at an edge": [f"{a} of {b}" for a, b in zip(edges["at_edge"], edges["winners"], strict=True)],
            "optimum": verdict,
        }
    )
    return markdown(shown)


def describe_speedups(speedups: pd.DataFrame) -> str:
    """How much less than the baseline each echo factor needs, a line each; empty where nothing was timed."""
    shown = speedups[["workload", "variant"]].copy()
    shown["e"] = speedups["echo_factor"].map("{:g}".format)
    shown["fewer fresh examples"] = speedups["fresh_speedup"].map("{:.2f}x".format)
    for name, column, form in (
        ("in the reruns", "rerun_fresh_speedup", "{:.2f}x"),
        ("less wall time", "wall_clock_speedup", "{:.2f}x"),
        ("time an upstream batch", "batch_growth", "{:+.1%}"),
    ):
        shown[name] = speedups[column].map(lambda value, form=form: "" if pd.isna(value) else form.format(value))
    return markdown(shown)


def describe_model_errors(errors: pd.DataFrame) -> str:
    """How far timed seconds are from the model, in per cent, a line a workload and e, a column an R."""
    shown = errors.map(lambda error: "" if pd.isna(error) else f"{error:+.1%}")
    shown.columns = [f"R = {ratio:g}" for ratio in errors.columns]
    shown = shown.reset_index()
    return markdown(
        shown.assign(echo_factor=shown["echo_factor"].map("{:g}".format)).rename(columns={"echo_factor": "e"})
    )


def bullets(notes: Sequence[str]) -> list[str]:
    """Notes as one list in Markdown, none if there are none."""
    return ["\n".join(f"- {note}" for note in notes)] if notes else []


def claims(folder: Path, number: int, table: pd.DataFrame, notes: Sequence[str] = ()) -> dict[Path, str]:
    """The files of a figure's claims by path: for readers, with notes below, and for programs."""
    return {
        folder / f"claims_figure{number}.md": page(table, notes),
        folder / f"claims_figure{number}.csv": table.to_csv(index=False),
    }


def page(table: pd.DataFrame, notes: Sequence[str] = ()) -> str:
    """A table as a file in Markdown, with the notes as a list below it."""
    return "\n\n".join([markdown(table), *bullets(notes)]) + "\n"
