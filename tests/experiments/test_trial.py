import copy
import dataclasses
import json
import math
import re

import jax
import numpy as np
import pytest
import tensorflow as tf
from small_studies import tiny

from experiments import command_line, workloads
from experiments.protocol import store, training, trial
from experiments.protocol.model import CompiledModel
from experiments.protocol.study import ConfigError, EngineError, make_study
from experiments.protocol.training import Training, learning_rate
from pipelines import shards
from pipelines.sources import registry

POINT = {"learning_rate": 0.1, "momentum": 0.9}


def train(study, point=POINT, search=0, index=0, bound=None):
    measurements = []
    result = trial.run(study, search, index, point, bound_steps=lambda: bound, record=measurements.append)
    return result, measurements


def test_stops_at_the_target_at_an_evaluation():
    study = tiny()
    result, measurements = train(study)
    assert result.status == "complete"
    assert result.steps_to_target == result.sgd_steps == measurements[-1].sgd_steps < study.budget_steps
    assert measurements[-1].value < 3.9 <= measurements[-2].value
    assert [m.sgd_steps for m in measurements] == list(range(4, result.sgd_steps + 1, 4))


def test_unreached_target_is_a_result_and_the_last_update_is_evaluated():
    result, measurements = train(tiny(overrides={"target": "0.1"}, budget_steps=10))
    assert (result.status, result.sgd_steps, result.steps_to_target) == ("complete", 10, None)
    assert [m.sgd_steps for m in measurements] == [4, 8, 10]


def test_stops_at_its_bound():
    result, measurements = train(tiny(overrides={"target": "0.1"}), bound=8)
    assert (result.status, result.sgd_steps) == ("bounded", 8)
    assert len(measurements) == 2


def test_target_reached_exactly_at_the_bound_is_a_tie_not_a_bound():
    reached, _ = train(tiny())
    result, _ = train(tiny(), bound=reached.steps_to_target)
    assert (result.status, result.steps_to_target) == ("complete", reached.steps_to_target)


def test_divergence_makes_a_trial_infeasible():
    result, measurements = train(tiny(overrides={"target": "0.1"}), {"learning_rate": 1e4, "momentum": 0.9})
    assert result.status == "infeasible"
    assert result.steps_to_target is None
    assert all(math.isfinite(m.value) for m in measurements)


def test_divergence_after_the_target_makes_a_trial_infeasible(monkeypatch):
    """Without a bound, as in Figure 8: the paper discards what diverges."""
    evaluations = trial._Run.evaluations

    def diverging(run):
        yield next(evaluations(run))
        raise trial.TrialDiverged(15)

    monkeypatch.setattr(trial._Run, "evaluations", diverging)
    result, measurements = train(tiny(bound=False, overrides={"target": "1000"}))
    assert len(measurements) == 1
    assert (result.status, result.sgd_steps, result.steps_to_target) == ("infeasible", 15, None)


def test_without_a_bound_it_trains_to_its_budget_and_takes_the_first_time_at_target():
    bounded, _ = train(tiny())
    full, measurements = train(tiny(bound=False))
    assert full.sgd_steps == measurements[-1].sgd_steps == 24
    assert full.steps_to_target == bounded.steps_to_target


@pytest.mark.parametrize(("variant", "factor"), [("baseline", 1), ("batch", 2), ("example", 1.5)])
def test_same_trial_gives_the_same_numbers(variant, factor):
    study = tiny(variant, factor, overrides={"target": "0.1"})
    (first, a), (second, b) = train(study), train(study)
    assert a == b
    assert first.sgd_steps == second.sgd_steps
    assert train(study, index=1)[1] != a
    assert train(study, search=1)[1] != a


def test_a_global_seed_that_a_process_has_set_changes_nothing():
    alone = train(tiny())
    tf.random.set_seed(3)
    assert train(tiny())[1] == alone[1]


@pytest.mark.slow
@pytest.mark.parametrize("nesterov", [True, False])
def test_update_is_the_textbooks_momentum(nesterov):
    """v' = m v + g; Nesterov: w' = w - lr (g + m v'), heavy ball: w' = w - lr v'."""
    study = tiny()
    model = CompiledModel(study.config["model"], nesterov)
    training = Training(study)
    batch = training.put(next(training.batches(training.examples).as_numpy_iterator()))
    point = {"learning_rate": np.float32(0.05), "momentum": np.float32(0.8)}
    weights = jax.tree.map(np.asarray, model.init(0, batch).params)
    velocity = jax.tree.map(np.zeros_like, weights)
    state = model.init(0, batch)
    for _ in range(3):
        gradients, _ = jax.grad(model._task.loss, has_aux=True)(weights, {}, batch)
        velocity = jax.tree.map(lambda v, g: 0.8 * v + np.asarray(g), velocity, gradients)
        steps = jax.tree.map(lambda g, v: g + 0.8 * v if nesterov else v, gradients, velocity)
        weights = jax.tree.map(lambda w, change: w - 0.05 * np.asarray(change), weights, steps)
        state, _ = model.update(state, batch, point)
    for ours, reference in zip(jax.tree.leaves(state.params), jax.tree.leaves(weights), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-6)


def test_a_study_compiles_once():
    study = tiny(overrides={"target": "0.1"})
    model = Training(study).model
    train(study)
    compiled = model.update._cache_size()
    train(study, {"learning_rate": 0.01, "momentum": 0.5}, index=2)
    train(tiny("example", 2, overrides={"target": "0.1"}), {"learning_rate": 0.02, "momentum": 0.6})
    assert model.update._cache_size() == compiled


def test_result_counts_what_the_source_read():
    study = tiny("example", 2, overrides={"target": "0.1"})
    result, _ = train(study)
    assert study.fresh_examples(24) == 96
    assert 96 <= result.examples_read <= 96 + study.shuffle_buffer


def test_padding_splits_batches_evenly_with_examples_that_are_ignored():
    model = copy.copy(Training(tiny()).model)
    model.devices = 4
    padded = model.pad({"tokens": np.ones((5, 3), np.int32)})
    assert padded["tokens"].shape == (8, 3)
    assert padded["tokens"].sum() == 15


def test_rate_is_constant_or_falls_linearly_to_its_end():
    study = tiny()
    assert learning_rate(study, {"learning_rate": 0.5}, 20) == 0.5
    study = dataclasses.replace(study, budget_steps=101, config=study.config | {"end_factor": 0.01})
    point = {"learning_rate": 0.5, "decay_share": 50 / 101}
    rates = [learning_rate(study, point, step) for step in (1, 26, 51, 101)]
    np.testing.assert_allclose(rates, [0.5, 0.5 * (1 - 0.99 / 2), 0.005, 0.005])


def test_rate_rises_linearly_and_drops_twice():
    """The warm-up counts copies; a drop comes after its share of the budget."""
    study = tiny()
    config = study.config | {"warm_up_examples": 10 * study.batch_size}
    study = dataclasses.replace(study, budget_steps=100, config=config)
    point = {"learning_rate": 0.5, "first_drop": 0.6, "second_drop": 0.8}
    rates = [learning_rate(study, point, step) for step in (1, 5, 10, 11, 60, 61, 80, 81, 100)]
    np.testing.assert_allclose(rates, [0.05, 0.25, 0.5, 0.5, 0.5, 0.05, 0.05, 0.005, 0.005])


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ({"data.source": "nowhere"}, "source"),
        ({"model.heads": "3"}, "heads"),
        ({"model.name": "rnn"}, "name"),
        ({"model.name": "models.tasks:rnn"}, "rnn"),
    ],
)
def test_bad_settings_are_named(override, named):
    with pytest.raises(ConfigError, match=named):
        train(tiny(overrides=override))


@pytest.mark.parametrize("damage", [b"", b"no image"])
def test_a_damaged_image_that_ends_a_trial_is_named(tmp_path, damage):
    overrides = {"data.data_dir": str(tmp_path), "data.train_examples": "40", "data.validation_examples": "10"}
    study = make_study(workloads.load("resnet50_imagenet", "smoke", overrides), "baseline", 1)
    registry.load(study.config["data"])  # composes the pictures
    path = sorted(tmp_path.rglob("*train*.tfrecord"))[0]
    records = [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    records[1].features.feature["image"].bytes_list.value[0] = damage
    shards.write([record.SerializeToString() for record in records], path)
    named = re.escape(f"{path}__1: unreadable image") + ".*corrupt=skip"
    with pytest.raises(EngineError, match=named), training.pipeline_errors(study):
        train(study, {d.name: d.low for d in study.space})


def test_a_running_trial_says_how_it_fares(tmp_path, monkeypatch):
    """In its log, and by --status while a process holds it."""
    monkeypatch.setattr(trial, "LOG_SECONDS", 0.0)
    study = tiny(overrides={"target": "0.1"}, budget_steps=10, searches=1)
    folder = store.TrialFolder(tmp_path, study, 0, 0)
    with folder.claim.held():
        assert "trial 0, not logged yet" in command_line.status([study], tmp_path)
        trial.run(study, 0, 0, POINT, bound_steps=lambda: None, record=lambda _: None, log=folder.log)
        lines = [json.loads(line) for line in (folder.path / "log.jsonl").read_text().splitlines()]
        assert [line["sgd_steps"] for line in lines] == list(range(2, 11))
        assert all(3 < line["loss"] < 6 and line["examples_per_second"] > 0 for line in lines)
        assert lines[-1]["seconds_left"] == 0
        assert "trial 0: update 10 of at most 10, loss " in command_line.status([study], tmp_path)
    assert "running" not in command_line.status([study], tmp_path)
    (folder.path / "log.jsonl").write_text("{")
    assert folder.last_logged() is None
