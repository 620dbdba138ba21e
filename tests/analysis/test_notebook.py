import json
from pathlib import Path

import pandas as pd

DOCS = Path(__file__).parents[2] / "docs"


def test_the_notebook_redraws_figure_3(monkeypatch):
    monkeypatch.chdir(DOCS)
    cells = json.loads((DOCS / "figure3.ipynb").read_text(encoding="utf-8"))["cells"]
    (code,) = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len([line for line in code.splitlines() if line]) <= 11
    names = {}
    exec(code, names)
    ours = pd.read_csv("../results/small/figure3.csv").set_index(["workload", "variant"])["mean_fresh_examples"]
    expected = ours["ssd_coco", "batch"] / ours["ssd_coco", "baseline"]
    assert names["shares"].loc[("ssd_coco", "batch"), "ours"] == expected
    assert len(names["shares"]) == len(ours)
