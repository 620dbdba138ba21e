"""What the analysis writes beside a picture: tables as CSV and Markdown."""

from pathlib import Path

import pandas as pd


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown."""
    return table.to_markdown(index=False, disable_numparse=True)


def describe(bars: pd.DataFrame) -> str:
    """The numbers behind a bar chart, a line a bar."""
    low, mean, high = (bars[f"{end}_fresh_examples"] for end in ("min", "mean", "max"))
    told = pd.DataFrame(
        {
            "workload": bars["workload"],
            "variant": bars["variant"],
            "e": bars["echo_factor"].map("{:g}".format),
            "mean fresh": mean.map("{:,.0f}".format),
            "min - max": [f"{a:,.0f} - {b:,.0f}" for a, b in zip(low, high, strict=True)],
            "spread": ((high - low) / mean).map("{:.0%}".format),
            "searches at target": [f"{a} of {b}" for a, b in zip(bars["reached"], bars["searches"], strict=True)],
        }
    )
    return markdown(told)


def describe_edges(edges: pd.DataFrame) -> str:
    """Where the winners lie in each search space, a line a study and dimension."""
    verdict = edges["inside"].map({True: "inside", False: "AT AN EDGE"})
    told = pd.DataFrame(
        {
            "workload": edges["workload"],
            "variant": edges["variant"],
            "dimension": edges["dimension"],
            "searched": [f"{a:g} - {b:g}" for a, b in zip(edges["low"], edges["high"], strict=True)],
            "winners": [f"{a:.3g} - {b:.3g}" for a, b in zip(edges["lowest"], edges["highest"], strict=True)],
            "median position": edges["median_position"].map("{:.2f}".format),
            "winners at an edge": [f"{a} of {b}" for a, b in zip(edges["at_edge"], edges["winners"], strict=True)],
            "optimum": verdict,
        }
    )
    return markdown(told)


def describe_speedups(speedups: pd.DataFrame) -> str:
    """How much less than the baseline each echo factor needs, a line each; empty where nothing was timed."""
    told = speedups[["workload", "variant"]].copy()
    told["e"] = speedups["echo_factor"].map("{:g}".format)
    told["fewer fresh examples"] = speedups["fresh_speedup"].map("{:.2f}x".format)
    for name, column, form in (
        ("less wall time", "wall_clock_speedup", "{:.2f}x"),
        ("seconds an upstream batch", "batch_seconds_growth", "{:+.0%}"),
    ):
        told[name] = speedups[column].map(lambda value, form=form: "" if pd.isna(value) else form.format(value))
    return markdown(told)


def save_table(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as CSV, or as Markdown where the name ends in .md."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".md":
        path.write_text(markdown(table) + "\n")
    else:
        table.to_csv(path, index=False)
