import math
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from pipelines.echoing.tfdata.echo import echo


def one_liner(dataset, factor):
    """The paper's form, the oracle."""
    return dataset.flat_map(lambda item: tf.data.Dataset.from_tensors(item).repeat(factor))


def items(dataset):
    return [tf.nest.map_structure(np.asarray, item) for item in dataset.as_numpy_iterator()]


def numbers(count):
    return tf.data.Dataset.range(count).map(lambda i: {"index": i, "square": tf.fill([3], i * i)})


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1, 2, 3, 16])
@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_fast_form_equals_the_papers_one_liner_item_by_item(factor, chunk):
    fast, slow = items(echo(numbers(300), factor, seed=0, chunk=chunk)), items(one_liner(numbers(300), factor))
    assert len(fast) == len(slow) == 300 * factor
    for a, b in zip(fast, slow, strict=True):
        assert a["index"] == b["index"]
        np.testing.assert_array_equal(a["square"], b["square"])


def test_batches_echo_whole():
    batches = items(echo(numbers(20).batch(5), 2, seed=0, chunk=1))
    assert [batch["index"].tolist() for batch in batches[:3]] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert len(batches) == 8


def test_items_of_varying_shape_and_strings_echo():
    varying = tf.data.Dataset.range(1, 5).map(lambda n: tf.range(n))
    assert [len(item) for item in items(echo(varying, 2, seed=0))] == [1, 1, 2, 2, 3, 3, 4, 4]
    strings = tf.data.Dataset.from_tensor_slices(["a", "bcd"])
    assert [item.item() for item in items(echo(strings, 2, seed=0))] == [b"a", b"a", b"bcd", b"bcd"]


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1, 1.5, 2, 3.7, 16])
def test_mean_copies_over_100k_items_is_the_factor(factor):
    count = 100_000
    echoed = echo(tf.data.Dataset.range(count), factor, seed=3).batch(10_000)
    copies = np.bincount(np.concatenate(list(echoed.as_numpy_iterator())), minlength=count)
    assert set(copies) <= {math.floor(factor), math.ceil(factor)}
    fraction = factor - math.floor(factor)
    standard_error = math.sqrt(fraction * (1 - fraction) / count)
    assert abs(copies.mean() - factor) <= 3 * standard_error


def test_fractional_copies_are_independent_and_follow_the_seed():
    def copies(seed, chunk=256):
        echoed = echo(tf.data.Dataset.range(20_000), 1.5, seed=seed, chunk=chunk).batch(50_000)
        return np.bincount(next(echoed.as_numpy_iterator()), minlength=20_000)

    first = copies(0)
    np.testing.assert_array_equal(first, copies(0))
    assert (first != copies(1)).mean() > 0.4
    neighbours = np.corrcoef(first[:-1], first[1:])[0, 1]
    assert abs(neighbours) < 3 / math.sqrt(20_000)
    assert abs(copies(0, chunk=1).mean() - 1.5) < 3 * 0.5 / math.sqrt(20_000)


KINDS = {
    "nested": lambda i: {"a": (i, {"b": tf.fill([2], i)})},
    "tuple": lambda i: (i, tf.fill([3], i)),
    "ragged": lambda i: tf.RaggedTensor.from_row_lengths(tf.range(i + 1), [1, i]),
    "sparse": lambda i: (tf.sparse.from_dense([0, i]), i),
    "none": lambda i: (i, i + 1, None),
    "strings": lambda i: tf.strings.as_string(i),
    "unknown shape": lambda i: tf.range(i),
    "unknown rank": lambda i: tf.py_function(lambda n: tf.ones([2] * int(n % 3)), [i], tf.float32),
    "no numbers": lambda i: tf.zeros([0, 3]),
    "optional": lambda i: tf.experimental.Optional.from_value(i),
    "dataset": lambda i: (i, tf.data.Dataset.range(i)),
}


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
    return item if item is None else np.asarray(item).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [2, 70])
def test_every_kind_of_element_is_repeated_as_the_one_liner_does(kind, factor):
    dataset = tf.data.Dataset.range(3).map(KINDS[kind])
    echoed = echo(dataset, factor, seed=0)
    assert echoed.element_spec == dataset.element_spec
    assert [plain(item) for item in echoed] == [plain(item) for item in dataset for _ in range(factor)]
    fractional = [plain(item) for item in echo(dataset, factor + 0.5, seed=0)]
    assert [item for item in fractional if fractional.count(item) < factor] == []


def damaged(i):
    """Every 100th example raises an error."""
    with tf.control_dependencies([tf.debugging.assert_none_equal(i % 100, tf.constant(0, tf.int64))]):
        return tf.identity(i)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 7, 128])
@pytest.mark.parametrize("factor", [2, 2.5, 100])
@pytest.mark.parametrize("kind", ["tuple", "unknown shape"])
def test_a_damaged_item_costs_itself_only(chunk, factor, kind):
    count = 1000 if factor < 100 else 200
    source = tf.data.Dataset.range(count).map(damaged).map(lambda i: (i, KINDS[kind](i % 3)))
    echoed = [int(number) for number, _ in echo(source, factor, seed=0, chunk=chunk).ignore_errors()]
    assert list(dict.fromkeys(echoed)) == [i for i in range(count) if i % 100]
    assert abs(len(echoed) - 0.99 * count * factor) <= (4 * 0.5 * math.sqrt(count) if factor % 1 else 1e-6)


@pytest.mark.parametrize("chunk", [1, 128])
def test_fractional_draws_differ_from_epoch_to_epoch(chunk):
    """Binomial(20, 1/2): each example gets 20 to 40 copies, 30 on average; 24 to 36 in all but a few cases."""
    dataset = echo(tf.data.Dataset.range(500), 1.5, seed=0, chunk=chunk)
    copies = np.bincount(items(dataset.repeat(20)), minlength=500)
    assert copies.min() > 20
    assert copies.max() < 40
    assert ((copies >= 24) & (copies <= 36)).mean() > 0.98
    by_iteration = [tuple(np.bincount(items(dataset), minlength=500)) for _ in range(3)]
    assert len(set(by_iteration)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [None, 4])
def test_fractional_draws_differ_between_interleaved_files_and_follow_the_seed(parallel):
    def copies(seed):
        def read(file):
            return echo(tf.data.Dataset.range(200).map(lambda i: i + 1000 * file), 1.5, seed=seed)

        dataset = tf.data.Dataset.range(4).interleave(read, cycle_length=4, num_parallel_calls=parallel)
        return [np.bincount(items(dataset), minlength=4000).reshape(4, 1000)[:, :200] for _ in range(2)]

    first, second = copies(0)
    for other in (first[1], first[2], first[3], second[0]):
        assert 0.3 < (first[0] != other).mean() < 0.7
    np.testing.assert_array_equal([first, second], copies(0))
    assert (first != copies(1)[0]).mean() > 0.3


@pytest.mark.parametrize("chunk", [1, 128])
def test_cardinality_is_kept_where_it_is_known(chunk):
    hundred = tf.data.Dataset.range(100)

    def count(dataset, factor):
        return int(echo(dataset, factor, seed=0, chunk=chunk).cardinality())

    assert [count(hundred, factor) for factor in (1, 2, 3.0, 100)] == [100, 200, 300, 10_000]
    assert len(echo(hundred.map(lambda i: (i, None)), 2, seed=0)) == 200
    assert count(hundred.take(0), 2) == 0
    assert count(hundred, 2.5) == count(hundred.filter(lambda i: i > 3), 2) == tf.data.UNKNOWN_CARDINALITY
    assert count(hundred.repeat(), 2) == count(hundred.repeat(), 2.5) == tf.data.INFINITE_CARDINALITY
    assert len(items(echo(hundred.map(damaged), 2, seed=0, chunk=chunk).ignore_errors())) == 198


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tuple", "ragged", "strings", "unknown shape", "none"])
@pytest.mark.parametrize("factor", [3, 2.5, 70])
@pytest.mark.parametrize("stop", [0, 1, 100, 333])
def test_an_iterator_goes_on_exactly_from_its_checkpoint(tmp_path, kind, factor, stop):
    def iterator():
        numbers = tf.data.Dataset.range(200 if factor < 70 else 12).shuffle(50, seed=1)
        dataset = numbers.map(lambda i: (i, KINDS[kind](i % 3)))
        return iter(echo(dataset, factor, seed=0).repeat(2))

    unbroken = [plain(item) for item in iterator()]
    killed = iterator()
    for _ in range(stop):
        next(killed)
    path = tf.train.Checkpoint(iterator=killed).write(str(tmp_path / "state"))
    resumed = iterator()
    tf.train.Checkpoint(iterator=resumed).read(path).assert_consumed()
    assert [plain(item) for item in resumed] == unbroken[stop:]


def test_options_of_the_user_stay():
    mine = tf.data.Options()
    mine.deterministic = False
    mine.threading.private_threadpool_size = 3
    for factor in (2, 2.5):
        assert echo(tf.data.Dataset.range(3).with_options(mine), factor, seed=0).options() == mine
        assert echo(tf.data.Dataset.range(3), factor, seed=0).options() == tf.data.Options()


def test_the_first_batch_comes_as_soon_as_it_is_there():
    def slowly(i):
        time.sleep(0.2)
        return i

    numbers = tf.data.Dataset.range(100).map(lambda i: tf.numpy_function(slowly, [i], tf.int64), synchronous=True)
    batches = numbers.map(lambda i: tf.ensure_shape(i, [])).batch(2)
    started = time.monotonic()
    next(iter(echo(batches, 4, seed=0)))
    assert time.monotonic() - started < 5


PEAK = """
import resource
import sys
import tensorflow as tf
from pipelines.echoing.tfdata.echo import echo
shape, factor = eval(sys.argv[1]), float(sys.argv[2])
images = tf.data.Dataset.range(40).map(lambda i: tf.fill(shape, tf.cast(i, tf.float32)))
def peak(dataset):
    for _ in dataset.take(100):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak(images.repeat())
print(peak(echo(images, factor, seed=0)) - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "factor"),
    [((512, 512, 3), 4), ((512, 512, 3), 16), ((512, 512, 3), 16.5), ((8, 8), 1e6), ((8, 8), 1e6 + 0.5), ((), 1e9)],
)
def test_memory_is_bounded_whatever_an_item_takes(shape, factor):
    arguments = [sys.executable, "-c", PEAK, str(shape), str(factor)]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert float(printed) < 100  # MiB; an image of 512 x 512 x 3 takes 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("factor", value) for value in (0.99, 0, -1, math.nan, math.inf, tf.constant(2.5), True, "2", None, 2j)],
        *[("chunk", value) for value in (0, -1, 2.5, math.nan, "64", True, None)],
        *[("seed", value) for value in (0.5, "0", None, True, math.nan)],
    ],
)
def test_bad_arguments_are_named_in_one_line(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be ") as error:
        echo(tf.data.Dataset.range(3), **{"factor": 2, "seed": 0, name: value})
    assert "\n" not in str(error.value)


def test_numbers_of_numpy_are_numbers():
    numbers = echo(tf.data.Dataset.range(3), np.float32(2), seed=np.int64(0), chunk=np.int32(8))
    assert items(numbers) == [0, 0, 1, 1, 2, 2]
