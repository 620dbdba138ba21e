"""Figures 5 to 8, learning curves, search spaces and verdicts, on the paper's numbers and on made-up trials."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis import figure5, figure6, figure7, figure8
from analysis.drawing import curves, plots, report, space
from analysis.statistics import claims, paper, reach
from experiments.protocol import tables

RESULTS = Path("results")
TABLE = pd.read_csv(RESULTS / "published" / "figures.csv")
SPACE = {
    "learning_rate": {"scale": "log", "low": 0.01, "high": 1.0},
    "momentum": {"scale": "reverse_log", "low": 0.9, "high": 0.999},
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def drawn_bars(ax):
    """(height, low, high, dashed line or None) of each bar, in the order of drawing."""
    whiskers = [collection.get_segments()[0][:, 1] for collection in ax.collections]
    dashes = {line.get_xdata().mean(): line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"}
    bars = []
    for patch, (low, high) in zip(ax.patches, whiskers, strict=True):
        centre = patch.get_x() + patch.get_width() / 2
        dashed = next((y for x, y in dashes.items() if abs(x - centre) < 1e-9), np.nan)
        bars.append((patch.get_height(), low, high, dashed))
    return bars


def tabulated(rows):
    """What `drawn_bars` should find, straight from the table of the paper's numbers."""
    expected = []
    for _, row in rows.iterrows():
        baseline = rows[(rows["variant"] == "baseline") & (rows["batch_size"] == row["batch_size"])]
        if rows["panel"].iloc[0] == "b" and rows["figure"].iloc[0] == 7:
            baseline = baseline[baseline["buffer"] == row["buffer"]]
        ideal = np.nan if row["variant"] == "baseline" else baseline["mean_fresh_examples"].iloc[0] / row["echo_factor"]
        batches = [row[f"{end}_upstream_batches"] for end in ("mean", "min", "max")]
        expected.append((*(number * row["batch_size"] for number in batches), ideal))
    return expected


@pytest.mark.parametrize(
    ("figure", "number", "panel", "variants"),
    [
        (figure5, 5, "a", ["baseline", "example"]),
        (figure5, 5, "b", ["baseline", "example"]),
        (figure6, 6, "a", ["baseline", "batch", "example"]),
        (figure6, 6, "b", list(plots.LABELS)),
        (figure7, 7, "a", ["baseline", "batch"]),
        (figure7, 7, "b", ["baseline", "example"]),
    ],
)
def test_published_bars_are_drawn_as_tabulated(figure, number, panel, variants):
    sheet = figure.draw([("published", paper.bars(number))])
    rows = TABLE[(TABLE["figure"] == number) & (TABLE["panel"] == panel)]
    # The table lists groups from left to right, and variants within a group as they are drawn.
    np.testing.assert_allclose(drawn_bars(sheet.axes["ab".index(panel)]), tabulated(rows), rtol=1e-5)
    assert [variant for variant in variants if variant in set(rows["variant"])] == list(dict.fromkeys(rows["variant"]))


def test_published_groups_are_labelled_with_their_setting():
    labels = {}
    for figure, number in ((figure5, 5), (figure6, 6), (figure7, 7)):
        sheet = figure.draw([("published", paper.bars(number))])
        labels[number] = [[tick.get_text() for tick in ax.get_xticklabels()] for ax in sheet.axes]
    assert labels[5] == [["1", "2", "4", "8", "16"]] * 2
    assert labels[6] == [["64", "256", "1,024", "4,096"], ["256", "1,024", "4,096", "16,384"]]
    assert labels[7] == [["baseline", "1", "10", "100"], ["100,000", "1,000,000", "10,000,000"]]


def test_published_best_values_are_drawn_as_tabulated():
    table = pd.read_csv(RESULTS / "published" / "final_quality.csv")
    sheet = figure8.draw([("published", paper.bars(8))])
    for ax, workload in zip(sheet.axes, ("transformer_lm1b", "resnet50_imagenet"), strict=True):
        values = table.loc[table["workload"] == workload, "best_value"].tolist()
        assert [float(points.get_offsets()[0, 1]) for points in ax.collections] == values
        assert ax.lines[0].get_ydata()[0] == values[0]


@pytest.mark.parametrize(("figure", "number"), [(figure5, 5), (figure6, 6), (figure7, 7), (figure8, 8)])
def test_claims_hold_on_the_papers_numbers_but_where_it_contradicts_itself(figure, number):
    bars = paper.bars(number)
    analysis = figure.ANALYSIS
    table = claims.check(analysis.claims, bars, bars, "", column=analysis.measure.mean_column)
    contradicted = table["claim"].str.contains("the paper's own data do")
    assert set(table.loc[contradicted, "verdict"]) <= {"does not hold"}
    assert set(table.loc[~contradicted, "verdict"]) == {"holds"}


def test_claims_tell_the_papers_numbers():
    printed = {}
    for figure, number in ((figure5, 5), (figure6, 6), (figure7, 7), (figure8, 8)):
        bars = paper.bars(number)
        table = claims.check(figure.ANALYSIS.claims, bars, bars, "", column=figure.ANALYSIS.measure.mean_column)
        printed |= {(row["figure"], i): row["ours"] for i, row in table.iterrows()}
    numbers = " ".join(printed.values())
    for expected in (
        "1.94, 3.20, 2.88, 2.55",
        "1.77, 3.44, 5.24, 5.72",
        "0.983, 0.863, 0.684, 0.608",
        "0.564, 0.544, 0.516, 0.565",
        "1.053, 1.050, 0.965, 0.849",
        "0.855, 0.824, 0.834, 0.774",
        "0.546, 0.515, 0.533, 0.630",
        "0.42, 0.32, 0.17, 0.04",
        "0.684, 0.655, 0.576",
        "0.602, 0.534, 0.507",
        "0.040",
        "3.8000, 3.6380",
        "0.7666, 0.7656",
    ):
        assert expected in numbers


def bars(*rows):
    """Bars of (variant, echo factor, batch size, shuffle buffer, repeated batches, mean)."""
    names = ["variant", "echo_factor", "batch_size", "shuffle_buffer", "repeated_batch_buffer", "mean_fresh_examples"]
    return pd.DataFrame(rows, columns=names).assign(workload="transformer_lm1b", reached=5, searches=5)


def verdicts(figure, number, ours):
    table = claims.check(figure.ANALYSIS.claims, paper.bars(number), ours, "command")
    return table.loc[table["workload"] == plots.WORKLOADS["transformer_lm1b"], "verdict"].tolist()


def over_factors(size, *means):
    return [
        ("baseline" if e == 1 else "example", e, size, 100, 0, m) for e, m in zip([1, 2, 4, 8, 16], means, strict=True)
    ]


def test_claims_of_figure_5_on_made_up_bars():
    small = over_factors(8, 100, 52, 30, 35, 40)
    assert verdicts(figure5, 5, bars(*small, *over_factors(32, 400, 210, 110, 60, 40))) == ["holds"] * 7
    # No ceiling: each factor is as good as fresh examples.
    ideal = [over_factors(size, 1600, 800, 400, 200, 100) for size in (8, 32)]
    fails, holds = "does not hold", "holds"
    assert verdicts(figure5, 5, bars(*ideal[0], *ideal[1])) == [holds, fails, fails, holds, holds, holds, fails]
    # Echoing is of no use at all.
    useless = [over_factors(size, 100, 110, 120, 130, 140) for size in (8, 32)]
    assert verdicts(figure5, 5, bars(*useless[0], *useless[1])) == [fails, fails, holds, *[fails] * 4]
    # A best that is next to nothing better is no ceiling.
    level = over_factors(8, 100, 52, 30, 30, 30.3)
    assert verdicts(figure5, 5, bars(*level, *over_factors(32, 400, 210, 110, 60, 40)))[2] == fails
    assert verdicts(figure5, 5, bars(*small)) == ["not run"] * 7


def over_sizes(variant, *means):
    return [
        (variant, 2 - (variant == "baseline"), size, 100, 0, m) for size, m in zip([2, 8, 32, 128], means, strict=True)
    ]


def test_claims_of_figure_6_on_made_up_bars():
    base = over_sizes("baseline", 100, 100, 100, 100)
    papers = [*base, *over_sizes("batch", 95, 90, 80, 60), *over_sizes("example", 55, 54, 53, 56)]
    assert verdicts(figure6, 6, bars(*papers)) == ["holds"] * 4
    contrary = [*base, *over_sizes("batch", 60, 70, 80, 90), *over_sizes("example", 55, 54, 53, 50)]
    assert verdicts(figure6, 6, bars(*contrary)) == ["does not hold"] * 4


def over_buffers(batch, example, baseline):
    rows = [("batch", 2, 32, 1200, r, m) for r, m in zip([0, 10, 100], batch, strict=True)]
    for buffer, echoing, plain in zip([120, 1200, 12000], example, baseline, strict=True):
        rows += [("example", 2, 32, buffer, 0, echoing), ("baseline", 1, 32, buffer, 0, plain)]
    return bars(*rows)


def test_claims_of_figure_7_on_made_up_bars():
    assert verdicts(figure7, 7, over_buffers([70, 65, 58], [60, 55, 52], [100, 104, 98])) == ["holds"] * 6
    contrary = over_buffers([70, 65, 72], [60, 60, 62], [120, 100, 80])
    assert verdicts(figure7, 7, contrary) == ["does not hold"] * 6
    # A baseline that gains as much from shuffling as echoing does.
    alike = over_buffers([70, 65, 58], [52, 50, 48], [104, 100, 96])
    assert verdicts(figure7, 7, alike) == ["holds"] * 5 + ["does not hold"]
    # Ties within the slack count as falling, so long as the end lies below the beginning.
    assert verdicts(figure7, 7, over_buffers([70, 71, 69], [60, 61, 62], [100, 100, 100]))[:4] == [
        "holds",
        "holds",
        "holds",
        "does not hold",
    ]


def keys(variant="baseline", factor=1.0, workload="transformer_lm1b"):
    return dict(zip(tables.STUDY_KEYS, [workload, variant, factor, 32, 100, 0, 500, True], strict=True))


def trials(rows, **study):
    """Trials of (search, trial, status, fresh examples to the target or None, best metric or None)."""
    return pd.DataFrame(
        [
            keys(**study)
            | {"search": search, "trial": trial, "status": status, "reached_target": fresh is not None}
            | {"fresh_examples_to_target": fresh, "best_metric": best, "learning_rate": 0.1, "momentum": 0.99}
            for search, trial, status, fresh, best in rows
        ]
    ).astype({"fresh_examples_to_target": float, "best_metric": float})


def studies(searches=2, goal="min", **study):
    return pd.DataFrame(
        [
            keys(**study)
            | {"searches": searches, "config": json.dumps({"search_space": SPACE})}
            | {"metric": "cross_entropy", "goal": goal, "target": 2.0, "feasible_trials_a_search": 2}
        ]
    )


ROWS = [
    (0, 0, "complete", 500, 2.0),
    (0, 1, "complete", None, 1.8),
    (0, 2, "infeasible", None, 0.1),
    (1, 0, "complete", 300, 1.9),
    (1, 1, "bounded", None, None),
    (1, 2, "complete", 200, 1.9),
]


def test_best_values_to_minimise_and_to_maximise():
    for goal, best, which in (("min", [1.8, 1.9], [1, 0]), ("max", [2.0, 1.9], [0, 0])):
        found = reach.best_trials(trials(ROWS), studies(goal=goal))
        assert found["best_metric"].tolist() == best
        assert found["trial"].tolist() == which  # a diverged trial never wins, ties go to the lower index
        row = reach.best_values(trials(ROWS), studies(goal=goal)).iloc[0]
        ends = [row[f"{end}_best_value"] for end in ("mean", "min", "max")]
        assert ends == [np.mean(best), min(best), max(best)]


def test_all_trials_infeasible_or_never_measured_leave_no_number():
    nothing = trials([(0, 0, "infeasible", None, 1.0), (1, 0, "complete", None, np.nan)])
    row = reach.best_values(nothing, studies()).iloc[0]
    assert (row["reached"], row["searches"]) == (0, 2)
    assert np.isnan(row["mean_best_value"])
    figure = curves.draw(curves.curves(measurements([]), reach.winners(nothing)), studies())
    assert "no winner" in figure.axes[0].get_legend().get_texts()[0].get_text()
    space.draw(nothing, studies(), reach.winners(nothing))
    assert "nan" in report.describe_best(reach.best_values(nothing, studies()))


def test_first_feasible_trials_are_the_search_with_that_budget():
    rows = [(0, i, status, None, None) for i, status in enumerate(["infeasible", "complete", "bounded", "complete"])]
    table = trials(rows)
    assert reach.first_feasible(table, 1)["trial"].tolist() == [0, 1]
    assert reach.first_feasible(table, 2)["trial"].tolist() == [0, 1, 2]
    assert reach.first_feasible(table, 9)["trial"].tolist() == [0, 1, 2, 3]
    shuffled = table.sample(frac=1, random_state=1)
    assert sorted(reach.first_feasible(shuffled, 2)["trial"]) == [0, 1, 2]


def test_statuses_are_counted():
    row = reach.statuses(trials(ROWS), studies()).iloc[0]
    assert (row["complete"], row["bounded"], row["infeasible"]) == (4, 1, 1)


def measurements(rows):
    """Measurements of (search, trial, fresh examples, value)."""
    filler = [(0, 0, 0, 0.0)]  # gives the columns of an empty table their types
    table = [keys() | {"search": s, "trial": t, "fresh_examples": x, "value": y} for s, t, x, y in filler + rows]
    return pd.DataFrame(table).iloc[1:]


def test_mean_curve_interpolates_uneven_evaluations_and_keeps_ended_lines_where_they_ended():
    lines = [np.array([[10, 4.0], [20, 2.0], [30, 1.0]]), np.array([[15, 5.0], [25, 3.0], [60, 1.0]])]
    x, mean, deviation = curves.mean_curve(lines)
    assert x.tolist() == [15, 20, 25, 30, 60]
    expected = np.array([[3.0, 2.0, 1.5, 1.0, 1.0], [5.0, 4.0, 3.0, 3.0 - 2.0 * 5 / 35, 1.0]])
    np.testing.assert_allclose(mean, expected.mean(axis=0))
    np.testing.assert_allclose(deviation, expected.std(axis=0))


def test_values_that_are_not_finite_count_as_not_measured():
    table = measurements([(0, 0, 10, 3.0), (0, 0, 15, np.nan), (0, 0, 20, 2.0), (1, 0, 10, 5.0), (1, 0, 20, np.inf)])
    found = curves.curves(table, trials([(0, 0, "complete", 20, 2.0), (1, 0, "complete", 20, 4.0)]))
    assert found[["fresh_examples", "mean"]].to_numpy().tolist() == [[10, 4], [20, 3.5]]


def test_curves_are_of_the_winning_trials_alone():
    table = measurements([(0, 0, 10, 3.0), (0, 0, 20, 2.0), (0, 1, 10, 9.0), (1, 0, 10, 5.0), (1, 0, 20, 4.0)])
    found = curves.curves(table, trials([(0, 0, "complete", 20, 2.0), (1, 0, "complete", 20, 4.0)]))
    assert found[["fresh_examples", "mean", "deviation", "winners"]].to_numpy().tolist() == [
        [10, 4, 1, 2],
        [20, 3, 1, 2],
    ]
    line = curves.draw(found, studies()).axes[0].lines[0]
    assert line.get_ydata().tolist() == [4, 3]


def test_space_tells_what_became_of_each_trial():
    assert space.kinds(trials(ROWS)).tolist() == [
        "reached",
        "not reached or stopped",
        "infeasible",
        "reached",
        "not reached or stopped",
        "reached",
    ]
    ax = space.draw_study(plt.figure().subplots(), trials(ROWS), studies().iloc[0], reach.winners(trials(ROWS)))
    assert [len(points.get_offsets()) for points in ax.collections] == [1, 2, 3, 2]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0.01, 0.01, 1, 1, 0.01])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.1, 0.001, 0.001, 0.1, 0.1])


@pytest.mark.parametrize(
    ("workload", "better", "worse"), [("transformer_lm1b", 3.8009, 3.8011), ("resnet50_imagenet", 0.7657, 0.7655)]
)
def test_claims_about_final_quality_can_fail(workload, better, worse):
    bars = paper.bars(8)
    of_batch = (bars["workload"] == workload) & (bars["variant"] == "batch")
    for value, verdict in ((better, "holds"), (worse, "does not hold")):
        changed = bars.assign(mean_best_value=bars["mean_best_value"].where(~of_batch, value))
        table = claims.check(figure8.claims(), bars, changed, "", column="mean_best_value")
        printed = table[table["claim"].str.contains("batch") & (table["workload"] == plots.WORKLOADS[workload])]
        assert printed["verdict"].tolist() == [verdict]


@pytest.mark.parametrize(
    ("figure", "claim", "means"),
    [
        (figure5, "larger batch, e = 2 / e = 16", {2: 99, 4: 100, 8: 101, 16: 102}),
        (figure6, "batch echoing / baseline, largest batch", {64: 80.0, 256: 81.5, 1024: 83.0, 4096: 84.5}),
    ],
)
def test_slack_does_not_add_up_to_the_opposite_of_a_claim(figure, claim, means):
    rows = []
    if figure is figure5:
        for size in (32, 128):
            rows += [("baseline", 1, size, 100, 0, 97), *(("example", e, size, 100, 0, m) for e, m in means.items())]
    else:
        for size, mean in means.items():
            rows += [("baseline", 1, size, 100, 0, 100), ("batch", 2, size, 100, 0, mean)]
    table = claims.check(figure.claims(), paper.bars(figure.ANALYSIS.number), bars(*rows), "")
    printed = table[table["claim"].str.contains(claim) & (table["workload"] == "Transformer on LM1B")]
    assert printed["verdict"].tolist() == ["does not hold"]


def test_verdicts_are_those_of_the_interval():
    ours = bars(("baseline", 1, 32, 100, 0, 100), ("batch", 2, 32, 100, 0, 60), ("example", 2, 32, 100, 0, 99))
    editions = np.linspace(0.9, 1.1, 101)
    drawn = np.array([np.full(101, 100.0), 60 * editions, 99 * editions])
    table = claims.check(
        claims.figure3(), paper.bars(3), ours, "command", drawn={"mean_fresh_examples": drawn}
    ).set_index(["figure", "claim"])
    printed = table.loc[[("3a", "batch echoing / baseline"), ("3a", "example echoing / baseline")]]
    assert printed["ours"].tolist() == ["0.600", "0.990"]
    assert printed["95 %"].tolist() == ["0.543 to 0.657", "0.896 to 1.084"]
    assert printed["verdict"].tolist() == ["holds", "undecided"]
    assert printed["holds if"].tolist() == ["below 1", "below 1"]
    order = next(row for name, row in table.loc["3a"].iterrows() if name.startswith("the earlier the echo"))
    assert order["verdict"] == "does not hold"
    assert table.loc[("3c", "batch echoing / baseline"), "verdict"] == "not run"


@pytest.mark.parametrize(
    ("wanted", "inside", "across", "outside"),
    [
        (claims.below(1), (0.5, 0.99), (0.5, 1.0), (1.0, 2.0)),
        (claims.at_most(1), (0.5, 1.0), (0.5, 1.1), (1.1, 2.0)),
        (claims.above(1), (1.01, 2.0), (1.0, 2.0), (0.5, 1.0)),
        (claims.at_least(1), (1.0, 2.0), (0.9, 2.0), (0.5, 0.9)),
        (claims.between(0.9, 1.1), (0.9, 1.1), (0.8, 1.2), (1.2, 1.3)),
    ],
)
def test_an_interval_on_both_sides_decides_nothing(wanted, inside, across, outside):
    claim = claims.Claim(
        "3a", "transformer_lm1b", "text", lambda found: [found.mean("transformer_lm1b", "batch")], wanted
    )
    for ends, verdict in ((inside, "holds"), (across, "undecided"), (outside, "does not hold")):
        drawn = {"mean_fresh_examples": np.array([np.repeat(ends, 50)])}
        ours = bars(("batch", 2, 32, 100, 0, 1.0))
        assert claims.check([claim], ours, ours, "", drawn=drawn)["verdict"].tolist() == [verdict]
