"""Advice for loaders in Python, on a clock that only what is timed moves."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipelines.echoing import prefetch
from pipelines.echoing.advice import Pipeline, advise, confirm, worth
from pipelines.echoing.advice import timing as timing_module
from pipelines.echoing.advice.advise import choose, round_down
from pipelines.echoing.advice.loaders import Batches, as_loader, endless, stack
from pipelines.echoing.advice.timing import PipelineEnded, Seconds, Timing, seconds_per_batch, step_seconds
from pipelines.echoing.advice.worth import Worth

ROOT = Path(__file__).parents[2]
KNOWN = [
    Worth("paper", "a", "example", 2.0, 0.5),
    Worth("paper", "a", "example", 4.0, 0.3),
    Worth("paper", "a", "batch", 2.0, 0.7),
]


def seconds(mean):
    return Seconds(mean, mean, mean)


def timing(upstream, downstream):
    return Timing(seconds(upstream), seconds(downstream))


def chosen(place, upstream, downstream, known=KNOWN, epochs=None):
    return choose(place, timing(upstream, downstream), max(upstream, downstream), known, epochs)


class Clock:
    """`time` for what is timed: stands still but for what is spent."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(timing_module.time, "perf_counter", lambda: self.now)

    def spend(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    for loader in (Batches, Pipeline):  # a thread of theirs would spend time at any moment
        monkeypatch.setattr(loader, "remedies", lambda self: {})
    return Clock(monkeypatch)


def quietly(*arguments, **named):
    return advise(*arguments, progress=lambda line: None, **named)


def batches(clock, cost, count=50):
    def read():
        for number in range(count):
            clock.spend(cost)
            yield {"x": np.full((4, 2), number)}

    return read


def test_rounds_have_equal_length_and_the_first_does_not_count(clock):
    costs = iter([10.0] + [0.5, 1.5] * 50)
    found = seconds_per_batch(range(100), lambda batch: clock.spend(next(costs)), 4.0, 3)
    assert found == Seconds(1.0, 1.0, 1.0)


def test_slow_batches_are_not_timed_for_ever(clock):
    taken = []
    seconds_per_batch(range(100), lambda batch: (clock.spend(11.0), taken.append(batch)), 0.5, 50)
    assert len(taken) == 2


def test_ratio_and_its_range():
    times = Timing(Seconds(6, 5, 8), Seconds(2, 1, 4))
    assert (times.ratio, times.ratio_range) == (3, (5 / 4, 8))


def test_steps_may_write_into_their_batch_and_the_copy_is_not_timed(clock):
    held, seen = [{"x": np.zeros(3)}], []

    def step(batch):
        seen.append(batch["x"].sum())
        batch["x"] += 1
        clock.spend(2.0)

    assert step_seconds(iter(held * 9), step, 1.0, 2) == seconds(2.0)
    assert seen == [0.0] * 3


def test_arrays_that_a_step_returns_are_waited_for(clock):
    class Pending:
        def block_until_ready(self):
            clock.spend(3.0)

    found = seconds_per_batch(range(9), lambda batch: {"loss": [Pending()], "n": (1, None)}, 1.0, 2)
    assert found == seconds(3.0)


def test_a_loader_is_iterated_again_and_an_iterator_that_has_ended_is_an_error():
    again = endless(lambda: [1, 2])
    assert [next(again) for _ in range(5)] == [1, 2, 1, 2, 1]
    once = iter([1, 2])
    with pytest.raises(PipelineEnded, match="a function that makes it anew"):
        list(endless(lambda: once))
    with pytest.raises(PipelineEnded):
        quietly((np.zeros(2) for _ in range(3)), lambda batch: None)


@pytest.mark.parametrize("loader", [3, None])
def test_what_cannot_be_read_is_refused(loader):
    with pytest.raises(TypeError, match="iterable of batches"):
        as_loader(loader)


def test_a_loader_of_known_length():
    assert as_loader([1, 2, 3]).length == 3
    assert as_loader(lambda: [1, 2, 3]).length is None


@pytest.mark.parametrize(
    ("upstream", "factor"), [(0.5, 1.0), (1.05, 1.0), (1.58, 1.5), (3.99, 3.9), (4.0, 4.0), (7.9, 7.0)]
)
def test_the_factor_is_the_ratio_and_one_where_echoing_cannot_pay(upstream, factor):
    choice = chosen("example", upstream, 1.0, known=[])
    assert choice.echo_factor == factor
    assert choice.promise == pytest.approx(factor)  # as if copies were fresh, where nothing is known


def test_rounding_goes_down():
    assert [round_down(e) for e in (1.19, 2.0, 3.3, 4.9, 12.0)] == [1.1, 2.0, 3.3, 4.0, 12.0]


def test_likely_speedups_follow_from_results_at_the_factor():
    assert chosen("example", 4.0, 1.0).likely == ((KNOWN[1], pytest.approx(1 / 0.3)),)
    ((between, speedup),) = chosen("example", 1.5, 1.0).likely
    assert (between.echo_factor, between.share) == (1.5, pytest.approx(1 / 1.5))  # at e = 2 echoed data are as fresh
    assert speedup == pytest.approx(1.5)


def test_beyond_the_factors_tried_copies_are_worth_less_and_less():
    (found,) = worth.at([Worth("ours", "a", "example", 2.0, 1 / 1.8)], "example", 4.0)
    assert (found.echo_factor, found.tried) == (4, 2)
    assert 1 / found.share == pytest.approx(1 + 0.8 + 0.8**2 + 0.8**3, rel=1e-3)
    for share, expected in ((1.05, 1.05), (0.5, 0.25), (0.4, 0.2)):  # useless copies, perfect ones, better ones
        assert worth.beyond(share, 2.0, 4.0) == pytest.approx(expected, rel=1e-3)


def test_sides_that_take_turns_gain_less():
    """Without reading ahead a step takes 4 + 1; with e = 4 each of four takes 4 / 4 + 1 instead of max(4 / 4, 1)."""
    in_turns = choose("example", timing(4.0, 1.0), 5.0, [])
    assert in_turns.step_seconds == pytest.approx(2.0)
    half_hidden = choose("example", timing(4.0, 1.0), 4.5, [])
    assert half_hidden.step_seconds == pytest.approx(1.5)
    assert chosen("example", 4.0, 1.0, known=[]).step_seconds == pytest.approx(1.0)


def test_the_ceiling_is_the_lowest_of_the_results_that_go_on():
    falling = Worth("ours", "a", "example", 16.0, 0.1)
    rising = [Worth("paper", "b", "example", 2.0, 0.5), Worth("paper", "b", "example", 8.0, 0.6)]
    assert worth.ceiling(KNOWN, "example") == 4
    assert worth.ceiling([falling], "example") == 16
    assert worth.ceiling([*KNOWN, falling], "example") == 4
    assert worth.ceiling([*KNOWN, *rising], "example") == 2
    assert worth.ceiling(KNOWN, "batch") == 2
    assert worth.ceiling(KNOWN, "example_after_augmentation") == np.inf


def test_the_committed_results_have_the_ceiling_of_the_papers_figure_5():
    found = {place: worth.ceiling(worth.load(), place) for place in ("example", "example_before_augmentation", "batch")}
    assert found == {"example": 4, "example_before_augmentation": 5, "batch": 2}


def test_no_epoch_of_fresh_data_is_cut_short():
    """Of two epochs a share of 0.3 would leave 0.6: a part of the data set is never read."""
    assert chosen("example", 4.0, 1.0, epochs=10).echo_factor == 4
    assert 1 < chosen("example", 4.0, 1.0, epochs=2).echo_factor <= 2
    assert chosen("example", 4.0, 1.0, epochs=1).echo_factor == 4  # nothing is read twice as it is


def test_advice_where_reading_is_slow(clock):
    advice = quietly(batches(clock, 4.0), lambda batch: clock.spend(1.0), known=KNOWN, epochs=10)
    assert (advice.now.mean, advice.read.mean, advice.step.mean) == (5.0, 4.0, 1.0)
    assert advice.ratio == 4
    assert advice.best.place == "batch"
    assert advice.best.echo_factor == 2  # the only one that is known
    assert advice.best.free_factor == 4
    printed = str(advice)
    assert printed.startswith("Reading is the bottleneck: a batch takes 4000 ms to read and 1000 ms to train")
    for said in ("echo(loader, 2, seed=0)", "waits 80% of its time", "e = 4 would cost no time", "2 times as long"):
        assert said in " ".join(printed.split())
    assert "7.0 to 7.0 are read" in printed


def test_advice_where_the_step_is_slow(clock):
    advice = quietly(batches(clock, 0.01), lambda batch: clock.spend(1.0), known=KNOWN)
    assert advice.best is None
    assert str(advice).startswith("Do not echo: the SGD step is the bottleneck.")
    assert "What to do" not in str(advice)
    with pytest.raises(ValueError, match="not to echo"):
        confirm(batches(clock, 0.01), lambda batch: None, advice)


def test_advice_where_echoed_data_were_of_no_use(clock):
    useless = [Worth("paper", "a", "batch", 2.0, 1.05)]
    advice = quietly(batches(clock, 4.0), lambda batch: clock.spend(1.0), known=useless)
    assert advice.best is None
    assert "at no place would echoing pay" in str(advice)


def test_an_alternative_that_is_enough_comes_first(clock):
    faster = {"eight readers: readers=8": batches(clock, 0.05)}
    advice = quietly(batches(clock, 4.0), lambda batch: clock.spend(1.0), alternatives=faster, known=KNOWN)
    assert advice.remedy.what == "eight readers: readers=8"
    assert advice.best is None
    assert "Eight readers (4.76 times as many steps a second, timed); that is enough, do not echo." in " ".join(
        str(advice).split()
    )


def test_a_data_set_that_fits_into_memory_may_be_cached(clock):
    class Loader:
        def __iter__(self):
            return iter(batches(clock, 4.0, count=10)())

        def __len__(self):
            return 10

    advice = quietly(Loader(), lambda batch: clock.spend(1.0), known=KNOWN)
    assert advice.cached.bytes == 10 * 4 * 2 * 8
    assert "The data set takes 640 B" in " ".join(str(advice).split())
    assert "(10 batches become 20)" in " ".join(str(advice).split())


def test_a_step_as_fast_as_nothing_and_batches_of_any_kind():
    """Ragged lists, strings, objects: nothing is assumed of a batch."""
    loader = [([1, 2, 3], "text", {"y": None}), ([4], "more", {"y": object()})]
    assert quietly(loader, lambda batch: None, seconds=0.001, rounds=1).read.mean > 0


def test_advice_as_json(clock):
    advice = quietly(batches(clock, 4.0), lambda batch: clock.spend(1.0), known=KNOWN)
    found = json.loads(advice.to_json())
    assert found["summary"].startswith("Reading is the bottleneck")
    assert found["ratio"] == 4
    assert found["choices"][found["best"]]["echo_factor"] == 2
    assert found["choices"][0]["likely"][0][0]["share"] == 0.7


def pipeline(clock=None, **changes):
    def read(number):
        if clock:
            clock.spend(1.0)
        return {"x": np.full(3, number), "y": number}

    def augment(example):
        if clock:
            clock.spend(0.5)
        return {"x": -example["x"], "y": example["y"]}

    return Pipeline(range(40), 4, **{"read": read, "augment": augment, "buffer": 8, **changes})


def test_a_pipeline_of_named_stages_gives_batches():
    batch = next(iter(pipeline().batches()))
    assert (batch["x"].shape, batch["y"].shape) == ((4, 3), (4,))
    assert set(batch["x"][:, 0]) == set(-batch["y"]) and set(batch["y"].tolist()) < set(range(12))
    assert pipeline().length == 10
    assert pipeline(augment=None).places == ("example", "batch")


@pytest.mark.parametrize("place", ["example_before_augmentation", "example_after_augmentation", "batch"])
def test_each_place_of_a_pipeline_echoes(place):
    echoed = iter(pipeline().echoed(place, 2))
    given = [number for _ in range(40) for number in next(echoed)["y"].tolist()]
    counts = np.bincount(given, minlength=40)
    assert counts.sum() == 160 and counts.min() >= 1 and counts.max() <= 6  # two epochs, but for what the buffer holds
    echoed.close() if hasattr(echoed, "close") else None


def test_the_sides_of_each_place(clock):
    """Of a batch of 4: reading takes 4, augmenting 2; the step 1."""
    step = lambda batch: clock.spend(1.0)  # noqa: E731
    found = quietly(pipeline(clock), step, known=[])
    sides = {
        choice.place: (choice.timing.upstream.mean, round(choice.timing.downstream.mean, 6)) for choice in found.choices
    }
    assert sides == {
        "example_before_augmentation": (4.0, 3.0),
        "example_after_augmentation": (6.0, 1.0),
        "batch": (6.0, 1.0),
    }
    assert found.now.mean == 7.0


def test_reading_in_threads_keeps_the_order():
    threads = pipeline(threads=4, ahead=True, augment=None, buffer=0)
    first = iter(threads.batches())
    assert [next(first)["y"].tolist() for _ in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_examples_are_stacked_in_their_structure():
    point = stack([((1, [2.0]), {"a": np.zeros(2)}), ((3, [4.0]), {"a": np.ones(2)})])
    assert point[0][0].tolist() == [1, 3] and point[0][1][0].tolist() == [2.0, 4.0]
    assert point[1]["a"].shape == (2, 2)


def test_reading_ahead_gives_the_same_items_and_their_errors():
    assert list(prefetch(range(5))) == list(range(5))
    assert len(prefetch([1, 2, 3])) == 3
    assert list(prefetch([])) == []
    twice = prefetch([1, 2])
    assert list(twice) == list(twice)

    def broken():
        yield 1
        raise SystemExit("no disk")

    items = iter(prefetch(broken()))
    assert next(items) == 1
    with pytest.raises(SystemExit, match="no disk"):
        next(items)


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_reading_ahead_refuses_sizes(size, error):
    with pytest.raises(error):
        prefetch([], size)


def test_reading_ahead_works_while_the_step_does():
    def slow():
        for number in range(5):
            time.sleep(0.04)
            yield number

    def used(items):
        started = time.monotonic()
        for _ in items:
            time.sleep(0.04)
        return time.monotonic() - started

    assert used(prefetch(slow())) < 0.85 * used(slow())


def test_batches_read_ahead_are_a_remedy():
    (ahead,) = Batches(lambda: [1, 2], 2).remedies().values()
    iterator = iter(ahead.batches())
    assert [next(iterator) for _ in range(3)] == [1, 2, 1]
    assert "prefetch(loader)" in ahead.code("batch", 2)


SLOW = """
import time
import numpy as np

def loader():
    for number in range(20):
        time.sleep(0.01)
        yield np.full(3, number)

def step(batch):
    time.sleep(0.004)
"""


@pytest.mark.slow
def test_the_command_runs_from_any_folder_without_tensorflow(tmp_path):
    (tmp_path / "mine.py").write_text(SLOW)
    command = [sys.executable, "-X", "importtime", "-m", "echoing.advice", "mine.py", "--json"]
    environment = {"PYTHONPATH": str(ROOT / "pipelines")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 2 < json.loads(done.stdout)["ratio"] < 3
    assert "tensorflow" not in done.stderr and "timing the step alone" in done.stderr
