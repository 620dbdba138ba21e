"""Committed trials trained again: the same bits here, a drift that is said elsewhere."""

import pandas as pd
import pytest
from small_studies import tiny

from analysis import collect
from experiments import engine, replicate


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


def test_on_the_same_processor_a_trial_gives_the_same_bits(results, capsys):
    assert run(results) == 0
    table = pd.read_csv(results / "smoke" / "replicated.csv")
    assert table["same_bits"].all()
    assert f"this processor: {len(table)} of {len(table)} trials gave the same bits" in capsys.readouterr().out


@pytest.mark.parametrize("change", [1e-12, 1e-2])
def test_other_bits_on_the_same_processor_are_an_error(results, capsys, change):
    path = results / "smoke" / "measurements.parquet"
    table = pd.read_parquet(path)
    table.loc[3, "value"] *= 1 + change
    table.to_parquet(path)
    assert run(results) == 1
    assert "agrees for" in capsys.readouterr().err


@pytest.mark.parametrize("processor", ["some other", None])
def test_other_bits_on_another_processor_are_said(results, capsys, processor):
    trials = pd.read_csv(results / "smoke" / "trials.csv").assign(processor=processor)
    trials.to_csv(results / "smoke" / "trials.csv", index=False)
    path = results / "smoke" / "measurements.parquet"
    pd.read_parquet(path).assign(value=lambda rows: rows["value"] * 1.001).to_parquet(path)
    assert run(results, 3) == 0
    out = capsys.readouterr().out
    assert out.count("agrees for 0 of") == 3
    assert f"{'another processor' if processor else 'processor unrecorded'}: 0 of 3 trials" in out


def test_a_trial_that_ends_elsewhere_is_not_the_same(results, capsys):
    path = results / "smoke" / "trials.csv"
    trials = pd.read_csv(path)
    trials.loc[trials["status"] == "complete", "sgd_steps"] -= 1
    trials.to_csv(path, index=False)
    assert run(results) == 1
    assert "though all should" in capsys.readouterr().err


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
