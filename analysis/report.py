"""What the analysis writes beside a picture: tables as CSV and Markdown."""

from pathlib import Path

import pandas as pd


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown."""
    return table.to_markdown(index=False, disable_numparse=True)


def describe(bars: pd.DataFrame) -> str:
    """The numbers behind a bar chart, a line a bar."""
    told = bars.assign(
        **{
            "mean fresh": bars["mean_fresh_examples"].map("{:,.0f}".format),
            "min - max": [
                f"{low:,.0f} - {high:,.0f}"
                for low, high in zip(bars["min_fresh_examples"], bars["max_fresh_examples"], strict=True)
            ],
            "spread": ((bars["max_fresh_examples"] - bars["min_fresh_examples"]) / bars["mean_fresh_examples"]).map(
                "{:.0%}".format
            ),
            "reached": [f"{a} of {b}" for a, b in zip(bars["reached"], bars["searches"], strict=True)],
        }
    )
    return markdown(told[["workload", "variant", "echo_factor", "mean fresh", "min - max", "spread", "reached"]])


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


def save_table(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as CSV, or as Markdown where the name ends in .md."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".md":
        path.write_text(markdown(table) + "\n")
    else:
        table.to_csv(path, index=False)
