import itertools
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from pipelines.echoing import adaptive
from pipelines.echoing.adaptive import AdaptiveEcho
from pipelines.echoing.tfdata import AdaptiveEcho as TensorAdaptiveEcho
from pipelines.echoing.tfdata.datasets import iterating


class Script:
    """A reader for which each request says whether upstream was ready: `+` ready, `-` not."""

    def __init__(self, plan):
        self._plan, self._next, self._ready, self.waited, self.stopped = iter(plan), 0, False, 0, False

    def __call__(self, items, size, count):
        return self

    def ready(self):
        self._ready = next(self._plan, None) == "+"
        return self._ready

    def wait(self):
        self.waited += not self._ready
        self._ready = False
        self._next += 1
        return self._next

    def stop(self):
        self.stopped = True


def play(monkeypatch, plan, count, **settings):
    """The first `count` items given, and the stage and reader that gave them."""
    script = Script(plan)
    monkeypatch.setattr(adaptive, "Reader", script)
    stage = AdaptiveEcho(**settings)
    items = stage.echo([])
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
    assert [runs.tolist() for runs in stage.log] == [[[3, 2], [1, 1]]]


def test_no_item_is_given_more_often_than_most_then_the_stage_waits(monkeypatch):
    given, stage, script = play(monkeypatch, "-" * 100, 30, most=3)
    assert given == [i for i in range(1, 11) for _ in range(3)]
    assert script.waited == 10
    assert stage.factor == 3


def test_the_realised_factor_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(adaptive, "LOG_EVERY", 2)
    with caplog.at_level("INFO", logger="pipelines.echoing.adaptive"):
        play(monkeypatch, "++--+", 5, most=3)
    printed = [record.getMessage() for record in caplog.records]
    assert printed == [
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


def stalling(count, every=7, seconds=0.02):
    """Items that come at once, except that upstream stands still now and then."""
    for number in range(count):
        if number % every == every - 1:
            time.sleep(seconds)
        yield number


def trained(items):
    """What a step of 2 ms gets."""
    given = []
    for item in items:
        given.append(int(item))
        time.sleep(0.002)
    return given


def test_any_iterable_is_repeated_exactly_from_its_log():
    stage, again = AdaptiveEcho(3), AdaptiveEcho(3)
    first = [trained(stage.echo(stalling(60))) for _ in range(2)]
    assert stage.echoed_items > 0
    assert [list(again.replay(range(60), stage.log)) for _ in range(2)] == first
    assert (again.read_items, again.fresh_items, again.echoed_items) == (120, 120, stage.echoed_items)


@pytest.mark.parametrize("kill_at", range(0, 60, 3))
def test_a_killed_run_goes_on_with_what_would_have_come(monkeypatch, kill_at):
    """The log reaches further than what training had, by what waited in buffers: those items come as well."""
    plan = "".join(np.random.default_rng(kill_at).choice(["+", "-"], 100))
    given, stage, _ = play(monkeypatch, plan, 60, most=4, memory=3)
    monkeypatch.undo()
    resumed = itertools.islice(AdaptiveEcho(4, memory=3).replay(itertools.count(1), stage.log), kill_at, 60)
    assert list(resumed) == given[kill_at:]


def test_a_replay_goes_on_by_the_clock_where_the_log_ends():
    assert list(AdaptiveEcho(1).replay(range(5), [np.array([[2, 0]])])) == list(range(5))


@pytest.mark.parametrize("log", [[[5, 0]], [[1, 2]], [[0, 1]], [[3, 0], [0, 0]]])
def test_a_log_that_does_not_fit_is_an_error(log):
    with pytest.raises(ValueError, match="log does not fit"):
        list(AdaptiveEcho(2).replay(range(4), [np.array(log)]))


def test_an_iterables_error_comes_as_it_is():
    def items():
        yield 1
        raise FileNotFoundError("the disk is gone")

    given = AdaptiveEcho(1).echo(items())
    assert next(given) == 1
    with pytest.raises(FileNotFoundError, match="the disk is gone"):
        next(given)


def test_items_may_be_any_object():
    things = [ValueError("an item"), None, {"a": np.zeros(2)}, "text"]
    assert list(AdaptiveEcho(1).echo(things)) == things


def test_the_core_needs_neither_tensorflow_nor_jax():
    with open(adaptive.__file__) as module:
        imported = [line for line in module if line.startswith(("import", "from"))]
    assert not [line for line in imported if "tensorflow" in line or "jax" in line]


def test_every_item_comes_and_counts_are_exact():
    stage = TensorAdaptiveEcho(3)
    batches = stage.echo(tf.data.Dataset.range(200).map(lambda i: {"index": i}).batch(5))
    with iterating(batches) as iterator:
        given = [batch["index"] for batch in iterator]
    first, copies = np.unique([batch[0] for batch in given], return_counts=True)
    np.testing.assert_array_equal(first, np.arange(0, 200, 5))
    assert copies.max() <= 3
    assert (stage.read_items, stage.fresh_items, stage.echoed_items) == (40, 40, len(given) - 40)


KINDS = {
    "nested": lambda i: {"a": (i, {"b": tf.fill([2], i)})},
    "ragged": lambda i: tf.RaggedTensor.from_row_lengths(tf.range(i + 1), [1, i]),
    "sparse": lambda i: (tf.sparse.from_dense([0, i]), i),
    "none": lambda i: (i, i + 1, None),
    "strings of unknown shape": lambda i: tf.strings.as_string(tf.range(i)),
    "optional": lambda i: tf.experimental.Optional.from_value(i),
    "dataset": lambda i: (i, tf.data.Dataset.range(i)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_in_comes_out(kind):
    upstream = tf.data.Dataset.range(12).map(KINDS[kind])
    echoed = TensorAdaptiveEcho(1).echo(upstream)
    assert echoed.element_spec == upstream.element_spec
    assert [plain(item) for item in echoed] == [plain(item) for item in upstream]


def plain(item):
    """An item as plain Python."""
    if isinstance(item, dict):
        return {name: plain(part) for name, part in item.items()}
    if isinstance(item, tuple):
        return [plain(part) for part in item]
    if isinstance(item, tf.SparseTensor):
        return plain(tf.sparse.to_dense(item))
    if isinstance(item, tf.RaggedTensor):
        return item.to_list()
    if isinstance(item, tf.experimental.Optional):
        return plain(item.get_value())
    if isinstance(item, tf.data.Dataset):
        return [plain(part) for part in item]
    return item if item is None else item.numpy().tolist()


@pytest.mark.parametrize("kind", ["ragged", "none"])
def test_copies_of_any_kind_are_the_items(kind):
    upstream = tf.data.Dataset.range(4).map(KINDS[kind])
    log = [np.array([[2, 1], [1, 3], [1, 0]])]
    given = [plain(item) for item in TensorAdaptiveEcho(3).replay(upstream, log).take(8)]
    fresh = [plain(item) for item in upstream]
    assert given == [fresh[i] for i in (0, 1, 0, 2, 1, 0, 2, 3)]


def test_a_dataset_is_repeated_exactly_from_its_log():
    upstream = tf.data.Dataset.from_generator(lambda: stalling(40), output_signature=tf.TensorSpec([], tf.int64))
    stage = TensorAdaptiveEcho(4)
    with iterating(stage.echo(upstream).repeat(2)) as items:
        first = trained(items)
    assert stage.echoed_items > 0
    again = TensorAdaptiveEcho(4).replay(tf.data.Dataset.range(40), stage.log).repeat(2)
    assert [int(item) for item in again] == first
    assert [int(item) for item in TensorAdaptiveEcho(4).replay(upstream, stage.log).skip(25).take(9)] == first[25:34]


def test_options_in_front_of_the_stage_and_behind_it_stay():
    mine, late = tf.data.Options(), tf.data.Options()
    mine.deterministic = False
    mine.autotune.enabled = True
    mine.threading.private_threadpool_size = 3
    late.experimental_slack = True
    echoed = TensorAdaptiveEcho(2).echo(tf.data.Dataset.range(8).with_options(mine))
    assert echoed.options() == mine
    behind = echoed.with_options(late).options()
    assert (behind.deterministic, behind.threading.private_threadpool_size, behind.experimental_slack) == (
        False,
        3,
        True,
    )
    assert TensorAdaptiveEcho(2).echo(tf.data.Dataset.range(8)).options() == tf.data.Options()


def test_an_error_upstream_keeps_its_type():
    with pytest.raises(tf.errors.NotFoundError):
        list(TensorAdaptiveEcho(1).echo(tf.data.TextLineDataset(["/nowhere/at/all"])))


@pytest.mark.parametrize("most", [1, 3])
def test_a_damaged_item_costs_itself_only(most):
    def check(i):
        with tf.control_dependencies([tf.debugging.assert_none_equal(i % 10, tf.constant(0, tf.int64))]):
            return tf.identity(i)

    with iterating(TensorAdaptiveEcho(most).echo(tf.data.Dataset.range(100).map(check)).ignore_errors()) as items:
        assert {int(item) for item in items} == {i for i in range(100) if i % 10}


def test_what_was_read_ahead_is_counted_and_nothing_more_is_read():
    read = []
    upstream = tf.data.Dataset.range(100).map(lambda i: tf.numpy_function(lambda n: read.append(n) or n, [i], tf.int64))
    stage = TensorAdaptiveEcho(1, read_ahead=4)
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    options.experimental_optimization.map_parallelization = False
    echoed = stage.echo(upstream.map(lambda i: tf.ensure_shape(i, []))).with_options(options)
    with iterating(echoed) as items:
        assert [next(items) for _ in range(6)] == list(range(6))
        time.sleep(0.3)
    assert stage.fresh_items == 6
    assert stage.read_items <= 6 + 4 + 1


def test_each_iteration_fills_its_buffers():
    stage = TensorAdaptiveEcho(5, fill=8)
    items = stage.echo(tf.data.Dataset.range(8))
    for _ in range(2):
        with iterating(items) as iterator:
            assert [next(iterator) for _ in range(8)] == list(range(8))


def test_a_stalled_upstream_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr("pipelines.echoing.reading.STOP_SECONDS", 0.1)
    stalled = threading.Event()

    def items():
        yield 1
        stalled.wait(20)

    started = time.monotonic()
    given = AdaptiveEcho(1).echo(items())
    next(given)
    given.close()
    assert time.monotonic() - started < 10
    stalled.set()


def test_the_reading_thread_ends_with_the_iterator():
    before = set(threading.enumerate())
    given = AdaptiveEcho(2).echo(itertools.count())
    next(given)
    (reader,) = set(threading.enumerate()) - before
    given.close()
    assert not reader.is_alive()


@pytest.mark.parametrize("stage", [AdaptiveEcho, TensorAdaptiveEcho])
@pytest.mark.parametrize("name", ["most", "memory", "read_ahead", "fill"])
@pytest.mark.parametrize("value", [-1, 2.5, float("nan"), float("inf"), True, "3", None])
def test_bad_settings_are_named(stage, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be a whole number >= "):
        stage(**({"most": 2} | {name: value}))
