import json
from pathlib import Path

import pandas as pd
import pytest

from experiments import figure3, figure4, figure5, figure6, figure7, figure8, workloads
from experiments.protocol import tables
from experiments.protocol.study import ConfigError, Study, make_study

COMMITTED = pd.read_csv(Path("results") / "small" / "studies.csv")


@pytest.mark.parametrize("row", COMMITTED.to_dict("records"), ids=lambda row: f"{row['workload']}-{row['variant']}")
def test_committed_results_are_of_the_studies_that_the_suite_still_runs(row):
    """A study's hash is of all that its trials' numbers depend on; a change would orphan what has been run."""
    config = workloads.load(row["workload"], "small")
    of_figure8 = not row["bound"]  # the only one without
    study = make_study(
        config,
        row["variant"],
        row["echo_factor"],
        batch_size=row["batch_size"],
        shuffle_buffer=row["shuffle_buffer"],
        repeated_batch_buffer=row["repeated_batch_buffer"],
        budget_fresh_examples=round(row["budget_fresh_examples"]),
        eval_every_steps=round(config.eval_every_steps * row["echo_factor"]) if of_figure8 else None,
        trials=config.fixed_budget.trials if of_figure8 else None,
        bound=row["bound"],
    )
    assert study.config_hash == row["config_hash"]
    assert study.trials == row["feasible_trials_a_search"]


def studies(figure, workload="transformer_lm1b", scale="small"):
    return figure.studies(workloads.load(workload, scale))


@pytest.mark.parametrize(("figure", "shared"), [(figure5, 2), (figure6, 3), (figure7, 3), (figure8, 0)])
@pytest.mark.parametrize("scale", workloads.SCALES)
def test_studies_shared_with_figure_3_run_once(figure, shared, scale):
    names = [study.name for study in studies(figure, scale=scale)]
    assert len(set(names)) == len(names)
    assert len(set(names) & {study.name for study in studies(figure3, scale=scale)}) == shared


@pytest.mark.parametrize("scale", workloads.SCALES)
def test_one_setting_has_one_configuration_in_all_figures(scale):
    """Two would contradict each other in the collected tables, but that budgets may differ."""
    found: dict[tuple, Study] = {}
    for figure in (figure3, figure4, figure5, figure6, figure7, figure8):
        for workload in set(figure.EXPERIMENT.panels.values()):
            for study in studies(figure, workload, scale):
                assert found.setdefault(tuple(tables.study_keys(study).values()), study) == study


def test_budgets_at_paper_scale_are_the_papers_run_lengths():
    """In updates of the pipeline before the echo, from the right ends of the appendix's curves."""
    lengths = {
        study.setting: round(study.budget_steps / study.echo_factor)
        for figure in (figure5, figure6, figure7)
        for study in studies(figure, scale="paper")
    }
    assert [lengths[f"example-e{e}-b1024-s1000000"] for e in (2, 4, 8, 16)] == [10000, 7500, 10000, 10000]
    assert [lengths[f"example-e{e}-b4096-s1000000"] for e in (2, 4, 8, 16)] == [7500, 5625, 3750, 2344]
    assert [lengths[f"baseline-e1-b{b}-s1000000"] for b in (64, 256, 1024, 4096)] == [160000, 40000, 20000, 15000]
    assert [lengths[f"batch-e2-b{b}-s1000000"] for b in (64, 256, 1024, 4096)] == [160000, 40000, 20000, 15000]
    assert [lengths[f"example-e2-b{b}-s1000000"] for b in (64, 256, 1024, 4096)] == [80000, 20000, 10000, 7500]
    assert [lengths[f"batch-e2-b1024-s1000000-r{r}"] for r in (10, 100)] == [20000, 20000]
    assert [lengths[f"example-e2-b1024-s{s}"] for s in (100_000, 10_000_000)] == [20000, 10000]
    lengths = {
        study.setting: round(study.budget_steps / study.echo_factor)
        for figure in (figure4, figure6)
        for study in studies(figure, "resnet50_imagenet", scale="paper")
    }
    before = "example_before_augmentation"
    assert [lengths[f"{before}-e{e}-b1024-s100000"] for e in (2, 3, 4, 5)] == [55000, 36667, 27500, 22000]
    assert [lengths[f"{before}-e2-b{b}-s100000"] for b in (256, 4096, 16384)] == [200000, 16500, 9000]
    assert [lengths[f"baseline-e1-b{b}-s100000"] for b in (256, 1024, 4096, 16384)] == [400000, 110000, 27500, 12000]
    assert [lengths[f"batch-e2-b{b}-s100000"] for b in (256, 1024, 4096, 16384)] == [400000, 96250, 27500, 11000]
    final = {study.variant: study.fresh_examples(study.budget_steps) for study in studies(figure8, scale="paper")}
    assert final == {"baseline": 20_480_000, "batch": 20_480_000, "example": 20_480_000}


@pytest.mark.parametrize("figure", [figure5, figure6, figure7])
def test_small_studies_are_evaluated_finely_and_search_spaces_are_equally_wide(figure):
    for study in studies(figure):
        assert 1 / 170 <= study.config["eval_every_steps"] / study.budget_steps <= 1 / 30, study.setting
        rate, momentum = study.space
        assert rate.high / rate.low == pytest.approx(12.5)
        assert (1 - momentum.low) / (1 - momentum.high) == pytest.approx(10)


def test_settings_of_more_parts_win_and_only_where_they_fit():
    config = workloads.load("transformer_lm1b", "small", {"at.b128.eval_every_steps": "7"})
    with config.unlocked():
        config.at = {"example-e4-b128": {"target": 1.0}, "b128": {"target": 2.0}}
    targets = {
        (variant, factor, size): make_study(config, variant, factor, batch_size=size).config["target"]
        for variant, factor, size in [("example", 4, 128), ("batch", 4, 128), ("example", 4, 12), ("example", 4, 32)]
    }
    assert list(targets.values()) == [1.0, 2.0, 2.36, 2.36]
    assert "at" not in json.loads(make_study(config, "baseline", 1).to_json())["config"]


def test_bad_change_at_a_setting_is_named():
    config = workloads.load("transformer_lm1b", "small")
    for changes, named in [({"target": "low"}, "target"), ({"eval_evry": 7}, "eval_evry")]:
        with config.unlocked():
            config.at = {"b128": changes}
        with pytest.raises(ConfigError, match=rf"config\.at\.b128: .*{named}"):
            make_study(config, "baseline", 1, batch_size=128)
    with pytest.raises(ConfigError, match=r"eval_every_steps must be a whole number from 1"):
        workloads.load("transformer_lm1b", "small", {"at.b128.eval_every_steps": "-7"})
