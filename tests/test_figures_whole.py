"""Each figure's analysis as a whole, on tables of made-up trials whose answers are known."""

import dataclasses
import shutil

import pandas as pd
import pytest

from analysis import all as redrawn
from analysis import collect, figure5, figure6, figure7, figure8, figures, load
from experiments import workloads

FIGURES = {5: figure5, 6: figure6, 7: figure7, 8: figure8}


def made_up(study, result):
    """Rows of trials and measurements of a study: the best of search s is (1 + s / 10) times `result`.

    Each search has an infeasible trial that looks best of all, one that reaches the result, one that is worse and, past
    the budget of feasible trials that the figure's studies share, one that is better.
    """
    trials, measurements = [], []
    shared = 2
    for search in range(study.searches):
        best = result * (1 + search / 10)
        outcomes = [("infeasible", 0.1), ("complete", 1.2), ("complete", 1.0)]
        outcomes += [("complete", 0.5)] * (study.trials > shared)
        for trial, (status, factor) in enumerate(outcomes):
            keys = load.study_keys(study) | {"search": search, "trial": trial}
            reached = status == "complete"
            point = {dimension.name: (dimension.low * dimension.high) ** 0.5 for dimension in study.space}
            trials.append(
                keys
                | point
                | {"status": status, "best_metric": best * factor, "reached_target": reached}
                | {"fresh_examples_to_target": best * factor if reached else None}
            )
            for step in (1, 2, 3):
                values = {"sgd_steps": step, "fresh_examples": step * 100.0, "value": 3.0 - step / 10}
                measurements.append(keys | values | {"metric": study.config["metric"]})
    row = collect.study_row(study, trials) | {"feasible_trials_a_search": shared + (study.trials > shared)}
    return trials, measurements, row


def write_results(folder, studies, result_of):
    found = [made_up(study, result_of(study)) for study in studies]
    for i, name in enumerate(("trials", "measurements")):
        load.update_table(folder / "small", name, pd.DataFrame([row for made in found for row in made[i]]))
    load.update_table(folder / "small", "studies", pd.DataFrame([made[2] for made in found]))


def expected(study):
    return study.batch_size * (200 if study.variant == "baseline" else 100 * study.echo_factor)


@pytest.fixture(scope="module", params=FIGURES)
def drawn(request, tmp_path_factory):
    """A figure of made-up results; the studies of the workload's own batch size have more trials than the others."""
    results, figure = tmp_path_factory.mktemp("results"), FIGURES[request.param]
    config = workloads.load("transformer_lm1b", "small")
    studies = [
        dataclasses.replace(study, searches=2, trials=3 if study.batch_size == config.batch_size else 2)
        for study in figure.ANALYSIS.experiment.studies(config)
    ]
    write_results(results, studies, expected)
    return request.param, figure, results, figure.ANALYSIS.make(results, "small")


def test_made_up_results_are_given_back(drawn):
    number, figure, results, _ = drawn
    table = pd.read_csv(results / "small" / f"figure{number}.csv")
    # Where all studies have more trials, all of these count.
    best = 1.0 if table["batch_size"].nunique() > 1 else 0.5
    for _, row in table.iterrows():
        of_variant = 200 if row["variant"] == "baseline" else 100 * row["echo_factor"]
        mean = row["batch_size"] * of_variant * 1.05 * best
        assert row[figure.ANALYSIS.measure.mean_column] == pytest.approx(mean)
        assert row["reached"] == row["searches"] == 2
        assert row["interval_low"] == pytest.approx(mean)  # a draw is never better than the search
        assert row["interval_high"] > mean * 1.01


def test_every_file_is_written(drawn):
    number, _, results, told = drawn
    for name in (f"figure{number}", f"figure{number}_curves", f"figure{number}_space"):
        for suffix in (".png", ".svg"):
            assert (results / "small" / f"{name}{suffix}").stat().st_size > 1000
    claims = (results / "small" / f"claims_figure{number}.md").read_text()
    assert f"python -m experiments.figure{number} --scale=small" in claims
    assert claims.strip() in told


def test_a_figure_with_a_study_missing_is_not_drawn(drawn, tmp_path):
    number, figure, results, _ = drawn
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "small" / "studies.csv"
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)
    assert not figure.ANALYSIS.has_results(tmp_path, "small")
    with pytest.raises(load.ResultsError, match=rf"experiments\.figure{number}"):
        figure.ANALYSIS.make(tmp_path, "small")


def test_studies_of_different_targets_are_not_compared(drawn, tmp_path):
    _, figure, results, _ = drawn
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "small" / "studies.csv"
    table = pd.read_csv(path)
    table.loc[0, "target"] = 3.0
    table.to_csv(path, index=False)
    with pytest.raises(load.ResultsError, match="different targets"):
        figure.ANALYSIS.make(tmp_path, "small")


def test_studies_without_the_bound_are_found(tmp_path):
    studies = figure7.ANALYSIS.experiment.studies(workloads.load("transformer_lm1b", "small"), bound=False)
    write_results(tmp_path, studies, expected)
    assert figure7.ANALYSIS.has_results(tmp_path, "small")


def test_all_draws_what_has_results(tmp_path, monkeypatch):
    made = []

    def make(self, results, scale):
        made.append((self.number, scale))
        (results / scale).mkdir(exist_ok=True)
        (results / scale / f"claims_figure{self.number}.md").write_text(f"claims of {self.number}\n")
        return ""

    monkeypatch.setattr(figures.Analysis, "make", make)
    studies = figure7.ANALYSIS.experiment.studies(workloads.load("transformer_lm1b", "small"))
    write_results(tmp_path, studies, expected)
    redrawn.redraw(tmp_path)
    # Figure 3's studies of this workload are among Figure 7's.
    assert made == [*((number, "published") for number in (3, 5, 6, 7, 8)), (3, "small"), (7, "small")]
    table = (tmp_path / "small" / "claims.md").read_text()
    assert "## Figure 7\n\nclaims of 7\n" in table
    for number, claims in ((4, 18), (5, 6), (6, 7), (8, 5)):
        section = table.partition(f"## Figure {number}\n")[2].partition("## ")[0]
        assert section.count("| not run") == section.count(f"experiments.figure{number} --scale=small") == claims
