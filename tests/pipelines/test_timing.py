import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from read_counter import ReadCounter
from small_studies import tiny

from experiments.protocol import trial
from experiments.protocol.training import Training
from pipelines.echoing.advice.timing import model_seconds
from pipelines.echoing.tfdata import timing
from pipelines.echoing.tfdata.datasets import iterating
from pipelines.echoing.tfdata.loader import Pipeline
from pipelines.echoing.tfdata.runs import Run, Watch, drive
from pipelines.echoing.tfdata.stages import Stages, build, split
from pipelines.echoing.tfdata.timing import overlapping
from pipelines.sources.slow import Storage, slow


class Clock:
    """`time` for the module under test: stands still but for what `cost` says."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)

    def spend(self, seconds):
        self.now += seconds


def examples():
    return tf.data.Dataset.range(1000).map(lambda i: {"index": i}).repeat()


def test_the_model_of_the_paper():
    assert model_seconds(6, 1, 1, 10) == model_seconds(6, 1, 6, 10) == 60
    assert model_seconds(6, 1, 7, 10) == 70


def test_a_run_knows_its_waits(monkeypatch):
    clock = Clock(monkeypatch)
    run = drive(examples().batch(4), lambda batch: clock.spend(2.0), 5)
    assert (run.seconds, run.idle_seconds, run.fill_seconds, run.utilisation) == (10.0, 0.0, 0.0, 1.0)
    half = Run(0.0, np.array([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [8.0, 9.0]]))
    assert (half.fill_seconds, half.seconds, half.idle_seconds) == (3.0, 9.0, 2.0)
    assert half.utilisation == pytest.approx(4 / 6)


def test_a_pipeline_that_ends_early_is_an_error():
    with pytest.raises(ValueError, match="ended after 3 batches, 4 were wanted"):
        drive(tf.data.Dataset.range(12).batch(4), lambda batch: None, 4)


@pytest.mark.parametrize(
    "variant", ["baseline", "batch", "example", "example_after_augmentation", "example_before_augmentation"]
)
def test_both_halves_make_the_pipeline_and_reading_ahead_changes_nothing(variant):
    factor = 1 if variant == "baseline" else 2.5

    def augment(dataset):
        return dataset.map(lambda example: {"index": -example["index"]})

    def first(stages):
        upstream, downstream = split(stages, seed=5, augment=augment)
        with iterating(downstream(upstream(examples()))) as batches:
            return [next(batches)["index"].tolist() for _ in range(40)]

    plain = Stages(variant, factor, 4, 16)
    assert first(plain) == first(overlapping(Stages(variant, factor, 4, 16)))
    whole = build(examples(), plain, seed=5, augment=lambda chunk, seed: {"index": -chunk["index"]})
    assert first(plain) == [batch["index"].tolist() for batch in whole.take(40).as_numpy_iterator()]


def test_what_is_upstream_of_the_echo_point():
    def shape(variant):
        upstream, _ = split(Stages(variant, 2, 4, 16), seed=0, augment=lambda d: d.map(lambda e: e | {"augmented": 1}))
        spec = upstream(examples()).element_spec
        return sorted(spec), spec["index"].shape.rank

    assert shape("example_before_augmentation") == (["index"], 0)
    assert shape("example_after_augmentation") == (["augmented", "index"], 0)
    assert shape("batch") == (["augmented", "index"], 1)


def test_examples_of_varying_shape_are_timed_in_groups():
    varying = examples().map(lambda example: {"image": tf.zeros([example["index"] % 5 + 1, 3])})
    groups = iter(timing.upstream_batches(varying, Stages("example_before_augmentation", 2, 4, 8)))
    assert [len(image["image"]) for image in next(groups)] == [1, 2, 3, 4]
    groups.close()
    with iterating(Watch().watch(varying.take(7), 4)) as items:
        assert len(list(items)) == 7


def test_a_dataset_without_items_cannot_be_held():
    with pytest.raises(ValueError, match="no items"):
        timing.hold(tf.data.Dataset.range(0), 4)


def test_threads_end_where_the_pipeline_fails():
    """Else a process with Python in its pipeline hangs at its end."""
    broken = tf.data.Dataset.range(10**6).map(lambda i: tf.gather(tf.range(100), i))
    source = slow(broken.map(lambda i: {"index": i}), Storage(1e5)).prefetch(64)
    alive = weakref.WeakSet()
    iterator_of = tf.data.Dataset.as_numpy_iterator

    def watched(dataset):
        iterator = iterator_of(dataset)
        alive.add(iterator)
        return iterator

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(source), "as_numpy_iterator", watched)
        with pytest.raises(tf.errors.OpError), iterating(source) as items:
            for _ in items:
                pass
    gc.collect()
    assert not alive


def test_held_items_are_read_once():
    counter = ReadCounter()
    held = timing.hold(counter.count(examples()), 8)
    with iterating(held.batch(20)) as batches:
        indices = next(batches)["index"]
    np.testing.assert_array_equal(indices, np.arange(20) % 8)
    assert counter.examples == 8


def test_items_of_a_source_of_unknown_size_are_held():
    """TensorFlow forgets what it has cached if nobody has read to the end."""
    counter = ReadCounter()
    endless = examples().flat_map(lambda example: tf.data.Dataset.from_tensors(example))
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    held = timing.hold(counter.count(endless).with_options(options), 8)
    with iterating(held.batch(20)) as batches:
        next(batches)
    assert counter.examples == 8


def test_the_watch_passes_items_and_notes_each_chunk():
    watch = Watch()
    with iterating(watch.watch(examples().take(20), 8)) as items:
        assert [item["index"] for item in items] == list(range(20))
    assert watch.spans.shape == (3, 2)
    assert (np.diff(watch.spans.ravel()) >= 0).all()


def test_behind_the_echo_point_there_are_few_items():
    """What is timed there is not held up by reading."""
    counter = ReadCounter()
    behind = iter(Pipeline(counter.count(examples()), 4, 8).downstream("example"))
    seen = np.concatenate([next(behind)["index"] for _ in range(50)])
    behind.close()
    assert set(seen) == set(range(timing.HELD_BATCHES * 4))
    assert counter.examples == timing.HELD_BATCHES * 4


def test_a_timed_run_takes_the_updates_of_the_trial():
    """Same batches, same start: the run that is timed at set R ends with the parameters of the trial."""
    study = tiny("example", 2, bound=False)
    point = {"learning_rate": 0.1, "momentum": 0.9}
    training = Training(study, point, search=1, index=2, overlap=True)
    training.warm_up()
    with iterating(training.batches(training.slowed_down(1e-4))) as ours:
        plain = Training(study, point, search=1, index=2)
        theirs = plain.batches(plain.examples).as_numpy_iterator()
        for _ in range(6):
            np.testing.assert_array_equal(next(ours)["tokens"], next(theirs)["tokens"])
    drive(training.batches(training.slowed_down(1e-4)), training.step, study.budget_steps)

    values = []
    trial.run(study, 1, 2, point, bound_steps=lambda: None, record=lambda m: values.append(m.value))
    assert training.evaluate() == values[-1]
