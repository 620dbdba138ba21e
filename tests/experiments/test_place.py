"""Search spaces are placed by a coarse search on seeds of its own, the same way for every study."""

import dataclasses

import pytest
from small_studies import tiny

from experiments import place, workloads
from experiments.protocol import search as quasi_random
from experiments.protocol import settings, store
from experiments.protocol.study import Dimension, EngineError, Measurement, TrialResult

RATE = Dimension("learning_rate", "log", 1e-3, 10.0)
MOMENTUM = Dimension("momentum", "reverse_log", 0.5, 0.999)


@pytest.mark.parametrize("dimension", [RATE, MOMENTUM, Dimension("decay_share", "linear", 0.3, 1.0)])
@pytest.mark.parametrize("at", [0.0, 0.2, 1.0])
def test_a_value_has_the_place_that_it_is_made_from(dimension, at):
    assert quasi_random.unit(dimension, quasi_random.value(dimension, at)) == pytest.approx(at, abs=1e-9)


def test_a_space_has_the_best_points_in_its_middle_and_a_share_of_the_wide_ones_width():
    space = place.placed(RATE, [0.05, 0.1, 0.2])
    assert space.low * space.high == pytest.approx(0.1**2, rel=0.01)
    assert space.high / space.low == pytest.approx((10 / 1e-3) ** place.SHARE, rel=0.01)
    momentum = place.placed(MOMENTUM, [0.9])
    assert (1 - momentum.low) * (1 - momentum.high) == pytest.approx(0.1**2, rel=0.01)


def test_a_space_ends_where_the_wide_one_does():
    assert place.placed(RATE, [2e-3]).low == RATE.low
    assert place.placed(RATE, [9.0]).high == RATE.high
    assert place.placed(RATE, [9.0]).low == pytest.approx(10 / (10 / 1e-3) ** place.SHARE, rel=0.01)


def test_shares_of_the_budget_stay_wide():
    drop = Dimension("first_drop", "linear", 0.3, 0.8)
    assert place.placed(drop, [0.31]) == drop


def finish(root, study, index, status, steps_to_target, values):
    folder = store.TrialFolder(root, study, 0, index)
    point = quasi_random.point(study, 0, index)
    with folder.claim.held():
        folder.start({"study": study.name, "search": 0, "index": index, "seed": 0, "point": point, "provenance": {}})
        for i, value in enumerate(values):
            folder.append(Measurement(4 * (i + 1), value))
        folder.finish(TrialResult(status, 4 * len(values), steps_to_target, 0, 1.0))


@pytest.fixture
def study():
    return dataclasses.replace(tiny(), searches=1, trials=6)


def test_the_best_reach_the_target_first_and_behind_them_have_the_best_metric(tmp_path, study):
    finish(tmp_path, study, 0, "complete", None, [4.5, 4.1])
    finish(tmp_path, study, 1, "infeasible", None, [3.0])
    finish(tmp_path, study, 2, "complete", 12, [4.2, 4.0, 3.8])
    finish(tmp_path, study, 3, "bounded", None, [4.3, 4.0, 4.2])
    finish(tmp_path, study, 4, "complete", 8, [4.2, 3.85])
    best = [quasi_random.point(study, 0, index) for index in (4, 2, 3)]
    assert place.best_points(study, tmp_path) == best


def test_a_search_that_nearly_always_diverges_is_an_error(tmp_path, study):
    for index in range(6):
        finish(tmp_path, study, index, "infeasible", None, [4.0])
    with pytest.raises(EngineError, match="its workload's space is wrong"):
        place.best_points(study, tmp_path)


def test_every_setting_is_placed_once_with_seeds_that_no_result_has():
    studies = place.coarse("smoke", workloads.WORKLOADS)
    names = [(study.workload, study.setting) for study in studies]
    assert len(set(names)) == len(names)
    of_figures = {
        (study.workload, study.setting)
        for figure in place.FIGURES
        for workload in figure.EXPERIMENT.panels.values()
        for study in figure.studies(workloads.load(workload, "smoke"))
    }
    assert set(names) == of_figures
    for study in studies:
        own = dataclasses.replace(study, config={**study.config, "seed": workloads.load(study.workload, "smoke").seed})
        assert study.seed("init", 0, 0) != own.seed("init", 0, 0)


@pytest.mark.slow
def test_the_command_writes_what_configurations_read(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "SPACES", tmp_path / "spaces")
    monkeypatch.setattr(place, "TRIALS", 3)
    monkeypatch.setattr(place, "FIGURES", place.FIGURES[:1])
    flags = ["--scale=smoke", "--workload=transformer_lm1b", f"--runs={tmp_path / 'runs'}"]
    assert place.main(flags) == 0
    placed = settings.placed("smoke")
    assert {row["dimension"] for row in placed} == {"learning_rate", "momentum"}
    config = workloads.load("transformer_lm1b", "smoke")
    for study in place.figure3.studies(config):
        space = {dimension.name: dimension for dimension in study.space}
        for row in placed:
            if row["setting"] == study.setting:
                assert space[row["dimension"]].low == float(row["low"])
                assert space[row["dimension"]].high == float(row["high"])
    assert config.search_space.learning_rate.low == float(placed[0]["wide_low"])
    first = (settings.SPACES / "smoke.csv").read_bytes()
    assert place.main(flags) == 0
    assert (settings.SPACES / "smoke.csv").read_bytes() == first
