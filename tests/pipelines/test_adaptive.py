import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from pipelines.echoing.tfdata import adaptive
from pipelines.echoing.tfdata.adaptive import AdaptiveEcho
from pipelines.echoing.tfdata.datasets import iterating


class Script:
    """A reader for which each request says whether upstream was ready: `+` ready, `-` not."""

    def __init__(self, plan):
        self._plan, self._next, self.waited, self.stopped = iter(plan), 0, 0, False

    def __call__(self, dataset, size, count):
        return self

    def ready(self):
        return self.wait(0) if next(self._plan, None) == "+" else None

    def wait(self, waited=1):
        self.waited += waited
        self._next += 1
        return self._next

    def stop(self):
        self.stopped = True


def play(monkeypatch, plan, count, **settings):
    """The first `count` items given, and the stage and reader that gave them."""
    script = Script(plan)
    monkeypatch.setattr(adaptive, "_Reader", script)
    stage = AdaptiveEcho(**settings)
    items = stage._items(tf.data.Dataset.range(0))
    given = [next(items) for _ in range(count)]
    items.close()
    assert script.stopped
    return given, stage, script


def test_echoes_nothing_while_upstream_keeps_up(monkeypatch):
    given, stage, _ = play(monkeypatch, "+" * 20, 20, most=3)
    assert given == list(range(1, 21))
    assert (stage.fresh_items, stage.echoed_items, stage.factor) == (20, 0, 1.0)


def test_echoes_the_item_given_longest_ago_while_upstream_is_behind(monkeypatch):
    given, stage, _ = play(monkeypatch, "++--+-", 7, most=3)
    assert given == [1, 2, 3, 1, 2, 4, 3]
    assert (stage.fresh_items, stage.echoed_items) == (4, 3)
    assert stage.factor == pytest.approx(7 / 4)


def test_no_item_is_given_more_often_than_most_then_the_stage_waits(monkeypatch):
    given, stage, script = play(monkeypatch, "-" * 100, 30, most=3)
    assert given == [i for i in range(1, 11) for _ in range(3)]
    assert script.waited == 10
    assert stage.factor == 3


def test_the_realised_factor_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(adaptive, "LOG_EVERY", 2)
    with caplog.at_level("INFO", logger="pipelines.echoing.tfdata.adaptive"):
        play(monkeypatch, "++--+", 5, most=3)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "adaptive echo: factor 1.000 over 2 fresh items",
        "adaptive echo: factor 1.667 over 3 fresh items",
    ]


def test_only_the_last_items_are_kept(monkeypatch):
    given, _, script = play(monkeypatch, "+++--", 7, most=2, memory=2)
    assert given == [1, 2, 3, 4, 3, 4, 5]
    assert script.waited == 2


def test_nothing_is_echoed_while_buffers_fill(monkeypatch):
    given, stage, script = play(monkeypatch, "-" * 10, 6, most=2, fill=4)
    assert given == [1, 2, 3, 4, 1, 2]
    assert script.waited == 4
    assert stage.fresh_items == 4


def test_most_of_one_never_echoes(monkeypatch):
    given, stage, _ = play(monkeypatch, "-" * 10, 10, most=1)
    assert given == list(range(1, 11))
    assert stage.echoed_items == 0


def test_every_item_comes_and_counts_are_exact():
    stage = AdaptiveEcho(3)
    batches = stage.echo(tf.data.Dataset.range(200).map(lambda i: {"index": i}).batch(5))
    with iterating(batches) as iterator:
        given = [batch["index"] for batch in iterator]
    first, copies = np.unique([batch[0] for batch in given], return_counts=True)
    np.testing.assert_array_equal(first, np.arange(0, 200, 5))
    assert copies.max() <= 3
    assert (stage.read_items, stage.fresh_items, stage.echoed_items) == (40, 40, len(given) - 40)


def test_what_was_read_ahead_is_counted_and_nothing_more_is_read():
    read = []
    upstream = tf.data.Dataset.range(100).map(lambda i: tf.numpy_function(lambda n: read.append(n) or n, [i], tf.int64))
    stage = AdaptiveEcho(1, read_ahead=4)
    with iterating(stage.echo(upstream.map(lambda i: tf.ensure_shape(i, [])))) as items:
        assert [next(items) for _ in range(6)] == list(range(6))
        time.sleep(0.3)
    assert stage.fresh_items == 6
    assert stage.read_items <= 6 + 4 + 1
    assert len(read) <= stage.read_items + 1


def test_each_iteration_fills_its_buffers():
    stage = AdaptiveEcho(5, fill=8)
    items = stage.echo(tf.data.Dataset.range(8))
    for _ in range(2):
        with iterating(items) as iterator:
            assert [next(iterator) for _ in range(8)] == list(range(8))


def test_a_stalled_upstream_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr(adaptive, "STOP_SECONDS", 0.1)
    stalled = threading.Event()

    def items():
        yield 1
        stalled.wait(20)

    upstream = tf.data.Dataset.from_generator(items, output_signature=tf.TensorSpec([], tf.int64))
    started = time.monotonic()
    with iterating(AdaptiveEcho(1).echo(upstream)) as iterator:
        next(iterator)
    assert time.monotonic() - started < 10
    stalled.set()


def test_an_error_upstream_reaches_the_reader():
    def items():
        yield 1
        raise RuntimeError("the disk is gone")

    broken = tf.data.Dataset.from_generator(items, output_signature=tf.TensorSpec([], tf.int64))
    with iterating(AdaptiveEcho(1).echo(broken)) as iterator:
        assert next(iterator) == 1
        with pytest.raises(tf.errors.OpError, match="the disk is gone"):
            next(iterator)


def test_the_reading_thread_ends_with_the_iterator():
    before = threading.active_count()
    with iterating(AdaptiveEcho(2).echo(tf.data.Dataset.range(10**6))) as iterator:
        next(iterator)
        assert threading.active_count() > before
    assert threading.active_count() == before


@pytest.mark.parametrize(("name", "value"), [("most", 0), ("memory", 0), ("read_ahead", 0), ("fill", -1)])
def test_bad_settings_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        AdaptiveEcho(**({"most": 2} | {name: value}))
