import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from small_studies import tiny

from analysis import figure4, timeline
from analysis.statistics import claims, claims_figure4, paper, training_time, uncertainty
from experiments import figure4 as experiment
from experiments import timeline as timeline_experiment
from experiments import wall_clock, workloads
from experiments.protocol.study import ResultsError


def rows(**batches):
    """Rows as `reach.per_study` gives them, of upstream batches by echo factor (`e1=...`)."""
    table = pd.DataFrame({"echo_factor": [float(name[1:]) for name in batches], "batches": batches.values()})
    table["workload"], table["batch_size"] = "transformer_lm1b", 10
    table["variant"] = np.where(table["echo_factor"] == 1, "baseline", "example")
    table["searches"] = table["reached"] = 5
    for end in ("mean", "min", "max"):
        table[f"{end}_fresh_examples"] = 10 * table.pop("batches") if end == "max" else 10 * table["batches"]
    return table


def verdicts(ours):
    empty = pd.DataFrame(columns=ours.columns)
    listed = [claim for claim in claims_figure4.figure4() if claim.workload == "transformer_lm1b"]
    return claims.check(listed, empty, ours, "").set_index("claim")["verdict"]


def timed(**seconds):
    """Reruns at R = 6 that took so many seconds (`e1=...` to `e5=...`)."""
    table = rows(e1=100, e2=50, e3=35, e4=30, e5=25)
    reruns = {"reruns": 5, "reruns_at_target": 5}
    reruns |= {"mean_rerun_fresh_examples": table["mean_fresh_examples"]}
    return table.assign(mean_seconds=list(seconds.values()), batch_downstreams=[6.0, 6.0, 6.1, 6.1, 6.2], **reruns)


IDEAL = {"e1": 600.0, "e2": 310.0, "e3": 230.0, "e4": 200.0, "e5": 180.0}


def test_studies_are_the_baseline_and_the_earliest_echo():
    for workload, variant in (("transformer_lm1b", "example"), ("resnet32_cifar10", "example_before_augmentation")):
        studies = experiment.studies(workloads.load(workload, "small"))
        assert [(s.variant, s.echo_factor) for s in studies] == [("baseline", 1)] + [(variant, e) for e in range(2, 7)]


def test_modelled_time_is_free_up_to_the_ratio():
    table = training_time.modelled(rows(e1=100, e2=50, e4=30), (1.0, 4.0)).set_index(["ratio", "echo_factor"])
    assert table["relative_time"].to_dict() == pytest.approx(
        {(1.0, 1.0): 1.0, (1.0, 2.0): 1.0, (1.0, 4.0): 1.2, (4.0, 1.0): 4.0, (4.0, 2.0): 2.0, (4.0, 4.0): 1.2}
    )


def test_a_factor_that_did_not_always_reach_the_target_is_not_modelled():
    table = rows(e1=100, e2=50)
    table.loc[1, "reached"] = 4
    assert training_time.modelled(table, (1.0,))["echo_factor"].tolist() == [1.0]


def test_measured_reruns_leave_out_those_that_missed_the_target():
    wall_clock = pd.DataFrame(
        {
            "workload": "transformer_lm1b",
            "echo_factor": 2.0,
            "ratio": 6.0,
            "rerun": [0, 1, 2],
            "reached_target": [True, True, False],
            "t_downstream": 0.1,
            "fresh_examples": [100.0, 200.0, np.nan],
            "seconds": [7.0, 13.0, np.nan],
            "fill_seconds": [1.0, 1.0, np.nan],
        }
    )
    table = training_time.measured(wall_clock, rows(e1=10, e2=50)).iloc[0]
    assert (table["reruns"], table["reruns_at_target"]) == (3, 2)
    assert (table["mean_seconds"], table["min_seconds"], table["max_seconds"]) == (10.0, 7.0, 13.0)
    ends = [table[f"{end}_rerun_fresh_examples"] for end in ("mean", "min", "max")]
    assert ends == [150.0, 100.0, 200.0]
    assert table["batch_downstreams"] == pytest.approx(6)
    assert table["mean_relative"] == pytest.approx(6 * 50 / 10)  # of the searches' 50 batches, not of its own
    errors = training_time.model_errors(table.to_frame().T.infer_objects())
    assert errors.loc[("transformer_lm1b", 2.0), 6.0] == pytest.approx(0)


def test_the_papers_numbers_and_verdicts():
    bars, seconds = figure4.published()
    joined = training_time.with_seconds(bars, seconds)
    speedups = training_time.speedups(joined[joined["workload"] == "resnet50_imagenet"])
    np.testing.assert_allclose(speedups["wall_clock_speedup"][1:], [1.80, 2.43, 3.06, 3.25], atol=0.01)
    np.testing.assert_allclose(speedups["fresh_speedup"][1:], [1.90, 2.72, 3.71, 4.11], atol=0.01)
    np.testing.assert_allclose(speedups["batch_growth"].iloc[-1], 0.264, atol=0.001)
    table = claims.check(claims_figure4.figure4(), joined, joined, "")
    modelled = table[table["figure"] == "4 v1"]
    # The paper says of ResNet-50 that more than e = R "may" still help, and its numbers do.
    assert modelled["verdict"].tolist() == [claims.HOLDS] * 7 + [claims.FAILS]
    timed_claims = table[(table["figure"] == "4 v3") & (table["workload"] == "ResNet-50 on ImageNet")]
    assert timed_claims["verdict"].tolist() == [claims.HOLDS] * 4 + [claims.NOT_TESTABLE]
    assert timed_claims["paper"].iloc[-1] == "1.264"
    others = table[(table["figure"] == "4 v3") & (table["workload"] != "ResNet-50 on ImageNet")]
    assert others["verdict"].tolist() == [claims.HOLDS] + [claims.NOT_RUN] * 4
    assert set(others["paper"].iloc[1:]) == {""}


def test_claims_about_the_model_can_fail():
    ideal = timed(**IDEAL)
    assert verdicts(ideal)["R = 1, best echo / baseline time: no help"] == claims.HOLDS
    better_than_fresh = ideal.assign(mean_fresh_examples=[1000.0, 400.0, 300.0, 200.0, 100.0])
    assert verdicts(better_than_fresh)["R = 1, best echo / baseline time: no help"] == claims.FAILS
    useless = ideal.assign(mean_fresh_examples=[1000.0] * 5)
    assert verdicts(useless)["R > 1, worst 1 < e ≤ R / baseline time: it helps"] == claims.FAILS


def test_claims_about_seconds_can_fail():
    rising = "R = 6, wall-clock speed-up rises with e up to 5: smallest step"
    assert verdicts(timed(**IDEAL))[rising] == claims.HOLDS
    assert verdicts(timed(**(IDEAL | {"e5": 320.0})))[rising] == claims.FAILS


def test_growing_overhead_cannot_be_tested_with_a_source_that_sleeps():
    overhead = "seconds an upstream batch, e = 5 / e = 1: overhead grows"
    for growth in (1.0, 1.3):
        ours = timed(**IDEAL).assign(batch_downstreams=[6.0] * 4 + [6.0 * growth])
        assert verdicts(ours)[overhead] == claims.NOT_TESTABLE


def test_claims_about_seconds_need_every_factor_and_every_rerun():
    def timed_verdicts(table):
        return {verdict for claim, verdict in verdicts(table).items() if "wall-clock" in claim}

    assert timed_verdicts(timed(**IDEAL)) == {claims.HOLDS}
    missing = timed(**IDEAL)
    missing.loc[missing["echo_factor"] == 2, ["mean_seconds", "reruns", "reruns_at_target"]] = np.nan
    assert timed_verdicts(missing) == {claims.NOT_RUN}
    missed = timed(**IDEAL)
    missed.loc[missed["echo_factor"] == 5, "reruns_at_target"] = 1
    assert timed_verdicts(missed) == {claims.UNDECIDED}


def test_baseline_reruns_that_miss_the_target_count_with_the_longest_of_the_others():
    reruns = pd.DataFrame(
        {
            "workload": "transformer_lm1b",
            "echo_factor": [1.0] * 5 + [2.0] * 5,
            "ratio": 6.0,
            "reached_target": [True] * 4 + [False] + [True] * 5,
            "t_downstream": 0.1,
            "fresh_examples": [90.0, 95, 100, 110, np.nan, *[50.0] * 5],
            "seconds": [9.0, 9.5, 10, 11, np.nan, *[6.0] * 5],
            "fill_seconds": [0.0] * 4 + [np.nan] + [0.0] * 5,
        }
    )
    drawn = training_time.drawn_means(reruns, rows(e1=10, e2=5, e3=4))
    assert drawn["mean_seconds"].shape == (3, uncertainty.EDITIONS)
    assert drawn["mean_seconds"][0].mean() == pytest.approx(np.mean([9, 9.5, 10, 11, 11]), abs=0.05)
    assert (drawn["mean_seconds"][1] == 6).all()
    assert np.isnan(drawn["mean_seconds"][2]).all()
    # An edition's seconds and fresh examples are of the same reruns.
    np.testing.assert_allclose(drawn["mean_rerun_fresh_examples"][0], 10 * drawn["mean_seconds"][0])


def test_baseline_reruns_that_miss_the_target_are_counted():
    missed = timed(**IDEAL)
    missed.loc[missed["echo_factor"] == 1, "reruns_at_target"] = 4
    listed = [claim for claim in claims_figure4.figure4() if claim.workload == "transformer_lm1b"]
    table = claims.check(listed, pd.DataFrame(columns=missed.columns), missed, "").set_index("claim")
    row = table.loc["wall-clock speed-up at R = 6, e = 5"]
    assert (row["ours"], row["verdict"]) == ("3.33", claims.HOLDS)
    assert figure4.missed_baselines(missed) == [
        "transformer_lm1b: 4 of 5 baseline reruns at R = 6 reached the target, so its speed-ups are more than the means"
    ]
    missed.loc[missed["echo_factor"] == 1, "reruns_at_target"] = 0
    assert verdicts(missed)["wall-clock speed-up at R = 6, e = 5"] == claims.UNDECIDED


def test_an_unknown_echo_factor_is_one_line(tmp_path, capsys):
    assert wall_clock.main(["--scale=small", "--panel=a", "--echo-factor=9", f"--results={tmp_path}"]) == 1
    assert capsys.readouterr().err.strip() == "error: Figure 4 has no study with e = 9"


def test_a_changed_setting_is_checked_before_anything_runs(tmp_path, capsys):
    assert wall_clock.main(["--scale=small", "--panel=a", "--config.tagret=2", f"--results={tmp_path}"]) == 1
    assert "unknown config key tagret of transformer_lm1b; did you mean target?" in capsys.readouterr().err
    assert wall_clock.main(["--scale=small", "--panel=a", "--config.target=2.0", f"--results={tmp_path}"]) == 1
    assert "trials.csv is missing; run a figure's experiment" in capsys.readouterr().err


def test_a_timeline_needs_an_echo_factor(capsys):
    with pytest.raises(SystemExit):
        timeline_experiment.main(["--scale=small", "--ratio=0.5"])
    assert "--ratio must be at least 1" in capsys.readouterr().err


def trials(study, fresh):
    columns = ["config_hash", "search", "trial", "fresh_examples_to_target"]
    return pd.DataFrame([*((study.config_hash, *row) for row in fresh), ("another", 0, 0, 1.0)], columns=columns)


def test_the_chosen_trial_needed_the_fewest_fresh_examples():
    study = tiny()
    table = trials(study, [(0, 1, 300.0), (1, 2, 200.0), (1, 0, None), (2, 1, 200.0)])
    assert wall_clock.chosen_trial(table, study) == (1, 2)


@pytest.mark.parametrize("bound", [True, False])
def test_the_chosen_trials_may_be_of_searches_without_the_bound(bound):
    config = workloads.load("transformer_lm1b", "small")
    study = experiment.studies(config, bound=bound)[0]
    assert wall_clock.choose(config, [1.0], trials(study, [(1, 2, 200.0)])) == [(study, (1, 2))]


@pytest.mark.parametrize("fresh", [[], [(0, 0, None)]])
def test_nothing_to_rerun_is_an_error(fresh):
    with pytest.raises(wall_clock.NoTrial, match=r"python -m experiments.figure4"):
        wall_clock.chosen_trial(trials(tiny(), fresh), tiny())


@pytest.mark.slow
def test_a_rerun_ends_at_the_target_and_is_timed_over_the_same_updates():
    study = tiny("example", 2)
    trained = wall_clock.Rerun(study, (0, 0), 3)
    rerun = [trained.timed(ratio, 1e-4) for ratio in (1.0, 2.0)]
    assert [row["ratio"] for row in rerun] == [1.0, 2.0]
    assert rerun[0]["reached_target"]
    assert rerun[0]["updates"] == rerun[1]["updates"] > 0
    assert rerun[0]["fresh_examples"] == study.fresh_examples(rerun[0]["updates"]) <= rerun[0]["examples_read"]
    assert rerun[0]["seconds"] >= rerun[0]["fill_seconds"] + rerun[0]["idle_seconds"]


def test_a_rerun_that_misses_the_target_has_no_seconds():
    row = wall_clock.Rerun(tiny(overrides={"target": "0.1"}, budget_steps=4), (0, 0), 0).timed(1.0, 1e-4)
    assert not row["reached_target"]
    assert "seconds" not in row


def test_a_rerun_replaces_its_own_row_only(tmp_path):
    path = tmp_path / "small" / "wall_clock.csv"
    keys = {"workload": "w", "variant": "v", "ratio": 6.0}
    wall_clock.save(path, [keys | {"echo_factor": 2.0, "rerun": n, "seconds": n} for n in (1, 0)])
    wall_clock.save(path, [keys | {"echo_factor": 2.0, "rerun": 1, "seconds": 9}])
    wall_clock.save(path, [keys | {"echo_factor": 1.0, "rerun": 0}])
    table = pd.read_csv(path)
    assert table["echo_factor"].tolist() == [1.0, 2.0, 2.0]
    assert table["seconds"].tolist()[1:] == [0.0, 9.0]
    assert np.isnan(table["seconds"][0])


def test_utilisation_counts_what_lies_before_the_last_step():
    spans = pd.DataFrame(
        [("upstream", 0, 6), ("upstream", 6, 30), ("downstream", 0, 2), ("downstream", 7, 10)],
        columns=["side", "start_seconds", "end_seconds"],
    ).assign(workload="transformer_lm1b", variant="baseline", echo_factor=1.0, ratio=2.0)
    busy = timeline.utilisation(spans).set_index("side")["utilisation"]
    assert busy.to_dict() == {"upstream": 1.0, "downstream": 0.5}


def test_a_timeline_that_was_not_recorded_says_what_to_run(tmp_path):
    with pytest.raises(ResultsError, match=r"python -m experiments.timeline --scale=small"):
        timeline.make(tmp_path, "small")


def test_published_figure_is_drawn(tmp_path):
    printed = figure4.make(tmp_path, paper.PUBLISHED)
    assert "3.25x" in printed
    for name in ("figure4.png", "figure4_timed.svg", "figure4.csv", "claims_figure4.md"):
        assert (tmp_path / "published" / name).stat().st_size > 100


@pytest.mark.parametrize("module", ["experiments.wall_clock", "experiments.timeline", "experiments.advise"])
def test_help_and_bad_flags_need_neither_jax_nor_tensorflow(module):
    code = (
        f"import sys, importlib; main = importlib.import_module('{module}').main\n"
        "try: main(['--scale=small', '--ratio=0'])\n"
        "except SystemExit as stop: assert stop.code == 2\n"
        "assert not {'jax', 'tensorflow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "must be a number above 0" in done.stderr
