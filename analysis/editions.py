"""The claims of two editions of our results side by side, beside the paper's.

    python -m analysis.editions --scale=small       a second

Reads the claims of Figures 3 to 8 in results/<scale>/first_edition and in results/<scale> (`claims_figure<n>.csv`,
which the figures' analyses write), and writes results/<scale>/editions.md: how many verdicts agree, and each claim.
"""

import sys
from pathlib import Path

import pandas as pd

from analysis.command_line import main
from analysis.drawing import report
from analysis.statistics.claims import FAILS, HOLDS
from experiments import workloads
from experiments.protocol import files
from experiments.protocol.study import ResultsError

FIRST = "first_edition"
KEYS = ["figure", "workload", "claim", "holds if", "paper"]
FOUND = ["ours", "95 %", "verdict"]


def has_results(results: Path, scale: str) -> bool:
    """Whether there is a first edition to compare with."""
    return (results / scale / FIRST).is_dir()


def read(folder: Path) -> pd.DataFrame:
    """All claims of an edition, in the order of the figures.

    Raises:
      ResultsError: there are none.
    """
    found = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in sorted(folder.glob("claims_figure*.csv"))]
    if not found:
        raise ResultsError(
            f"{folder} has no claims_figure<n>.csv; `python -m analysis.all` writes those of our results"
        )
    return pd.concat(found, ignore_index=True)


def compared(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """A row for each claim that either edition has: numbers and verdicts of both.

    An edition that does not have a claim, or not with the same range, has no number and no verdict on it.
    """
    return first[[*KEYS, *FOUND]].merge(
        second[[*KEYS, *FOUND]], on=KEYS, how="outer", sort=False, suffixes=(", first", ", second")
    )


def counts(claims: pd.DataFrame) -> pd.DataFrame:
    """How many verdicts of both editions, and of the paper's own numbers, agree, a row a workload and one for all."""
    decided = (HOLDS, FAILS)
    first, second = claims["verdict, first"], claims["verdict, second"]
    paper = claims["paper"].map(lambda number: FAILS if FAILS in number else HOLDS if number else "")
    marks = pd.DataFrame(
        {
            "claims": True,
            "decided in both": first.isin(decided) & second.isin(decided),
            "both hold": (first == HOLDS) & (second == HOLDS),
            "neither holds": (first == FAILS) & (second == FAILS),
            "they contradict": first.isin(decided) & second.isin(decided) & (first != second),
            "first as in the paper": first.isin(decided) & (first == paper),
            "second as in the paper": second.isin(decided) & (second == paper),
        }
    )
    by_workload = marks.groupby(claims["workload"], sort=False).sum()
    by_workload.loc["all"] = marks.sum()
    return by_workload.astype(int).astype(str).rename_axis("workload").reset_index()


def anew(claims: pd.DataFrame) -> list[str]:
    """The workloads with a number of the second edition that is not the first's: the others were not run anew."""
    changed = claims["ours, first"] != claims["ours, second"]
    return [str(workload) for workload in claims["workload"].unique() if changed[claims["workload"] == workload].any()]


def make(results: Path, scale: str) -> str:
    """Writes the comparison, of the workloads that were run anew, and returns it.

    Raises:
      ResultsError: one of the two editions is not there.
    """
    first, second = read(results / scale / FIRST), read(results / scale)
    claims = compared(first, second).fillna("")
    again = anew(claims)
    rest = [workload for workload in claims["workload"].unique() if workload not in again]
    claims = claims[claims["workload"].isin(again)].reset_index(drop=True)
    text = "\n\n".join(
        [
            f"# Two editions of the results at {scale} scale",
            "An edition is all searches anew, on other seeds; a workload's settings may differ too, as its module "
            "says. A verdict is of the interval in which 95 % of editions of the same settings lie.",
            *([f"Not run anew yet: {', '.join(rest)}."] if rest else []),
            report.markdown(counts(claims)),
            report.markdown(claims),
        ]
    )
    path = results / scale / "editions.md"
    files.write(path, text + "\n")
    return f"{report.markdown(counts(claims))}\n\nwritten: {path}"


if __name__ == "__main__":
    sys.exit(main(__doc__, make, scales=workloads.SCALES))
