import copy
import pickle
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from emulation import p_values, places

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from pipelines.echoing.advice import advise
from pipelines.echoing.advice.loaders import as_loader
from pipelines.echoing.iterables import echo
from pipelines.echoing.pytorch import EchoDataset

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated", "ignore:This DataLoader will create")

SETTINGS = [{}, {"shuffle": 16}, {"apart": 8}, {"shuffle": 16, "apart": 8}]
LOADERS = [{"num_workers": 0}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}]


class Indexed(Dataset):
    """The numbers 0 to count - 1, read by index."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return torch.tensor(index)


class Streamed(IterableDataset):
    """The same in their order; worker w of n reads the w-th n-th of them."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __iter__(self):
        worker = get_worker_info()
        parts, part = (1, 0) if worker is None else (worker.num_workers, worker.id)
        share = self.count // parts
        return iter(torch.arange(part * share, (part + 1) * share))


def epochs(loader, number):
    return [[batch.tolist() for batch in loader] for _ in range(number)]


def counts(batches):
    return Counter(number for batch in batches for number in batch)


@pytest.mark.parametrize("source", [Indexed, Streamed])
@pytest.mark.parametrize("loading", LOADERS)
def test_every_item_is_given_in_every_epoch_with_draws_of_its_own(source, loading):
    def run():
        return epochs(DataLoader(EchoDataset(source(200), 1.5, seed=0, shuffle=20), batch_size=8, **loading), 3)

    first = run()
    for batches in first:
        assert set(counts(batches)) == set(range(200)) and set(counts(batches).values()) == {1, 2}
    assert len({str(sorted(counts(batches).items())) for batches in first}) == 3
    torch.manual_seed(5)  # PyTorch's own seed changes nothing
    assert run() == first


def test_workers_agree_on_the_order_even_where_an_epoch_was_broken_off():
    loader = DataLoader(EchoDataset(Indexed(100), 1, seed=0), batch_size=1, num_workers=4, prefetch_factor=1)
    orders = []
    for _ in range(6):
        next(iter(loader))  # some workers may not have begun
        batches = epochs(loader, 1)[0]
        assert counts(batches) == Counter(range(100))
        orders.append(str(batches))
    assert len(set(orders)) == 6


def test_epochs_differ_for_a_dataset_that_was_copied():
    dataset = copy.deepcopy(EchoDataset(Indexed(50), 1.5, seed=0))
    first, second = epochs(DataLoader(dataset, batch_size=5, num_workers=1), 2)
    assert counts(first) != counts(second)


@pytest.mark.parametrize("settings", SETTINGS[1:])
@pytest.mark.parametrize("workers", [0, 2])
def test_copies_are_spread_as_in_the_emulation(workers, settings):
    settings = {"shuffle": 0, "apart": 0} | settings
    dataset = EchoDataset(Streamed(20_000), 2.5, seed=5, **settings)
    batches = [batch.numpy() for batch in DataLoader(dataset, batch_size=8, num_workers=workers)]
    streams = max(1, workers)
    share = 20_000 // streams
    for worker in range(streams):
        numbers = np.concatenate([batch for batch in batches if batch[0] // share == worker])
        fits = p_values(numbers, 2.5, **settings, batch=8)
        assert min(fits.values()) > 0.01, fits


@pytest.mark.parametrize("loading", LOADERS)
def test_copies_that_are_to_be_apart_share_no_batch(loading):
    dataset = EchoDataset(Indexed(2_000), 4, seed=0, shuffle=64, apart=16)
    batches = epochs(DataLoader(dataset, batch_size=16, **loading), 1)[0]
    assert len(batches) == 500
    assert all(len(set(batch)) == 16 for batch in batches[:-30])


def test_length_and_examples_changed_in_place():
    loader = DataLoader(EchoDataset(Indexed(10), 3, seed=0), batch_size=5)
    assert len(loader) == 6
    seen = []
    for example in EchoDataset(torch.zeros(4, 2), 3, seed=0, shuffle=3):
        seen.append(example.sum().item())
        example += 1
    assert seen == [0.0] * 12


def test_echo_behind_a_loader():
    batches = list(echo(DataLoader(Indexed(6), batch_size=2), 2, seed=0))
    assert [batch.tolist() for batch in batches] == [[0, 1], [0, 1], [2, 3], [2, 3], [4, 5], [4, 5]]


@pytest.mark.slow
@pytest.mark.parametrize("loading", LOADERS)
@pytest.mark.parametrize("source", [Indexed, Streamed])
def test_resumed_by_torchdata_at_any_place_it_gives_the_batches_of_an_unbroken_run(source, loading):
    stateful_dataloader = pytest.importorskip("torchdata.stateful_dataloader")

    def make():
        dataset = EchoDataset(source(80), 1.5, seed=3, shuffle=8, apart=4)
        return stateful_dataloader.StatefulDataLoader(dataset, batch_size=4, **loading)

    unbroken = epochs(make(), 3)
    ways = [(epoch, place) for epoch in (0, 1) for place in places(len(unbroken[epoch]), seed=epoch, number=10)]
    for epoch, place in ways:
        broken = make()
        epochs(broken, epoch)
        stream = iter(broken)
        for _ in range(place):
            next(stream)
        saved = pickle.dumps(broken.state_dict())
        del stream, broken
        resumed = make()
        resumed.load_state_dict(pickle.loads(saved))
        rest = unbroken[epoch][place:]
        assert epochs(resumed, 2) == [rest, unbroken[epoch + 1]]


@pytest.mark.slow
@pytest.mark.parametrize("loading", LOADERS)
def test_resumed_at_the_end_of_an_epoch_the_next_one_follows(loading):
    stateful_dataloader = pytest.importorskip("torchdata.stateful_dataloader")

    def make():
        return stateful_dataloader.StatefulDataLoader(EchoDataset(Indexed(40), 1.5, seed=3), batch_size=4, **loading)

    unbroken = epochs(make(), 3)
    broken, resumed = make(), make()
    epochs(broken, 1)
    resumed.load_state_dict(broken.state_dict())
    assert epochs(resumed, 2) == unbroken[1:]


def test_echo_behind_torchdatas_loader_resumes():
    stateful_dataloader = pytest.importorskip("torchdata.stateful_dataloader")

    def make():
        return echo(stateful_dataloader.StatefulDataLoader(Indexed(60), batch_size=2), 2.5, seed=0, shuffle=4)

    unbroken = epochs(make(), 2)
    for place in places(len(unbroken[0])):
        broken, resumed = make(), make()
        stream = iter(broken)
        for _ in range(place):
            next(stream)
        resumed.load_state_dict(pickle.loads(pickle.dumps(broken.state_dict())))
        assert epochs(resumed, 2) == [unbroken[0][place:], unbroken[1]]


def test_advice_for_a_data_loader():
    loader = DataLoader(Indexed(40), batch_size=4, shuffle=True)
    seen = as_loader(loader)
    assert (seen.places, seen.length) == (("example_after_augmentation",), 10)
    (parallel,) = seen.remedies().values()
    assert not parallel.remedies()
    given = list(islice(seen.echoed("example_after_augmentation", 2), 40))
    counts = np.bincount(torch.cat(given).numpy(), minlength=40)
    assert counts.sum() == 160 and counts.max() <= 5
    assert all(len(set(batch.tolist())) == 4 for batch in given)  # no copies in a batch
    found = advise(loader, lambda batch: None, seconds=0.01, rounds=1, progress=lambda line: None)
    assert found.batch_bytes == 32


def test_the_order_of_a_sampler_is_kept():
    """Examples echoed inside would be read in an order of their own."""
    loader = as_loader(DataLoader(Indexed(40), batch_size=4))
    assert loader.places == ("batch",)
    assert [batch.tolist() for batch in islice(loader.echoed("batch", 2), 3)] == [[0, 1, 2, 3]] * 2 + [[4, 5, 6, 7]]
