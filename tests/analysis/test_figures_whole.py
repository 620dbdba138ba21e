"""Each figure's analysis as a whole, on tables of made-up trials whose answers are known."""

import dataclasses
import json
import shutil

import pandas as pd
import pytest

from analysis import all as redrawn
from analysis import figure5, figure6, figure7, figure8, figures
from experiments import collect, workloads
from experiments.protocol import tables
from experiments.protocol.study import ResultsError

pytestmark = pytest.mark.slow

FIGURES = {5: figure5, 6: figure6, 7: figure7, 8: figure8}
PANELS = [(number, figure, w) for number, figure in FIGURES.items() for w in figure.ANALYSIS.experiment.panels.values()]


def made_up(study, result):
    """Rows of trials and measurements of a study: the best of search s is (1 + s / 10) times `result`.

    Each search has an infeasible trial that looks best of all, one that reaches the result, one that is worse and, past
    the budget of feasible trials that the figure's studies share, one that is better. Fewer fresh examples are better;
    of the metric, what the workload's goal says.
    """
    power = 1 if study.config["goal"] == "min" else -1
    trials, measurements = [], []
    shared = 2
    for search in range(study.searches):
        best = result * (1 + search / 10)
        outcomes = [("infeasible", 0.1), ("complete", 1.2), ("complete", 1.0)]
        outcomes += [("complete", 0.5)] * (study.trials > shared)
        for trial, (status, factor) in enumerate(outcomes):
            keys = tables.study_keys(study) | {"search": search, "trial": trial}
            reached = status == "complete"
            point = {dimension.name: (dimension.low * dimension.high) ** 0.5 for dimension in study.space}
            trials.append(
                keys
                | point
                | {"status": status, "best_metric": best * factor**power, "reached_target": reached}
                | {"fresh_examples_to_target": best * factor if reached else None, "fresh_examples": best * factor}
            )
            for step in (1, 2, 3):
                values = {"sgd_steps": step, "fresh_examples": step * 100.0, "value": 3.0 - step / 10}
                measurements.append(keys | values | {"metric": study.config["metric"]})
    row = collect.study_row(study, trials) | {"feasible_trials_a_search": shared + (study.trials > shared)}
    return trials, measurements, row


def write_results(folder, studies, result_of):
    found = [made_up(study, result_of(study)) for study in studies]
    for i, name in enumerate(("trials", "measurements")):
        tables.update(folder / "small", {name: pd.DataFrame([row for made in found for row in made[i]])})
    tables.update(folder / "small", {"studies": pd.DataFrame([made[2] for made in found])})


def expected(study):
    return study.batch_size * (200 if study.variant == "baseline" else 100 * study.echo_factor)


@pytest.fixture(scope="module", params=PANELS, ids=lambda panel: f"{panel[0]}-{panel[2]}")
def drawn(request, tmp_path_factory):
    """A panel of made-up results; the studies of the workload's own batch size have more trials than the others."""
    number, figure, workload = request.param
    results = tmp_path_factory.mktemp("results")
    config = workloads.load(workload, "small")
    studies = [
        dataclasses.replace(study, searches=2, trials=3 if study.batch_size == config.batch_size else 2)
        for study in figure.ANALYSIS.experiment.studies(config)
    ]
    write_results(results, studies, expected)
    return number, figure, results, figure.ANALYSIS.make(results, "small")


def test_made_up_results_are_given_back(drawn):
    number, figure, results, _ = drawn
    table = pd.read_csv(results / "small" / f"figure{number}.csv")
    # Where all studies have more trials, all of these count.
    best = 1.0 if table["batch_size"].nunique() > 1 else 0.5
    to_maximise = number == 8 and table["workload"].iloc[0] == "resnet50_imagenet"
    for _, row in table.iterrows():
        of_variant = 200 if row["variant"] == "baseline" else 100 * row["echo_factor"]
        mean = row["batch_size"] * of_variant * 1.05 * (1 / best if to_maximise else best)
        assert row[figure.ANALYSIS.measure.mean_column] == pytest.approx(mean)
        assert row["reached"] == row["searches"] == 2
        ends = (row["interval_low"], row["interval_high"])
        better, worse = ends[::-1] if to_maximise else ends
        assert min(ends) < mean < max(ends)  # the searches differ
        assert abs(worse - mean) > mean * 0.01
        assert abs(better - mean) < mean * 0.06  # no search is better than the best of both


def test_every_file_is_written(drawn):
    number, _, results, printed = drawn
    for name in (
        f"figure{number}.png",
        f"figure{number}.svg",
        f"figure{number}_curves.png",
        f"figure{number}_space.png",
    ):
        assert (results / "small" / name).stat().st_size > 1000
    claims = (results / "small" / f"claims_figure{number}.md").read_text()
    assert f"python -m experiments.figure{number} --scale=small" in claims
    assert claims.strip() in printed


def test_a_figure_with_a_study_missing_is_not_drawn(drawn, tmp_path):
    number, figure, results, _ = drawn
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "small" / "studies.csv"
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)
    assert not figure.ANALYSIS.has_results(tmp_path, "small")
    with pytest.raises(ResultsError, match=rf"experiments\.figure{number}"):
        figure.ANALYSIS.make(tmp_path, "small")


@pytest.mark.parametrize("key", ["target", "model"])
def test_studies_of_different_configurations_are_not_compared(drawn, tmp_path, key):
    _, figure, results, _ = drawn
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "small" / "studies.csv"
    table = pd.read_csv(path)
    config = json.loads(table.loc[0, "config"])
    changed = {"target": 3.0, "model": config["model"] | {"width": 9}}
    table.loc[0, "config"] = json.dumps(config | {key: changed[key]})
    table.to_csv(path, index=False)
    with pytest.raises(ResultsError, match=f"differ in {key}"):
        figure.ANALYSIS.make(tmp_path, "small")


def test_studies_that_missed_the_target_or_diverged_have_no_bar_and_decide_nothing(tmp_path):
    config = workloads.load("transformer_lm1b", "small")
    write_results(tmp_path, figure7.ANALYSIS.experiment.studies(config), expected)
    path = tmp_path / "small" / "trials.csv"
    trials = pd.read_csv(path)
    diverged, missed = trials["repeated_batch_buffer"] == 100, trials["shuffle_buffer"] == 120
    trials.loc[diverged, ["status", "best_metric"]] = ["infeasible", None]
    trials.loc[diverged | missed, "reached_target"] = False
    trials.loc[diverged | missed, "fresh_examples_to_target"] = None
    trials.to_csv(path, index=False)
    studies = pd.read_csv(tmp_path / "small" / "studies.csv")
    of_buffer = studies["repeated_batch_buffer"] == 100
    studies.loc[of_buffer, "infeasible"] += studies.loc[of_buffer, "complete"]
    studies.loc[of_buffer, "complete"] = 0
    studies.to_csv(tmp_path / "small" / "studies.csv", index=False)
    printed = figure7.ANALYSIS.make(tmp_path, "small")
    table = pd.read_csv(tmp_path / "small" / "figure7.csv")
    without = (table["repeated_batch_buffer"] == 100) | (table["shuffle_buffer"] == 120)
    assert without.sum() == 3
    assert (table.loc[without, "reached"] == 0).all()
    assert table.loc[without, "mean_fresh_examples"].isna().all()
    assert (table.loc[without, "misses"] == 1).all()
    assert table.loc[~without, "mean_fresh_examples"].notna().all()
    assert printed.count("0 of 5 searches reached the target") == 6
    assert printed.count("| undecided") == 6


@pytest.mark.parametrize("number", [5, 7])
def test_committed_studies_are_drawn_whatever_budget_is_planned_today(tmp_path, number):
    analysis = FIGURES[number].ANALYSIS
    planned = analysis.experiment.studies
    write_results(tmp_path, planned(workloads.load("transformer_lm1b", "small")), expected)
    before = analysis.make(tmp_path, "small")
    changed = [
        dataclasses.replace(s, budget_steps=s.budget_steps - 1)
        for s in planned(workloads.load("transformer_lm1b", "small"))
    ]
    later = dataclasses.replace(analysis.experiment, studies=lambda config, *, bound=True: changed)
    after = dataclasses.replace(analysis, experiment=later).make(tmp_path, "small")
    assert after.count("today's configuration has") == len(changed)
    tables = [[line for line in printed.splitlines() if line.startswith("|")] for printed in (before, after)]
    assert tables[0] == tables[1]
    assert "today's configuration has" in (tmp_path / "small" / f"claims_figure{number}.md").read_text()


def test_several_budgets_of_one_setting_of_which_none_is_planned_are_named(tmp_path):
    studies = figure7.ANALYSIS.experiment.studies(workloads.load("transformer_lm1b", "small"))
    first = [dataclasses.replace(studies[0], budget_steps=studies[0].budget_steps + more) for more in (1, 2)]
    write_results(tmp_path, [*first, *studies[1:]], expected)
    with pytest.raises(ResultsError, match=r"budgets of 1,601, 1,602 updates"):
        figure7.ANALYSIS.make(tmp_path, "small")


def test_a_table_that_was_cut_off_is_named(drawn, tmp_path):
    _, figure, results, _ = drawn
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "small" / "trials.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-2]) + "\n")
    with pytest.raises(ResultsError, match=r"trials\.csv has .* studies\.csv counts"):
        figure.ANALYSIS.make(tmp_path, "small")


def test_a_workload_that_is_left_out_is_named(drawn):
    number, figure, results, printed = drawn
    others = set(figure.ANALYSIS.experiment.panels.values()) - set(
        pd.read_csv(results / "small" / "studies.csv")["workload"]
    )
    claims = (results / "small" / f"claims_figure{number}.md").read_text()
    for workload in others:
        assert f"{workload} is left out, for want of results of baseline-e1-" in printed
        assert f"{workload} is left out" in claims


def test_trials_of_changed_files_are_counted_below_the_claims(drawn, tmp_path):
    _, figure, results, _ = drawn
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "small" / "trials.csv"
    table = pd.read_csv(path)
    table["git_revision"] = ["0123456789ab-dirty", "unknown"] + ["0123456789ab"] * (len(table) - 2)
    table.to_csv(path, index=False)
    assert f"2 of {len(table):,} trials are of changed files" in figure.ANALYSIS.make(tmp_path, "small")


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
    monkeypatch.setattr(redrawn.page, "make", lambda results, scale: "")  # reads claims, which `make` does not write
    studies = figure7.ANALYSIS.experiment.studies(workloads.load("transformer_lm1b", "small"))
    write_results(tmp_path, studies, expected)
    redrawn.redraw(tmp_path)
    # Figure 3's studies of this workload are among Figure 7's.
    assert made == [*((number, "published") for number in (3, 5, 6, 7, 8)), (3, "small"), (7, "small")]
    table = (tmp_path / "small" / "claims.md").read_text()
    assert "## Figure 7\n\nclaims of 7\n" in table
    for number, claims in ((4, 18), (5, 7), (6, 9), (8, 5)):
        section = table.partition(f"## Figure {number}\n")[2].partition("## ")[0]
        assert section.count("| not run") == section.count(f"experiments.figure{number} --scale=small") == claims
