"""Intervals of results: known distributions, censored trials, and how often they hold the truth."""

import numpy as np
import pandas as pd
import pytest

from analysis.statistics import uncertainty
from experiments.protocol import tables
from experiments.protocol.tables import STUDY_KEYS

COLUMN = "fresh_examples_to_target"


def trials(rows, **study):
    """Trials of (search, status, fresh examples to the target or None, fresh examples when it stopped)."""
    keys = dict(zip(STUDY_KEYS, ["transformer_lm1b", "baseline", 1.0, 32, 100, 0, 500, True], strict=True)) | study
    named = [
        {"search": search, "status": status, COLUMN: at, "fresh_examples": end} for search, status, at, end in rows
    ]
    return pd.DataFrame([keys | row for row in named]).astype({COLUMN: float})


def study(searches, feasible, **keys):
    row = trials([(0, "complete", None, 1)], **keys).iloc[:1][STUDY_KEYS]
    return row.assign(searches=searches, feasible_trials_a_search=feasible)


def test_best_of_several_has_the_known_distribution():
    """Of n outcomes the best of n draws is the k-th smallest with probability ((n - k + 1)^n - (n - k)^n) / n^n."""
    outcomes = uncertainty.Outcomes(np.array([30.0, 10.0, 20.0]), np.array([True] * 3))
    best = outcomes.best(3, np.random.default_rng(0).random(20_000))
    shares = [np.mean(best == value) for value in (10, 20, 30)]
    np.testing.assert_allclose(shares, [19 / 27, 7 / 27, 1 / 27], atol=0.01)
    assert outcomes.misses(3) == 0


def test_stopped_trials_are_right_censored():
    """By hand: of six, one ends at 10 and one leaves at 15; of four, one ends at 20 and one leaves then."""
    values = np.array([10.0, 15.0, 20.0, 20.0, 30.0, 40.0])
    observed = np.array([True, False, True, False, False, False])
    outcomes = uncertainty.Outcomes(values, observed, limit=100.0)
    assert outcomes.misses(1) == pytest.approx(5 / 6 * 3 / 4)
    assert outcomes.misses(2) == pytest.approx((5 / 6 * 3 / 4) ** 2)
    best = outcomes.best(1, np.random.default_rng(0).random(40_000))
    shares = [np.mean(best == value) for value in (10, 20, 100)]
    np.testing.assert_allclose(shares, [1 / 6, 5 / 6 / 4, 5 / 6 * 3 / 4], atol=0.01)


def test_means_are_of_feasible_trials_of_all_searches():
    rows = [(search, "complete", 100 + 100 * search, 100 + 100 * search) for search in (0, 1) for _ in range(2)]
    table = trials([*rows, (0, "infeasible", 1, 1)])
    means = uncertainty.drawn_means(table, study(2, 1), COLUMN, goals=["min"])
    shares = [np.mean(means[0] == value) for value in (100, 150, 200)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.04)
    upwards = uncertainty.drawn_means(table, study(2, 1), COLUMN, goals=["max"])
    np.testing.assert_allclose(upwards.mean(), 150, atol=3)
    again = uncertainty.drawn_means(table, study(2, 1), COLUMN, goals=["min"])
    assert (means == again).all()


def test_a_search_that_finds_nothing_counts_with_its_budget_and_is_reported():
    table = trials([(0, "complete", 100, 100), (0, "complete", None, 16_000)])
    assert uncertainty.misses(table, study(1, 3), COLUMN, goals=["min"]) == [pytest.approx(1 / 8)]
    means = uncertainty.drawn_means(table, study(1, 3), COLUMN, goals=["min"])
    assert set(means[0]) == {100.0, 500 * 32.0}
    np.testing.assert_allclose(np.mean(means[0] == 16_000), 1 / 8, atol=0.03)


def test_a_study_without_an_outcome_has_no_interval():
    table = trials([(0, "complete", None, 16_000), (1, "infeasible", 5, 5)])
    assert np.isnan(uncertainty.drawn_means(table, study(2, 1), COLUMN, goals=["min"])).all()
    assert uncertainty.misses(table, study(2, 1), COLUMN, goals=["min"]) == [1.0]


def search_rows(generator, search, trials_a_search, median, spread, reaching, grid, budget):
    """One search under the engine's rule: a trial stops at the target, or once it cannot win any more."""
    needed = np.ceil(generator.lognormal(np.log(median), spread, trials_a_search) / grid) * grid
    needed = np.where(generator.random(trials_a_search) < reaching, needed, np.inf)
    best, rows = budget, []
    for need in needed:
        best, reached = min(best, need), need <= best
        rows.append((search, "complete" if reached else "bounded", need if reached else None, best))
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spread", "reaching", "trials_a_search", "grid"),
    [(0.6, 1.0, 12, 640), (0.3, 1.0, 10, 1_600), (0.3, 0.3, 10, 800)],
    ids=["wide", "narrow on a coarse grid", "few trials reach the target"],
)
def test_intervals_hold_the_true_ratio_in_19_of_20_editions(spread, reaching, trials_a_search, grid, capsys):
    """1,000 made-up editions of five bounded searches of a baseline and of a variant that needs about half."""
    generator = np.random.default_rng(0)
    medians, budget, editions = (40_000, 22_000), 64_000, 1_000
    many = 40_000
    truth = []
    for median in medians:
        needed = np.ceil(generator.lognormal(np.log(median), spread, (many, trials_a_search)) / grid) * grid
        needed = np.where(generator.random(needed.shape) < reaching, needed, np.inf)
        truth.append(np.minimum(needed.min(axis=1), budget).mean())
    held, widths = 0, []
    for _ in range(editions):
        drawn = []
        for median in medians:
            rows = [
                row
                for search in range(5)
                for row in search_rows(generator, search, trials_a_search, median, spread, reaching, grid, budget)
            ]
            ends = np.array([row[3] for row in rows])
            observed = np.array([row[2] is not None for row in rows])
            outcomes = uncertainty.Outcomes(ends, observed, budget)
            shares = generator.random((5, uncertainty.EDITIONS))
            drawn.append(outcomes.best(trials_a_search, shares).mean(axis=0))
        low, high = uncertainty.interval(drawn[1] / drawn[0])
        held += low <= truth[1] / truth[0] <= high
        widths.append(high - low)
    with capsys.disabled():
        print(f"\n95 % intervals hold the true ratio in {held / editions:.1%} of {editions} editions, ", end="")
        print(f"{np.mean(widths):.2f} wide around {truth[1] / truth[0]:.2f}")
    assert 0.92 <= held / editions <= 0.98


def test_committed_studies_are_read_alike_with_rows_in_any_order():
    results = tables.RESULTS
    studies = tables.read(results, "small", "studies").query("workload == 'ssd_coco'").reset_index(drop=True)
    rows = tables.of_rows(tables.read(results, "small", "trials"), studies)
    goals = ["min"] * len(studies)
    means = [
        uncertainty.drawn_means(table, studies, COLUMN, goals=goals)
        for table in (rows, rows.sample(frac=1, random_state=0))
    ]
    np.testing.assert_array_equal(*means)
