import json
import re
import shutil

import pandas as pd
import pytest

from analysis import figure4, report
from analysis.statistics import training_time
from experiments import workloads
from experiments.protocol import tables

SMALL = tables.RESULTS / "small"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of the committed results, and what it was made of beside it."""
    results = tmp_path_factory.mktemp("results")
    shutil.copytree(SMALL, results / "small")
    report.make(results, "small")
    return results / "small" / "report.html"


def claim(verdict, paper="0.5", claim="batch echoing / baseline"):
    return {"figure": "3e", "workload": "SSD on COCO", "claim": claim, "paper": paper, "verdict": verdict}


def test_the_sentence_counts_verdicts():
    claims = pd.DataFrame(
        [
            claim("holds"),
            claim("holds", paper="1.1 (does not hold)"),
            claim("does not hold"),
            claim("holds", paper=""),
            claim("undecided"),
        ]
    )
    assert report.summary(claims) == (
        "Of 5 claims of the paper's Figures 3 to 8, 3 hold at our scale, 1 do not and 1 are undecided; of the 3 "
        "decided ones that the paper's own numbers decide too, 1 agree with them."
    )


def test_a_curve_fills_its_frame():
    assert report.polyline([1, 2], [0.5, 1.0], 100, 10) == "50.0,10.0 100.0,0.0"
    assert report.polyline([1, 2], [3.0, 3.0], 100, 10) == "50.0,10.0 100.0,10.0"
    assert len(report.polyline(range(1, 1001), range(1000)).split()) == report.CURVE_POINTS


def test_the_committed_page_is_what_its_tables_make(page):
    for name in ("report.html", "REPORT.md"):
        assert (page.parent / name).read_bytes() == (SMALL / name).read_bytes()


def test_the_page_asks_nothing_of_the_network(page):
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//|url\(|@import|<link(?! rel="icon" href="data:,")', text)
    for name in re.findall(r'href="([^"#d][^"]*)"', text):
        assert (page.parent / name).exists()


def test_every_claim_and_every_winner_is_on_the_page(page):
    text = page.read_text(encoding="utf-8")
    claims = pd.concat(pd.read_csv(path, dtype=str) for path in sorted(SMALL.glob("claims_figure?.csv")))
    assert text.count('class="mark ') == len(claims)
    trials = tables.read(tables.RESULTS, "small", "trials")
    names = set(trials["config_hash"] + "/" + trials["search"].astype(str) + "/" + trials["trial"].astype(str))
    commands = re.findall(r"--trial=([0-9a-f]+/\d+/\d+)", text)
    assert len(commands) > 250
    assert set(commands) <= names


@pytest.mark.parametrize("workload", workloads.WORKLOADS)
def test_a_workload_says_what_differs_from_the_paper_at_each_scale(workload):
    small, gpu = (report.differences(workload, scale) for scale in ("small", "gpu"))
    assert small != gpu
    assert all(len(" ".join(text)) > 100 for text in (small, gpu))
    assert "scale:" not in " ".join(small)


def test_training_times_are_those_of_figure_4(page):
    embedded = re.search(r'id="training-times">(.*?)</script>', page.read_text(encoding="utf-8"))
    curves = {curve["name"]: curve["shares"] for curve in json.loads(embedded.group(1))}
    rows = figure4.ours(tables.RESULTS, "small")[0]
    for ratio in (1.0, 3.0, 6.0):
        modelled = training_time.modelled(rows[rows["workload"] == "transformer_lm1b"], (ratio,))
        shares = curves["Transformer on LM1B, ours, a small stand-in"]
        assert [share * max(ratio, e) for e, share in shares] == pytest.approx(list(modelled["relative_time"]))
