"""Redraws every figure at every scale that has results, the published ones, timelines and detections.

    python -m analysis.all

Besides, it puts the claims of all figures, also of those that were not run, into results/<scale>/claims.md, all that
held into one page (`analysis.report`), and what echoed examples were worth into the evidence that
`pipelines.echoing.advice` advises by.
"""

import sys
from pathlib import Path

import pandas as pd

from analysis import (
    detections,
    documents,
    editions,
    evidence,
    figure3,
    figure4,
    figure5,
    figure6,
    figure7,
    figure8,
    reuse,
    timeline,
)
from analysis import report as page
from analysis.drawing import report
from analysis.statistics import paper
from experiments import workloads
from experiments.command_line import Parser, exit_code
from experiments.protocol import files, tables

FIGURES = (figure3, figure4, figure5, figure6, figure7, figure8)


def redraw(results: Path = tables.RESULTS) -> str:
    """Redraws what has results and returns the figures' numbers in words."""
    words = []
    for scale in (paper.PUBLISHED, *workloads.SCALES):
        drawn = [figure.ANALYSIS for figure in FIGURES if figure.ANALYSIS.has_results(results, scale)]
        words += [f"# {scale}, Figure {analysis.number}\n\n{analysis.make(results, scale)}" for analysis in drawn]
        if drawn and scale != paper.PUBLISHED:
            path = results / scale / "claims.md"
            files.write(path, claims(results, scale))
            words += [f"written: {path}", page.make(results, scale)]
        others = (timeline, detections, editions, reuse)
        words += [other.make(results, scale) for other in others if other.has_results(results, scale)]
    return "\n\n".join(words)


def claims(results: Path, scale: str) -> str:
    """The claims of all figures, as their own files have them where there are results."""
    parts = ["# Every claim: the paper's number, ours, and whether it holds"]
    for analysis in (figure.ANALYSIS for figure in FIGURES):
        if analysis.has_results(results, scale):
            table = (results / scale / f"claims_figure{analysis.number}.md").read_text(encoding="utf-8").strip()
        else:
            table = report.markdown(analysis.check(pd.DataFrame(), scale))
        parts.append(f"## Figure {analysis.number}\n\n{table}")
    return "\n\n".join(parts) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    Parser(__doc__).parse_args(argv)
    return exit_code(lambda: print(redraw(), documents.save(), evidence.save(), sep="\n\n"))


if __name__ == "__main__":
    sys.exit(main())
