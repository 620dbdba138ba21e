import itertools
import math
import time

import numpy as np
import pytest
import tensorflow as tf
from read_counter import ReadCounter

from pipelines.echoing.tfdata.echo import CHUNK
from pipelines.echoing.tfdata.stages import AUGMENT_CHUNK, NUMBER, VARIANTS, Stages, build, numbered


def source(size=1000):
    return tf.data.Dataset.range(size).repeat().map(lambda i: {"index": i, "noise": tf.constant(0.0)})


def add_noise(examples, seed):
    return examples | {"noise": tf.random.stateless_uniform(tf.shape(examples["index"]), seed)}


def only_noise(examples, seed):
    """As a user's augmentation may be written: it gives the components that it knows."""
    return {"index": examples["index"], "noise": add_noise(examples, seed)["noise"]}


def batches(stages, count, *, seed=0, augment=add_noise, size=1000):
    return list(build(source(size), stages, seed=seed, augment=augment).take(count).as_numpy_iterator())


def pairs(some_batches):
    """The (index, noise) pairs of batches, in order."""
    return [(int(i), float(n)) for batch in some_batches for i, n in zip(batch["index"], batch["noise"], strict=True)]


def test_copies_echoed_before_augmentation_differ_and_those_after_are_identical():
    before = pairs(batches(Stages("example_before_augmentation", 2, 100, 0), 4))
    after = pairs(batches(Stages("example_after_augmentation", 2, 100, 0), 4))
    assert [i for i, _ in before] == [i for i, _ in after] == [k // 2 for k in range(400)]
    assert all(before[k][1] != before[k + 1][1] for k in range(0, 400, 2))
    assert all(after[k] == after[k + 1] for k in range(0, 400, 2))


def test_batch_echoing_repeats_whole_batches_and_keeps_the_shuffle_before_them():
    first, second, third, *_ = batches(Stages("batch", 2, 50, 200), 4)
    np.testing.assert_array_equal(first["index"], second["index"])
    np.testing.assert_array_equal(first["noise"], second["noise"])
    assert set(first["index"]).isdisjoint(third["index"])
    assert first["index"].tolist() != sorted(first["index"])


def test_repeated_batches_are_shuffled_on_request():
    def order(buffer):
        return [batch["index"][0] for batch in batches(Stages("batch", 2, 10, 0, repeated_batch_buffer=buffer), 40)]

    assert order(0)[::2] == order(0)[1::2]
    assert order(10) != order(0)
    assert sorted(order(10)[:20]) != order(10)[:20]


def test_shuffle_buffer_separates_the_copies_of_an_example():
    indices = [i for i, _ in pairs(batches(Stages("example", 2, 100, 500), 10, augment=None))]
    neighbours = sum(a == b for a, b in itertools.pairwise(indices))
    assert neighbours < 30


@pytest.mark.parametrize("variant", VARIANTS)
def test_deterministic_for_a_seed(variant):
    factor = 1 if variant == "baseline" else 2.5
    stages = Stages(variant, factor, 16, 100)
    first = pairs(batches(stages, 20, seed=5))
    assert first == pairs(batches(stages, 20, seed=5))
    assert first != pairs(batches(stages, 20, seed=6))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("factor", [1, 2, 1.5, 4])
def test_fresh_examples_agree_with_the_examples_own_numbers(variant, factor):
    factor = 1 if variant == "baseline" else factor
    stages, steps = Stages(variant, factor, 32, 300), 200
    read = build(numbered(source()), stages, seed=1, augment=add_noise).take(steps).as_numpy_iterator()
    examples_read = max(batch[NUMBER].max() for batch in read) + 1
    fresh = steps * stages.batch_size / factor
    fraction = factor - math.floor(factor)
    chance = 4 * math.sqrt(fraction * (1 - fraction) * fresh) / factor * (32 if variant == "batch" else 1)
    assert fresh - chance <= examples_read <= fresh + stages.shuffle_buffer + chance


def test_every_variant_holds_one_buffer_of_the_same_size():
    """What a pipeline takes from its source before the first batch comes out is what it holds."""
    held = {}
    for variant in VARIANTS:
        counter = ReadCounter()
        stages = Stages(variant, 1 if variant == "baseline" else 2, 10, 2000, prefetch=0)
        next(build(counter.count(source()), stages, seed=0, augment=add_noise).as_numpy_iterator())
        copies = 2 if variant.startswith("example") else 1
        held[variant] = counter.examples * copies
    assert all(2000 <= examples <= 2000 + 2 * CHUNK + 2 * AUGMENT_CHUNK for examples in held.values()), held


@pytest.mark.parametrize("varying", [False, True])
def test_nothing_is_read_ahead_unasked(varying):
    """Shapes that vary are augmented by a map that TensorFlow would fuse with the batching, and make a batch ahead."""
    read = []

    def example(index):
        count = tf.numpy_function(lambda i: (read.append(i), i)[1], [index], tf.int64)
        noise = tf.zeros([1 + 0 * count if varying else 1])
        return {"index": tf.ensure_shape(count, []), "noise": noise}

    stages = Stages("baseline", 1, 64, 0, prefetch=0)
    examples = tf.data.Dataset.range(10**4).map(example)
    batches = iter(build(examples, stages, seed=0, augment=lambda some, _: some))
    for number in (1, 2):
        next(batches)
        time.sleep(0.2)
        assert 64 * number <= len(read) <= 64 * number + 17  # at most 16 in parallel


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("sideways", 2, 8, 0), "variant"),
        (("baseline", 2, 8, 0), "echo_factor"),
        (("example", 2, 0, 0), "batch_size"),
        (("example", 2, 8, -1), "shuffle_buffer"),
        (("batch", 2, 8, 0, -1), "repeated_batch_buffer"),
        (("example", 2, 8, 0, 5), "repeated_batch_buffer"),
        (("batch", 2, 8, 0, 0, -1), "prefetch"),
    ],
)
def test_bad_settings_name_the_argument(arguments, named):
    with pytest.raises(ValueError, match=named):
        Stages(*arguments)


@pytest.mark.parametrize("factor", [0.5, math.nan])
def test_bad_echo_factor(factor):
    with pytest.raises(ValueError, match="factor"):
        build(source(), Stages("example", factor, 8, 0), seed=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_numbers_travel_with_examples_and_change_nothing_else(variant):
    stages = Stages(variant, 1 if variant == "baseline" else 2.5, 16, 100)
    plain = batches(stages, 20)
    with_numbers = list(build(numbered(source(10**6)), stages, seed=0, augment=only_noise).take(20).as_numpy_iterator())
    for ours, theirs in zip(with_numbers, plain, strict=True):
        np.testing.assert_array_equal(ours[NUMBER], ours["index"])
        np.testing.assert_array_equal(ours["index"] % 1000, theirs["index"])
        np.testing.assert_array_equal(ours["noise"], theirs["noise"])


def test_examples_of_varying_shape_are_numbered():
    varying = numbered(tf.data.Dataset.range(1, 11).map(lambda n: {"values": tf.range(n)}))
    assert [example[NUMBER] for example in varying.as_numpy_iterator()] == list(range(10))
