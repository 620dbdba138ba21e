"""The report in a real browser: no request, no error, sliders that give the table's numbers, nothing that overflows."""

import shutil

import pytest

from analysis import figure4
from analysis.statistics import training_time
from experiments.protocol import tables

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium: apt-get install chromium"),
]

PAGE = (tables.RESULTS / "small" / "report.html").resolve().as_uri()
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture
def opened(browser):
    """Opens the page in a window of some width; what went wrong, or was asked for, is in `page.faults`."""

    def open_page(width=1280, **settings):
        page = browser.new_context(viewport={"width": width, "height": 900}, **settings).new_page()
        page.faults = []
        page.on("console", lambda said: page.faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda asked: page.faults.append(asked.url) if asked.url != PAGE else None)
        page.goto(PAGE)
        return page

    return open_page


def slide(page, name, value):
    page.locator(f"#{name}").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", str(value)
    )


def times(page):
    """Shown times by curve and e."""
    found = page.locator("#times > div").evaluate_all(
        "all => all.map(one => [one.querySelector('h4').textContent, one.dataset.best,"
        " [...one.querySelectorAll('text[data-e]')].map(text => [text.dataset.e, text.dataset.time])])"
    )
    return {name: (float(best), {float(e): float(time) for e, time in shown}) for name, best, shown in found}


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wrong_asked_for_or_too_wide(opened, width, scheme):
    page = opened(width, color_scheme=scheme)
    page.locator("summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not page.faults


@pytest.mark.parametrize("ratio", [1.0, 2.5, 6.0])
def test_sliders_give_the_numbers_of_figure_4(opened, ratio):
    page = opened()
    slide(page, "ratio", ratio)
    shown = times(page)
    for title, rows in (("the paper", figure4.published()[0]), ("ours, a small stand-in", _ours())):
        for workload, name in (
            ("transformer_lm1b", "Transformer on LM1B"),
            ("resnet50_imagenet", "ResNet-50 on ImageNet"),
        ):
            modelled = training_time.modelled(rows[rows["workload"] == workload], (ratio,))
            expected = dict(zip(modelled["echo_factor"], modelled["relative_time"], strict=True))
            best, found = shown[f"{name}, {title}"]
            assert found == pytest.approx(expected)
            assert expected[best] == min(expected.values())
    assert not page.faults


def _ours():
    return figure4.ours(tables.RESULTS, "small")[0]


def test_times_of_ones_own_give_r_and_keys_move_a_slider(opened):
    page = opened()
    slide(page, "upstream", 300)
    slide(page, "downstream", 150)
    assert page.locator("#ratio-value").text_content() == "2.00"
    page.locator("#echo").focus()
    before = page.locator("#answer").text_content()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#echo-value").text_content() == "3"
    assert "e = 3 the accelerator idles 0 %" in page.locator("#answer").text_content() != before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_assistive_technology_finds_its_way(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(color_scheme=scheme)
    page.locator("summary").first.click()
    found = axe.Axe().run(page).response["violations"]
    assert [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")] == []
