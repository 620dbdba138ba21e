import json
from collections import Counter

import numpy as np
import pytest
from emulation import p_values, places

grain = pytest.importorskip("grain")

from absl import flags

from pipelines.echoing.pygrain import EchoIterDataset

SETTINGS = [{}, {"shuffle": 16}, {"apart": 8}, {"shuffle": 16, "apart": 8}]


def numbers(count, epochs=1):
    """An IterDataset of the numbers 0 to count - 1, read in this thread."""
    repeated = grain.MapDataset.range(count).repeat(epochs)
    return repeated.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))


def items(iterator):
    return [np.asarray(item).tolist() for item in iterator]


def test_copies_stand_next_to_each_other_and_grains_stages_follow():
    batches = EchoIterDataset(numbers(4), 2, seed=0).map(lambda number: number + 1).batch(4)
    assert items(batches) == [[1, 1, 2, 2], [3, 3, 4, 4]]


def test_draws_differ_between_iterations_and_repeats_in_front():
    dataset = EchoIterDataset(numbers(200), 1.5, seed=0)
    first, second = Counter(items(dataset)), Counter(items(dataset))
    assert set(first.values()) == set(second.values()) == {1, 2} and first != second
    again = EchoIterDataset(numbers(200), 1.5, seed=0)
    assert [Counter(items(again)), Counter(items(again))] == [first, second]
    repeated = items(EchoIterDataset(numbers(200, epochs=20), 1.5, seed=0))
    total = np.bincount(repeated)  # of each item: 30 copies, standard deviation 2.2
    assert 2.24 < np.abs(total - 30).max() < 4 * 2.24


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS[1:])
def test_copies_are_spread_as_in_the_emulation(settings):
    settings = {"shuffle": 0, "apart": 0} | settings
    batches = items(EchoIterDataset(numbers(20_000), 2.5, seed=5, **settings).batch(8, drop_remainder=True))
    fits = p_values(np.concatenate(batches), 2.5, **settings, batch=8)
    assert min(fits.values()) > 0.01, fits


def test_copies_that_are_to_be_apart_share_no_batch():
    batches = items(EchoIterDataset(numbers(1_000), 4, seed=0, shuffle=64, apart=16).batch(16))
    assert len(batches) == 250
    assert all(len(set(batch)) == 16 for batch in batches[:-15])


def parents():
    shuffled = grain.MapDataset.range(60).seed(4).shuffle().repeat(2)
    yield "map", shuffled.map(lambda number: np.full(3, number)).to_iter_dataset()
    yield "batches", shuffled.to_iter_dataset().batch(4)
    yield "filtered", shuffled.to_iter_dataset().filter(lambda number: number % 3)
    yield "mixed", grain.IterDataset.mix([numbers(40), numbers(50)], [1, 2])
    yield "window", grain.experimental.WindowShuffleIterDataset(numbers(30), window_size=10, seed=1)
    yield "echoed", EchoIterDataset(numbers(50), 1.5, seed=3, shuffle=5)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("parent", [name for name, _ in parents()])
def test_resumed_at_any_place_it_gives_the_elements_of_an_unbroken_run(parent, settings):
    def make():
        return EchoIterDataset(dict(parents())[parent], 2.5, seed=7, **settings)

    unbroken = make()
    first, second = items(unbroken), items(unbroken)
    for place in places(len(first)):
        iterator = iter(make())
        for _ in range(place):
            next(iterator)
        saved = json.dumps(iterator.get_state())
        del iterator
        resumed = make()
        iterator = iter(resumed)
        iterator.set_state(json.loads(saved))
        assert iterator.get_state() == json.loads(saved)
        assert items(iterator) == first[place:]
        if parent != "echoed":  # whose own iterations Grain's state of an iterator does not know
            assert items(resumed) == second


@pytest.mark.slow
def test_echo_in_and_in_front_of_worker_processes_resumes():
    flags.FLAGS.mark_as_parsed()  # as a program's absl.app.run does; Grain's worker processes want it
    options = grain.multiprocessing.MultiprocessingOptions(num_workers=2)
    dataset = EchoIterDataset(numbers(80), 1.5, seed=0, shuffle=8).batch(4).mp_prefetch(options)
    whole = items(dataset)
    iterator = iter(dataset)
    for _ in range(9):
        next(iterator)
    state = iterator.get_state()
    iterator.close()
    iterator = iter(dataset)
    iterator.set_state(state)
    assert items(iterator) == whole[9:]
    iterator.close()


def test_elements_changed_in_place_leave_the_other_copies():
    dataset = EchoIterDataset(numbers(4).map(lambda number: {"x": np.zeros(2)}), 3, seed=0, shuffle=3)
    seen = []
    for element in dataset:
        seen.append(element["x"].sum())
        element["x"] += 1
    assert seen == [0.0] * 12


def test_state_of_other_settings_or_a_longer_dataset_is_refused():
    iterator = iter(EchoIterDataset(numbers(20), 2, seed=0, shuffle=8))
    for _ in range(12):
        next(iterator)
    state = iterator.get_state()
    with pytest.raises(ValueError, match="saved with shuffle = 8, this echo has shuffle = 4"):
        iter(EchoIterDataset(numbers(20), 2, seed=0, shuffle=4)).set_state(state)
    with pytest.raises(ValueError, match="ends before element"):
        iter(EchoIterDataset(numbers(9), 2, seed=0, shuffle=8)).set_state(state)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="e must be a finite number >= 1, got 0"):
        EchoIterDataset(numbers(3), 0, seed=0)
