"""The tf.data stage beside the emulation, and resumed from checkpoints at places nobody chose."""

import numpy as np
import pytest
from emulation import p_values, places

tf = pytest.importorskip("tensorflow")

from pipelines.echoing.tfdata.echo import echo


def echoed(count, e, shuffle, chunk=128):
    dataset = echo(tf.data.Dataset.range(count), e, seed=5, chunk=chunk)
    return dataset.shuffle(shuffle, seed=5) if shuffle else dataset


@pytest.mark.slow
@pytest.mark.parametrize("e", [2, 2.5])
@pytest.mark.parametrize("shuffle", [0, 16, 100])
@pytest.mark.parametrize("chunk", [1, 128])
def test_copies_are_spread_as_in_the_emulation(e, shuffle, chunk):
    batches = echoed(20_000, e, shuffle, chunk).batch(8, drop_remainder=True)
    fits = p_values(np.concatenate(list(batches.as_numpy_iterator())), e, shuffle, 0, batch=8)
    assert min(fits.values()) > 0.01, fits


@pytest.mark.slow
def test_another_buffer_does_not_fit_the_emulation():
    numbers = list(echoed(20_000, 2.5, 100).as_numpy_iterator())
    assert min(p_values(numbers, 2.5, 16, 0, batch=8).values()) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 7, 128])
def test_resumed_at_any_place_it_gives_the_items_of_an_unbroken_run(tmp_path, chunk):
    iterator, unbroken, saved = iter(echoed(150, 2.5, 40, chunk)), [], {}
    stops = places(330, seed=chunk)  # of some 375
    while True:
        if len(unbroken) in stops:
            path = str(tmp_path / str(len(unbroken)))
            saved[len(unbroken)] = tf.train.Checkpoint(iterator=iterator).write(path)
        item = next(iterator, None)
        if item is None:
            break
        unbroken.append(int(item))
    assert len(saved) == 20
    for place, path in saved.items():
        resumed = iter(echoed(150, 2.5, 40, chunk))
        tf.train.Checkpoint(iterator=resumed).read(path).assert_consumed()
        assert [int(item) for item in resumed] == unbroken[place:]
