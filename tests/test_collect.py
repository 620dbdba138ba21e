import math

import pytest
from small_studies import tiny

from analysis import collect
from experiments import store
from experiments.study import Measurement, TrialResult


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
