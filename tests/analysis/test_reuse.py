import numpy as np
import pandas as pd
import pytest

from analysis import reuse
from experiments.protocol import tables


def bar(variant, e, fresh, batch=32, buffer=100, reached=5):
    sizes = {"batch_size": batch, "shuffle_buffer": buffer, "repeated_batch_buffer": 0}
    counts = {"searches": 5, "reached": reached}
    return {
        "workload": "transformer_lm1b",
        "variant": variant,
        "echo_factor": e,
        "mean_fresh_examples": fresh,
        **sizes,
        **counts,
    }


def test_a_bar_is_compared_with_the_baseline_of_its_batch_and_if_there_is_one_its_buffer():
    bars = [
        bar("baseline", 1, 100.0),
        bar("baseline", 1, 80.0, buffer=10),
        bar("example", 2, 50.0),
        bar("example", 2, 50.0, buffer=10),
        bar("example", 4, 25.0, buffer=1000),
        bar("example", 2, 50.0, batch=8),
        bar("batch", 2, 90.0, reached=4),
    ]
    found = reuse.points(pd.DataFrame(bars), "small")
    assert found["speedup"].tolist() == [2.0, 1.6, 4.0]


@pytest.mark.parametrize("name", reuse.FORMS)
def test_a_form_is_found_again_and_only_it_fits(name):
    form, e = reuse.FORMS[name], np.array([2.0, 3.0, 4.0, 8.0, 16.0])
    speedup = form.speedup(e, 0.8)
    assert reuse.fitted(form, e, speedup) == pytest.approx(0.8, abs=1e-4)
    setting = dict.fromkeys(reuse.SETTING, 0)
    table = reuse.fits(pd.DataFrame([setting | {"e": a, "speedup": b} for a, b in zip(e, speedup, strict=True)]))
    assert reuse.best(table) == name
    errors = table.set_index("form")["left_out"]
    assert errors[name] == pytest.approx(0, abs=1e-4)
    assert (errors.drop(name) > 0.03).all()


def test_the_advisors_expectation_from_two_is_set_against_what_was_found():
    setting = dict.fromkeys(reuse.SETTING, 0)
    points = [(2.0, 1.8), (4.0, 1 + 0.8 + 0.8**2 + 0.8**3), (8.0, 1.8)]
    rows = reuse.beyond_two(pd.DataFrame([setting | {"e": e, "speedup": speedup} for e, speedup in points]))
    assert rows["e"].tolist() == [4.0, 8.0]
    assert rows["law"][0] == pytest.approx(1, rel=1e-3)
    assert rows["stays"][1] == pytest.approx(1)
    assert rows["law"][1] == rows["worst"][1] == pytest.approx((1 - 0.8**8) / 0.2 / 1.8, rel=1e-3)


def test_two_factors_are_not_fitted():
    setting = dict.fromkeys(reuse.SETTING, 0)
    assert reuse.fits(pd.DataFrame([setting | {"e": e, "speedup": e} for e in (2.0, 3.0)])).empty


def test_a_copy_of_no_worth_saves_nothing_and_a_perfect_one_e_times():
    for form in reuse.FORMS.values():
        low, high = form.range
        assert form.speedup(np.array([4.0]), low)[0] == pytest.approx(1)
        assert form.speedup(np.array([4.0]), min(high, 1.0))[0] == pytest.approx(4, rel=1e-3)


def test_the_papers_results_and_ours_are_fitted():
    fit = reuse.fits(reuse.found(tables.RESULTS, "small"))
    assert set(fit["source"]) == {"published", "small"}
    assert (fit["residual"] <= fit["left_out"]).all()
