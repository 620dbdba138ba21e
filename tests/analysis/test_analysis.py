import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis import figure3
from analysis.drawing import plots
from analysis.statistics import claims, paper, reach
from experiments.protocol import files, tables
from experiments.protocol.study import ResultsError

RESULTS = Path("results")
CHECKOUT = Path(__file__).parents[2]
SPACE = {
    "learning_rate": {"scale": "log", "low": 0.01, "high": 1.0},
    "momentum": {"scale": "reverse_log", "low": 0.9, "high": 0.999},
}


def keys(variant="baseline", factor=1.0):
    return dict(zip(tables.STUDY_KEYS, ["transformer_lm1b", variant, factor, 32, 100, 0, 500, True], strict=True))


def trials(rows, **study):
    """Rows of (search, trial, status, fresh examples to the target or None)."""
    return pd.DataFrame(
        [
            keys(**study)
            | {"search": search, "trial": trial, "status": status, "reached_target": fresh is not None}
            | {"fresh_examples_to_target": fresh, "fresh_examples": 500.0, "learning_rate": 0.1, "momentum": 0.99}
            | {"best_metric": 4.0}
            for search, trial, status, fresh in rows
        ]
    ).astype({"fresh_examples_to_target": float})


def studies(searches=2, **study):
    return pd.DataFrame([keys(**study) | {"searches": searches, "config": json.dumps({"search_space": SPACE})}])


def test_winner_has_the_fewest_fresh_examples_and_ties_go_to_the_lower_index():
    table = trials(
        [
            (0, 0, "complete", 500),
            (0, 1, "complete", 300),
            (0, 2, "complete", 300),
            (0, 3, "bounded", None),
            (1, 0, "infeasible", None),
            (1, 1, "complete", 400),
        ]
    )
    won = reach.winners(table)
    assert won[["search", "trial", "fresh_examples_to_target"]].to_numpy().tolist() == [[0, 1, 300], [1, 1, 400]]
    row = reach.per_study(table, studies()).iloc[0]
    assert [row[c] for c in ("mean_fresh_examples", "min_fresh_examples", "max_fresh_examples")] == [350, 300, 400]
    assert row["reached"] == row["searches"] == 2


def test_search_that_never_reached_is_an_absent_row_not_a_number():
    table = trials([(0, 0, "complete", 500), (1, 0, "complete", None), (1, 1, "bounded", None)])
    row = reach.per_study(table, studies()).iloc[0]
    assert (row["reached"], row["searches"], row["mean_fresh_examples"]) == (1, 2, 500)
    nothing = reach.per_study(trials([(0, 0, "infeasible", None)]), studies()).iloc[0]
    assert nothing["reached"] == 0
    assert np.isnan(nothing["mean_fresh_examples"])


def test_diverged_trial_never_wins():
    table = trials([(0, 0, "infeasible", 10), (0, 1, "complete", 500)])
    assert reach.winners(table)["trial"].tolist() == [1]


def test_position_in_the_search_space():
    np.testing.assert_allclose(reach.position(np.array([0.01, 0.1, 1.0]), "log", 0.01, 1.0), [0, 0.5, 1])
    np.testing.assert_allclose(reach.position(np.array([0.9, 0.99, 0.999]), "reverse_log", 0.9, 0.999), [0, 0.5, 1])
    np.testing.assert_allclose(reach.position(np.array([2.0, 4.0]), "linear", 2, 4), [0, 1])


def test_optimum_at_an_edge_is_reported():
    table = trials([(0, 0, "complete", 500), (1, 0, "complete", 300)])
    table["momentum"] = 0.9989
    found = reach.edges(reach.winners(table), studies()).set_index("dimension")
    assert bool(found.loc["learning_rate", "inside"])
    assert not found.loc["momentum", "inside"]
    assert found.loc["momentum", "at_edge"] == 2


@pytest.mark.parametrize("workload", list(plots.WORKLOADS))
def test_published_bars_are_drawn_as_tabulated(workload):
    table = pd.read_csv(RESULTS / "published" / "figures.csv", dtype={"figure": int})
    table = table[(table["figure"] == 3) & (table["workload"] == workload)].set_index("variant")
    bars = paper.bars(3)
    ax = plots.fresh_example_bars(plt.figure().subplots(), bars[bars["workload"] == workload])
    drawn = [patch.get_height() for patch in ax.patches]
    order = [variant for variant in plots.LABELS if variant in table.index]
    np.testing.assert_allclose(drawn, table.loc[order, "mean_fresh_examples"])
    np.testing.assert_allclose(
        table["mean_upstream_batches"] * table["batch_size"], table["mean_fresh_examples"], rtol=1e-3
    )
    whiskers = [collection.get_segments()[0][:, 1] for collection in ax.collections]
    for variant, (low, high) in zip(order, whiskers, strict=True):
        ends = [
            table.loc[variant, f"{end}_upstream_batches"] * table.loc[variant, "batch_size"] for end in ("min", "max")
        ]
        np.testing.assert_allclose([low, high], ends)
    dashed = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed, [table.loc["baseline", "mean_fresh_examples"] / 2] * (len(order) - 1))
    plt.close("all")


def test_claims_reproduce_the_papers_ratios_and_hold_on_the_papers_numbers():
    bars = paper.bars(3)
    table = claims.check(claims.figure3(), bars, bars, "")
    assert set(table["verdict"]) == {"holds"}
    lm1b = table[table["figure"] == "3a"].set_index("claim")["paper"]
    assert lm1b["batch echoing / baseline"] == "0.684"
    assert lm1b["example echoing / baseline"] == "0.516"
    ratios = {(c, w): n for c, w, n in zip(table["claim"], table["figure"], table["paper"], strict=True)}
    assert ratios["batch echoing / baseline: about the same", "3d"] == "1.050"
    assert ratios["example before augmentation echoing / baseline", "3e"] == "0.537"


def our_bars(baseline, batch, example, reached=5):
    rows = [("baseline", 1, baseline), ("batch", 2, batch), ("example", 2, example)]
    return pd.DataFrame(
        [
            {"workload": "transformer_lm1b", "variant": variant, "echo_factor": factor, "mean_fresh_examples": mean}
            | {"searches": 5, "reached": reached if variant == "example" else 5}
            for variant, factor, mean in rows
        ]
    )


def verdicts(ours):
    table = claims.check(claims.figure3(), paper.bars(3), ours, "command")
    assert set(table[table["figure"] != "3a"]["verdict"]) == {"not run"}
    return table[table["figure"] == "3a"]["verdict"].tolist()


def test_claims_fail_on_numbers_that_contradict_them():
    assert verdicts(our_bars(100, 70, 52)) == ["holds"] * 6
    assert verdicts(our_bars(100, 120, 130)) == ["does not hold"] * 5 + ["holds"]
    assert verdicts(our_bars(100, 70, 40)) == ["holds"] * 5 + ["does not hold"]
    assert verdicts(our_bars(100, 70, 52, reached=4)) == ["holds"] + ["undecided"] * 5


def test_update_table_replaces_the_same_studies_and_keeps_others(tmp_path):
    old, new = trials([(0, 0, "complete", 1)]), trials([(0, 0, "complete", 2)])
    other = trials([(0, 0, "complete", 3)], variant="batch", factor=2.0)
    tables.update(tmp_path, {"trials": pd.concat([old, other])})
    tables.update(tmp_path, {"trials": new})
    kept = pd.read_csv(tmp_path / "trials.csv")
    assert kept["fresh_examples_to_target"].tolist() == [2, 3]


def test_update_can_replace_all_that_a_workload_had(tmp_path):
    old, new = trials([(0, 0, "complete", 1)]), trials([(0, 0, "complete", 2)], variant="batch", factor=2.0)
    other = trials([(0, 0, "complete", 3)]).assign(workload="another")
    tables.update(tmp_path, {"trials": pd.concat([old, other])})
    tables.update(tmp_path, {"trials": new}, replaced=["workload"])
    kept = pd.read_csv(tmp_path / "trials.csv")
    assert sorted(kept["fresh_examples_to_target"]) == [2, 3]


def test_damaged_table_is_named(tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "trials.csv").write_text("")
    (tmp_path / "small" / "measurements.parquet").write_text("no parquet")
    for name in ("trials", "measurements"):
        with pytest.raises(ResultsError, match=f"{name}.*damaged"):
            tables.read(tmp_path, "small", name)


def test_figures_are_the_same_bytes_each_time(tmp_path):
    bars = paper.bars(3)
    for name in ("a", "b"):
        files.write_together(plots.pictures(figure3.draw([("published", bars)]), tmp_path / name))
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.slow
def test_figures_depend_on_nothing_of_the_users_matplotlib_or_locale(tmp_path):
    """Figure 3 as it is committed, whatever backend, settings, encoding and language the user has."""
    (tmp_path / "matplotlibrc").write_text("font.family: serif\naxes.grid: True\nsavefig.dpi: 50\n", encoding="utf-8")
    users = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "MATPLOTLIBRC": str(tmp_path)}
    users |= {"PYTHONUTF8": "0", "LC_ALL": "C"}
    command = [sys.executable, "-X", "utf8=0", "-m", "analysis.figure3", "--scale=published", f"--results={tmp_path}"]
    done = subprocess.run(command, env=os.environ | users, capture_output=True, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    written = sorted((tmp_path / "published").iterdir())
    assert {path.suffix for path in written} >= {".png", ".svg", ".csv", ".md"}
    for path in written:
        assert path.read_bytes() == (tables.RESULTS / "published" / path.name).read_bytes(), path.name


def test_partly_reached_target_is_written_on_the_plot():
    ours = our_bars(100, 70, 52, reached=3)
    ours["min_fresh_examples"] = ours["max_fresh_examples"] = ours["mean_fresh_examples"]
    ax = plots.fresh_example_bars(plt.figure().subplots(), ours)
    assert "3 of 5" in "".join(text.get_text() for text in ax.texts)
    plt.close("all")


def test_analysis_needs_neither_tensorflow_nor_jax():
    code = "import sys, analysis.all; assert not {'jax', 'tensorflow'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
