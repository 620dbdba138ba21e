import dataclasses
import itertools

import numpy as np
import pytest
from scipy.stats import qmc

from experiments import workloads
from experiments.protocol import search
from experiments.protocol.study import ConfigError, Dimension, Study, TrialResult, make_study


@pytest.fixture
def study():
    return dataclasses.replace(make_study(workloads.load("transformer_lm1b", "small"), "baseline", 1), trials=3)


def reached(steps):
    return TrialResult("complete", steps, steps, 0, 1.0)


def unreached(steps=800):
    return TrialResult("complete", steps, None, 0, 1.0)


def infeasible(steps):
    return TrialResult("infeasible", steps, None, 0, 1.0)


def bounded(steps):
    return TrialResult("bounded", steps, None, 0, 1.0)


def outcome(study, *results):
    return [(t.status, t.sgd_steps, t.steps_to_target) for t in search.settle(study, dict(enumerate(results)))]


@pytest.mark.parametrize("workload", workloads.WORKLOADS)
def test_a_study_that_was_written_and_read_draws_the_same_points(workload):
    written = make_study(workloads.load(workload, "small"), "baseline", 1)
    read = Study.from_json(written.to_json())
    assert read.config_hash == written.config_hash
    assert [search.point(read, 2, i) for i in range(5)] == [search.point(written, 2, i) for i in range(5)]


def test_points_are_rows_of_one_long_scrambled_halton_draw(study):
    draw = qmc.Halton(2, scramble=True, rng=study.seed("points", 1)).random(50)
    rates = [search.point(study, 1, i)["learning_rate"] for i in range(50)]
    np.testing.assert_allclose(rates, 0.04 * (0.5 / 0.04) ** draw[:, 0])


def test_points_lie_in_the_space_and_searches_and_studies_differ(study):
    points = {}
    for other in (study, dataclasses.replace(study, variant="example", echo_factor=2.0)):
        for number in range(5):
            drawn = [search.point(other, number, i) for i in range(20)]
            assert all(0.04 <= p["learning_rate"] <= 0.5 and 0.8 <= p["momentum"] <= 0.98 for p in drawn)
            points[other.variant, number] = drawn[0]["learning_rate"]
    assert len(set(points.values())) == 10


def test_scales_spread_evenly():
    unit = np.linspace(0, 1, 5)
    reverse = [search.value(Dimension("m", "reverse_log", 0.9, 0.9999), u) for u in unit]
    np.testing.assert_allclose(np.log(1 - np.array(reverse)), np.linspace(np.log(0.1), np.log(0.0001), 5))
    assert [search.value(Dimension("x", "linear", 2, 4), u) for u in (0, 0.5, 1)] == [2, 3, 4]


@pytest.mark.parametrize(
    "arguments", [("x", "cubic", 0, 1), ("x", "log", 0, 1), ("x", "reverse_log", 0.5, 1), ("x", "linear", 2, 1)]
)
def test_bad_dimension_is_named(arguments):
    with pytest.raises(ConfigError, match=r"search_space\.x"):
        Dimension(*arguments)


def test_seeds_differ_by_trial_search_and_purpose(study):
    keys = itertools.product(("init", "data"), range(5), range(12))
    assert len({study.seed(*key) for key in keys}) == 120
    assert study.seed("init", 0, 0) == study.seed("init", 0, 0)


def test_settle_bounds_by_lower_indices_only(study):
    assert outcome(study, reached(600), bounded(600), reached(500)) == [
        ("complete", 600, 600),
        ("bounded", 600, None),
        ("complete", 500, 500),
    ]
    # Trials that ran side by side trained past what they would have been stopped at.
    assert outcome(study, reached(500), reached(600), unreached()) == [
        ("complete", 500, 500),
        ("bounded", 500, None),
        ("bounded", 500, None),
    ]
    assert outcome(study, unreached(), reached(500), reached(500))[2] == ("complete", 500, 500)


def test_settle_replaces_infeasible_trials_and_stops_at_the_budget(study):
    results = [infeasible(10), reached(600), infeasible(700), reached(400), reached(300)]
    assert outcome(study, *results) == [
        ("infeasible", 10, None),
        ("complete", 600, 600),
        ("bounded", 600, None),  # it diverged only after it could not win any more
        ("complete", 400, 400),
    ]


def test_settle_waits_for_gaps(study):
    assert search.settle(study, {0: reached(5), 2: reached(3)}) == [search.Settled(0, "complete", 5, 5)]


def test_settle_gives_the_same_table_however_far_side_by_side_trials_trained(study):
    """Trains imaginary trials in every order of finishing, bounded by what was finished by then."""
    study = dataclasses.replace(study, trials=4)
    ends = {0: ("target", 700), 1: ("diverges", 650), 2: ("target", 600), 3: ("budget", 800), 4: ("target", 600)}

    def train(index, finished):
        kind, steps = ends[index]
        bound = search.bound_steps(study, [finished[i] for i in range(index) if i in finished])
        if bound is not None and (steps > bound or kind == "budget"):
            return bounded(bound)
        return {"target": reached, "diverges": infeasible, "budget": unreached}[kind](steps)

    tables = set()
    for order in itertools.permutations(range(5)):
        finished = {}
        for index in order:
            finished[index] = train(index, finished)
        tables.add(tuple(search.settle(study, finished)))
    assert len(tables) == 1


def test_bound_on_and_off_give_the_same_minimum(study):
    """On random outcomes; `off` settles nothing, so its minimum is over all trials."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        steps = rng.integers(1, 80, 3)
        results = {i: reached(int(s)) if rng.random() < 0.6 else unreached() for i, s in enumerate(steps)}
        full = search.settle(dataclasses.replace(study, bound=False), results)
        pruned = search.settle(study, results)
        best = [min((t.steps_to_target for t in s if t.steps_to_target), default=None) for s in (full, pruned)]
        assert best[0] == best[1]
        assert sum(t.sgd_steps for t in pruned) <= sum(t.sgd_steps for t in full)


def test_a_trial_that_would_diverge_after_its_bound_takes_a_place_in_the_budget(study):
    ends = [reached(400), unreached(), infeasible(700), reached(300)]
    bounded_search = outcome(study, *ends)
    assert [status for status, *_ in bounded_search] == ["complete", "bounded", "bounded"]
    assert len(outcome(dataclasses.replace(study, bound=False), *ends)) == 4


def test_points_wanted_grow_with_infeasible_trials_up_to_a_limit(study):
    assert search.wanted(study, {}) == 3
    assert search.wanted(study, {0: infeasible(1), 1: reached(3)}) == 4
    hopeless = {i: infeasible(1) for i in range(15)}
    assert search.wanted(study, hopeless) == 15
    assert search.is_finished(study, search.settle(study, hopeless))
    assert not search.is_finished(study, search.settle(study, {0: reached(3)}))


def test_study_survives_json_and_its_hash_ignores_what_no_trial_depends_on(study):
    assert Study.from_json(study.to_json()) == study
    assert dataclasses.replace(study, trials=99).config_hash == study.config_hash
    moved = dataclasses.replace(study, config=study.config | {"data": study.config["data"] | {"data_dir": "/x"}})
    assert moved.config_hash == study.config_hash
    assert dataclasses.replace(study, batch_size=1).config_hash != study.config_hash
