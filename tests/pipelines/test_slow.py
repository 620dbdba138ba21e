import numpy as np
import pytest
import tensorflow as tf

from pipelines.echoing.tfdata.datasets import iterating
from pipelines.sources import remote
from pipelines.sources import slow as slow_module
from pipelines.sources.remote import read_records, serve
from pipelines.sources.slow import Storage, slow


def numbers(count):
    return tf.data.Dataset.range(count).map(lambda i: {"index": i})


def test_what_is_read_stays_the_same():
    with iterating(slow(numbers(70), Storage(1e6, request_examples=32)).batch(100)) as batches:
        np.testing.assert_array_equal(next(batches)["index"], np.arange(70))


def test_durations_follow_rate_latency_and_seed():
    steady = Storage(100, request_examples=50, latency_seconds=0.25)
    np.testing.assert_allclose(steady.durations(4), 0.75)
    assert steady.seconds_per_example * 50 == pytest.approx(0.75)
    jittered = Storage(100, request_examples=50, jitter=0.4, seed=3)
    seconds = jittered.durations(5000)
    np.testing.assert_array_equal(seconds, jittered.durations(5000))
    assert 0.3 <= seconds.min() < 0.35 < 0.65 < seconds.max() <= 0.7
    assert seconds.mean() == pytest.approx(0.5, abs=0.01)
    assert (seconds != Storage(100, request_examples=50, jitter=0.4, seed=4).durations(5000)).all()


def test_stalls_come_after_every_so_many_seconds_of_delivering():
    storage = Storage(100, request_examples=50, stall_seconds=1.0, stall_every_seconds=2.0)
    np.testing.assert_allclose(storage.durations(8), [0.5, 0.5, 0.5, 1.5] * 2)
    assert storage.durations(8).sum() / 400 == pytest.approx(storage.seconds_per_example)


def test_the_clock_makes_short_delays_up_and_lets_long_ones_pass():
    clock = slow_module._Clock(Storage(100, request_examples=100, ahead_seconds=0.5))
    assert clock.next_due(10.0) == pytest.approx(11.0)
    assert clock.next_due(11.2) == pytest.approx(12.0)  # asked 0.2 s late
    assert clock.next_due(15.0) == pytest.approx(15.5)  # nobody asked for 3 s
    in_turns = slow_module._Clock(Storage(100, request_examples=100, ahead_seconds=0.0))
    assert in_turns.next_due(10.0) == pytest.approx(11.0)
    assert in_turns.next_due(11.2) == pytest.approx(12.2)


def test_sleeps_until_each_request_is_due(monkeypatch):
    slept = []

    class Time:
        now = 100.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            slept.append(seconds)
            self.now += seconds

    monkeypatch.setattr(slow_module, "time", Time())
    with iterating(slow(numbers(60), Storage(10, request_examples=20)).batch(20)) as batches:
        for _ in range(3):
            next(batches)
    np.testing.assert_allclose(slept, 2.0)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"examples_per_second": 0}, "examples_per_second"),
        ({"examples_per_second": float("nan")}, "examples_per_second"),
        ({"request_examples": 0}, "request_examples"),
        ({"jitter": 1.5}, "jitter"),
        ({"latency_seconds": -1}, "latency_seconds"),
        ({"stall_seconds": 1}, "stall_every_seconds"),
    ],
)
def test_bad_storage_is_named(settings, named):
    with pytest.raises(ValueError, match=named):
        Storage(**({"examples_per_second": 1} | settings))


def test_examples_of_varying_shape_wait_for_the_request_they_are_part_of(monkeypatch):
    due = []
    clock = slow_module._Clock
    monkeypatch.setattr(clock, "next_due", lambda self, now: due.append(now) or now)
    varying = tf.data.Dataset.range(10).map(lambda i: {"image": tf.zeros([i + 1, 3])})
    with iterating(slow(varying, Storage(1e6, request_examples=4))) as examples:
        assert [example["image"].shape for example in examples] == [(i + 1, 3) for i in range(10)]
    assert len(due) == 3


def write(path, records):
    with tf.io.TFRecordWriter(str(path)) as out:
        for record in records:
            out.write(record)


def test_http_gives_what_tensorflow_reads_from_disk(tmp_path):
    records = [bytes([i % 256]) * (i * 37 % 5000) for i in range(150)]
    paths = [tmp_path / "a.tfrecord", tmp_path / "b.tfrecord"]
    write(paths[0], records[:100])
    write(paths[1], records[100:])
    local = list(tf.data.TFRecordDataset([str(path) for path in paths]).as_numpy_iterator())
    assert local == records
    with (
        serve(tmp_path, bytes_per_second=1e8) as base,
        iterating(read_records([f"{base}/{path.name}" for path in paths])) as remote,
    ):
        assert list(remote) == records


def test_bandwidth_is_spent_one_piece_after_the_other(monkeypatch):
    slept = []

    class Time:
        now = 50.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            slept.append(seconds)
            self.now += seconds

    monkeypatch.setattr(remote, "time", Time())
    bandwidth = remote._Bandwidth(1000)
    for _ in range(3):
        bandwidth.spend(500)
    np.testing.assert_allclose(slept, 0.5)


def test_a_file_that_ends_within_a_record_is_an_error(tmp_path):
    path = tmp_path / "cut.tfrecord"
    write(path, [b"x" * 100])
    path.write_bytes(path.read_bytes()[:-20])
    with (
        serve(tmp_path, bytes_per_second=1e8) as base,
        iterating(read_records([f"{base}/cut.tfrecord"])) as records,
        pytest.raises(tf.errors.OpError, match="ended after"),
    ):
        next(records)


def test_a_connection_that_closes_between_records_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "cut.tfrecord"
    write(path, [b"x" * 84] * 10)  # 100 bytes each
    monkeypatch.setattr(remote._Handler, "copyfile", lambda self, source, output: output.write(source.read(500)))
    with (
        serve(tmp_path, bytes_per_second=1e8) as base,
        iterating(read_records([f"{base}/cut.tfrecord"])) as records,
        pytest.raises(tf.errors.OpError, match="500 bytes before its end"),
    ):
        list(records)


def test_a_missing_file_is_an_error(tmp_path):
    with (
        serve(tmp_path, bytes_per_second=1e8) as base,
        iterating(read_records([f"{base}/absent.tfrecord"])) as records,
        pytest.raises(tf.errors.OpError, match="404"),
    ):
        next(records)


def test_a_bandwidth_that_is_not_positive_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="bytes_per_second"), serve(tmp_path, 0):
        pass
