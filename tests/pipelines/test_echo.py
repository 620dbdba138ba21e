import math

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


@pytest.mark.parametrize("factor", [0.99, 0, -1, math.nan, math.inf])
def test_bad_factor_names_the_argument(factor):
    with pytest.raises(ValueError, match="factor"):
        echo(tf.data.Dataset.range(3), factor, seed=0)


def test_bad_chunk_names_the_argument():
    with pytest.raises(ValueError, match="chunk"):
        echo(tf.data.Dataset.range(3), 2, seed=0, chunk=0)
