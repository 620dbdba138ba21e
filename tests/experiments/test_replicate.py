"""Committed trials trained again: the same bits here, a drift that is said elsewhere."""

import dataclasses
import math

import pandas as pd
import pytest
from small_studies import tiny

from experiments import collect, replicate
from experiments.protocol import engine
from experiments.protocol.study import Measurement, TrialResult


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """Results of two searches, stopped trials among them."""
    folder = tmp_path_factory.mktemp("results")
    engine.run([tiny(), tiny("example", 2.0)], root=folder / "runs", engine="inline")
    collect.collect(folder / "runs", folder, "smoke")
    return folder


@pytest.fixture
def results(committed, tmp_path):
    (tmp_path / "smoke").mkdir()
    for path in (committed / "smoke").iterdir():
        (tmp_path / "smoke" / path.name).write_bytes(path.read_bytes())
    return tmp_path


def run(results, count=None):
    count = count or len(pd.read_csv(results / "smoke" / "trials.csv"))
    return replicate.main(["--scale=smoke", f"--trials={count}", f"--results={results}"])


@pytest.mark.slow
def test_on_the_same_processor_a_trial_gives_the_same_bits(results, capsys):
    assert run(results) == 0
    table = pd.read_csv(results / "smoke" / "replicated.csv")
    assert table["same_bits"].all()
    count = len(table)
    assert (table["evaluations_equal"] == table["evaluations"]).all()
    assert not list((results / "smoke").glob("*.unfinished"))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(
        f"{count} trials run, {count} gave the same bits: {count} of {count} of this processor, 0 of 0"
    )


@pytest.mark.slow
@pytest.mark.parametrize("change", [1e-12, 1e-2])
def test_other_bits_on_the_same_processor_are_an_error(results, capsys, change):
    path = results / "smoke" / "measurements.parquet"
    table = pd.read_parquet(path)
    table.loc[3, "value"] *= 1 + change
    table.to_parquet(path)
    changed = table.loc[3]
    assert run(results) == 1
    said = capsys.readouterr()
    named = f"{changed['variant']} e = {changed['echo_factor']:g}, batch 8, search {changed['search']}"
    assert f"{named}, trial {changed['trial']}, this processor: agrees for" in said.err
    assert said.err.count("\n") == 1
    assert "trials run" in said.out.splitlines()[-1]


@pytest.mark.parametrize("processor", ["some other", None])
def test_other_bits_on_another_processor_are_said(results, capsys, processor):
    trials = pd.read_csv(results / "smoke" / "trials.csv").assign(processor=processor)
    trials.to_csv(results / "smoke" / "trials.csv", index=False)
    path = results / "smoke" / "measurements.parquet"
    pd.read_parquet(path).assign(value=lambda rows: rows["value"] * 1.001).to_parquet(path)
    assert run(results, 3) == 0
    out = capsys.readouterr().out
    assert out.count("agrees for 0 of") == 3 * 2  # as it goes and in the table
    assert f"{'another processor' if processor else 'processor unrecorded'}: agrees" in out
    assert out.endswith("0 of 0 of this processor, 0 of 3 of other or unrecorded processors\n")


def test_another_device_is_another_processor(results, capsys):
    pd.read_csv(results / "smoke" / "trials.csv").assign(device="1 x other").to_csv(
        results / "smoke" / "trials.csv", index=False
    )
    assert run(results, 1) == 0
    assert "another processor: same bits" in capsys.readouterr().out


@pytest.mark.slow
def test_a_trial_that_ends_elsewhere_is_not_the_same(results, capsys):
    path = results / "smoke" / "trials.csv"
    trials = pd.read_csv(path)
    trials.loc[trials["status"] == "complete", "sgd_steps"] -= 1
    trials.to_csv(path, index=False)
    assert run(results) == 1
    assert "instead of complete at update" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("trials.csv", None, "trials.csv is missing"),
        ("studies.csv", None, "studies.csv is missing"),
        ("studies.csv", ("0.9", "0.8"), "is not the one that its trials were trained with"),
    ],
)
def test_what_cannot_be_trained_again_is_one_line(results, capsys, name, text, said):
    path = results / "smoke" / name
    if text is None:
        path.unlink()
    else:
        table = pd.read_csv(path)
        table["config"] = table["config"].str.replace('"divergence_factor": 4.0', '"divergence_factor": 5.0')
        table.to_csv(path, index=False)
    assert run(results, 1) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_more_trials_than_there_are(results, capsys):
    assert run(results, 1000) == 1
    assert "--trials=1000" in capsys.readouterr().err


def compared(then, now, status="bounded"):
    """The row of a trial that was stopped after 8 updates; evaluations by updates."""
    committed = {"status": "bounded", "sgd_steps": 8, "batch_size": 8, "echo_factor": 1.0}
    committed["fresh_examples_to_target"] = math.nan
    before = pd.DataFrame({"sgd_steps": list(then), "value": list(then.values())})
    result = TrialResult(status, 8, None, 0, 0.0)
    return replicate.compare(committed, before, result, [Measurement(*item) for item in now.items()])


def test_an_evaluation_that_only_one_of_them_made_is_no_agreement():
    for then, now in (({4: 1.0}, {4: 1.0, 8: 2.0}), ({4: 1.0, 8: 2.0}, {4: 1.0})):
        row = compared(then, now)
        assert (row["agree_for"], row["evaluations_equal"], row["same_bits"]) == (1, 1, False)


def test_a_metric_of_zero_compares():
    assert compared({4: 0.0, 8: 1.0}, {4: 0.0, 8: 1.0})["same_bits"]
    row = compared({4: 1.0, 8: 0.0}, {4: 1.0 + 1e-6, 8: 0.1})
    assert (row["agree_for"], row["evaluations_equal"], row["largest_difference"]) == (1, 0, math.inf)


def test_divergence_is_compared_by_status_and_updates():
    assert compared({}, {})["same_bits"]
    row = compared({}, {}, status="infeasible")
    assert not row["same_bits"]
    assert not row["largest_difference"]


def test_the_choice_is_of_one_workload_and_a_function_of_the_seed(results, capsys):
    drawn = [replicate.chosen(results, "smoke", 5, seed, "transformer_lm1b") for seed in (0, 0, 1)]
    assert drawn[0].equals(drawn[1])
    assert not drawn[0].equals(drawn[2])
    assert replicate.main(["--scale=smoke", "--trials=1", "--workload=ssd_coco", f"--results={results}"]) == 1
    assert "has 0 of ssd_coco" in capsys.readouterr().err


def test_one_trial_can_be_named(results, capsys):
    trial = replicate.chosen(results, "smoke", 1, 0, None).iloc[0]
    name = f"{trial['config_hash']}/{trial['search']}/{trial['trial']}"
    assert replicate.named(results, "smoke", name).iloc[0]["config"] == trial["config"]
    assert replicate.main(["--scale=smoke", f"--trial={trial['config_hash']}/9/9", f"--results={results}"]) == 1
    assert "has none of this config_hash/search/trial" in capsys.readouterr().err


def test_the_point_is_the_committed_one_whatever_the_order_of_the_search_space(tmp_path):
    study = tiny(searches=1, trials=1)
    space = dict(reversed(study.config["search_space"].items()))
    study = dataclasses.replace(study, config={**study.config, "search_space": space})
    engine.run([study], root=tmp_path / "runs", engine="inline")
    collect.collect(tmp_path / "runs", tmp_path, "smoke")
    assert run(tmp_path) == 0
    assert pd.read_csv(tmp_path / "smoke" / "replicated.csv")["same_bits"].all()
