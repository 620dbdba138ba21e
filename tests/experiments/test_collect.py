import dataclasses
import json
import math

import pandas as pd
import pytest
from small_studies import tiny

from experiments import collect
from experiments.protocol import engine, store, tables
from experiments.protocol.study import Measurement, TrialResult


def finish(root, study, trials):
    """Leaves trials of search 0 on disk, each a result and the values measured every four updates."""
    for index, (result, values) in enumerate(trials):
        folder = store.TrialFolder(root, study, 0, index)
        folder.path.mkdir(parents=True)
        folder.start({"seed": 1, "point": {"learning_rate": 0.1, "momentum": 0.9}, "provenance": {}})
        for number, value in enumerate(values, start=1):
            folder.append(Measurement(4 * number, value))
        folder.finish(result)


def complete(steps, to_target=None):
    return TrialResult("complete", steps, to_target, 0, 0.0)


@pytest.mark.parametrize(("goal", "best"), [("min", [1.0, 2.0]), ("max", [3.0, 5.0])])
def test_the_best_value_is_of_what_counts_and_of_the_goal(tmp_path, goal, best):
    study = tiny(overrides={"goal": goal, "trials": "2"})
    finish(tmp_path, study, [(complete(12), [2.0, 1.0, 3.0]), (complete(12), [math.nan, 5.0, 2.0])])
    trials, measurements = collect.search_rows(tmp_path, study, 0)
    assert [row["best_metric"] for row in trials] == best
    assert [row["fresh_examples_to_target"] for row in trials] == [None, None]
    assert len(measurements) == 6


def test_what_a_trial_did_past_its_bound_is_left_out(tmp_path):
    """It ran beside the trial that bounds it; one after the other, it would have stopped there."""
    study = tiny(overrides={"trials": "2"})
    finish(tmp_path, study, [(complete(8, 8), [5.0, 1.0]), (complete(16, 16), [5.0, 4.0, 4.0, 0.5])])
    trials, measurements = collect.search_rows(tmp_path, study, 0)
    assert [(row["status"], row["sgd_steps"], row["best_metric"]) for row in trials] == [
        ("complete", 8, 1.0),
        ("bounded", 8, 4.0),
    ]
    assert [m["sgd_steps"] for m in measurements] == [4, 8, 4, 8]


def test_a_trial_without_a_finite_value_has_no_best(tmp_path):
    study = tiny(overrides={"trials": "1"})
    finish(tmp_path, study, [(TrialResult("infeasible", 4, None, 0, 0.0), [math.nan]), (complete(4), [math.nan])])
    trials, _ = collect.search_rows(tmp_path, study, 0)
    assert [row["best_metric"] for row in trials] == [None, None]
    row = collect.study_row(study, [row | {"search": search} for search in (0, 1) for row in trials])
    assert (row["complete"], row["infeasible"], row["feasible_trials_a_search"]) == (2, 2, 1)


def test_an_unfinished_search_has_no_rows(tmp_path):
    study = tiny(overrides={"trials": "2"})
    finish(tmp_path, study, [(complete(12), [2.0])])
    assert collect.search_rows(tmp_path, study, 0) is None


@pytest.mark.parametrize(("goal", "values"), [("min", [4.0, 3.9, 3.8]), ("max", [3.8, 3.9, 4.0])])
def test_a_target_is_reached_only_beyond_it(goal, values):
    study = tiny(overrides={"goal": goal, "target": "3.9"})
    assert [study.reaches_target(value) for value in values] == [False, False, True]
    assert not study.reaches_target(math.nan)


@pytest.mark.parametrize("revision", ["0123456789ab-dirty", "unknown", None])
def test_trials_of_changed_files_need_a_flag(tmp_path, revision):
    study = dataclasses.replace(tiny(overrides={"trials": "1", "searches": "1"}), scale="small")
    store.save_study(tmp_path / "runs", study)
    finish(tmp_path / "runs", study, [(complete(12), [2.0])])
    trial = store.TrialFolder(tmp_path / "runs", study, 0, 0)
    result, description = trial.result(), trial.description()
    (trial.path / "trial.json").write_text(json.dumps(description | {"provenance": {"git_revision": revision}}))
    trial.finish(result)
    printed = collect.collect(tmp_path / "runs", tmp_path, "small")
    assert "left out, 1 of 1 trials are of changed files or an unknown revision" in printed
    assert not (tmp_path / "small").exists()
    collect.collect(tmp_path / "runs", tmp_path, "small", allow_changed=True)
    assert len(tables.read(tmp_path, "small", "trials")) == 1


def test_what_does_not_belong_to_a_run_keeps_nothing_from_being_collected(tmp_path, caplog):
    """Copies that a file manager made, and studies whose files are damaged or of another revision."""
    study = tiny(overrides={"trials": "1", "searches": "1"})
    engine.run([study], root=tmp_path / "runs", engine="inline")
    folder = store.study_folder(tmp_path / "runs", study)
    (folder / "search0" / "trial000 (1)").mkdir()
    (folder / "search0" / "trials.txt").write_text("")
    fields = json.loads((folder / "study.json").read_text())
    damaged = ["", "[]", "{", json.dumps(fields | {"added": 1}), json.dumps({"workload": "x"}), json.dumps(fields)]
    for number, text in enumerate(damaged):
        (folder.with_name(f"other{number}")).mkdir()
        (folder.with_name(f"other{number}") / "study.json").write_text(text)
    printed = collect.collect(tmp_path / "runs", tmp_path, "smoke")
    assert printed.count("collected: ") == 1
    assert len(pd.read_csv(tmp_path / "smoke" / "trials.csv")) == 1
    for number in range(len(damaged)):
        assert f"other{number}/study.json is damaged or of another revision" in caplog.text
    engine.run([study], root=tmp_path / "runs", engine="inline")
