import math
import pickle
from collections import Counter, namedtuple

import numpy as np
import pytest
from emulation import emulated, p_values, places

from pipelines.echoing.iterables import duplicate, echo

SETTINGS = [
    {},
    {"shuffle": 16},
    {"apart": 8},
    {"shuffle": 16, "apart": 8},
]


@pytest.mark.parametrize("e", [1, 2, 3, 16])
def test_copies_stand_next_to_each_other(e):
    assert list(echo("abc", e, seed=0)) == [letter for letter in "abc" for _ in range(e)]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("e", [1, 1.5, 2, 3.7, 16])
def test_each_item_has_floor_or_ceil_copies_e_on_average(e, settings):
    count = 4_000
    copies = np.array([*Counter(echo(range(count), e, seed=3, **settings)).values()])
    assert len(copies) == count and set(copies) <= {math.floor(e), math.ceil(e)}
    fraction = e - math.floor(e)
    assert abs(copies.mean() - e) <= 3 * math.sqrt(fraction * (1 - fraction) / count)


def test_draws_differ_between_iterations_and_follow_the_seed():
    def copies(echoed):
        counts = Counter(echoed)
        return np.array([counts[item] for item in range(2_000)])

    first, again, other = (echo(range(2_000), 1.5, seed=seed) for seed in (0, 0, 1))
    iterations = [copies(first) for _ in range(20)]
    np.testing.assert_array_equal(iterations, [copies(again) for _ in range(20)])
    assert (iterations[0] != copies(other)).mean() > 0.4
    total = np.sum(iterations, axis=0)  # of each item: 30 copies, standard deviation 2.2
    assert 4 * 2.24 > np.abs(total - 30).max() > 2.24
    assert abs(np.corrcoef(iterations[0], iterations[1])[0, 1]) < 3 / math.sqrt(2_000)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS[1:])
@pytest.mark.parametrize("e", [2, 2.5])
def test_copies_are_spread_as_in_the_emulation(e, settings):
    settings = {"shuffle": 0, "apart": 0} | settings
    numbers = list(echo(range(20_000), e, seed=5, **settings))
    fits = p_values(numbers, e, **settings, batch=8)
    assert min(fits.values()) > 0.01, fits


@pytest.mark.parametrize("other", [{"shuffle": 24}, {"shuffle": 16, "apart": 4}, {"e": 2.9}])
def test_another_stage_does_not_fit_the_emulation(other):
    settings = {"e": 2.5, "shuffle": 16, "apart": 0}
    numbers = list(echo(range(20_000), seed=5, **(settings | other)))
    assert min(p_values(numbers, **settings, batch=8).values()) < 0.01


def test_without_draws_the_emulation_is_met_item_by_item():
    np.testing.assert_array_equal(list(echo(range(50), 3, seed=0, apart=7)), emulated(50, 3, 0, 7, seed=0))


@pytest.mark.parametrize("shuffle", [0, 5, 100])
@pytest.mark.parametrize("e", [2, 3.5])
def test_copies_that_are_to_be_apart_share_no_batch(e, shuffle):
    numbers = list(echo(range(500), e, seed=0, shuffle=shuffle, apart=32))
    last_fresh = max(numbers.index(number) for number in range(500))  # from here on, too few others are left
    positions = {}
    for position, number in enumerate(numbers[:last_fresh]):
        assert position - positions.get(number, -32) >= 32
        positions[number] = position


def test_a_buffer_larger_than_the_data_gives_everything():
    assert Counter(echo("abc", 2, seed=0, shuffle=1000, apart=0)) == Counter("aabbcc")
    assert Counter(echo("abc", 2, seed=0, shuffle=1000, apart=1000)) == Counter("aabbcc")
    assert list(echo([], 2, seed=0, shuffle=10)) == []


def test_length_is_known_where_e_is_whole_and_the_items_have_one():
    assert len(echo(range(5), 3, seed=0)) == 15
    with pytest.raises(TypeError, match=r"fractional e = 1\.5"):
        len(echo(range(5), 1.5, seed=0))
    with pytest.raises(TypeError, match="len"):
        len(echo(iter("abc"), 2, seed=0))


def test_iterable_again_where_the_items_are():
    echoed = echo("ab", 2, seed=0)
    assert list(echoed) == list(echoed) == ["a", "a", "b", "b"]
    of_generator = echo((letter for letter in "ab"), 2, seed=0)
    assert list(of_generator) == ["a", "a", "b", "b"] and list(of_generator) == []


def test_reads_no_further_than_it_has_to():
    read = []
    stream = iter(echo((read.append(i) or i for i in range(100)), 4, seed=0))
    for _ in range(8):
        next(stream)
    assert read == [0, 1]


class Point(namedtuple("Point", "x y")):
    pass


class View:
    """Stands for a tensor: of these a clone is taken, as a deep copy would copy what it is a view of."""

    def __init__(self, values):
        self.values = values

    def clone(self):
        return View(self.values.copy())

    def __deepcopy__(self, memo):
        raise AssertionError("deep copy of a tensor")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda a: a,
        lambda a: (a, "label"),
        lambda a: {"image": [a], "id": 3},
        lambda a: Point(a, None),
        View,
    ],
)
def test_changing_a_copy_in_place_leaves_the_others(wrap):
    def array_of(item):
        while not isinstance(item, np.ndarray):
            item = item.values if isinstance(item, View) else next(iter(item.values() if type(item) is dict else item))
        return item

    seen = []
    for item in echo([wrap(np.zeros(2)), wrap(np.ones(2))], 3, seed=0, shuffle=4):
        seen.append(array_of(item)[0])
        array_of(item)[:] = 7
    assert sorted(seen) == [0, 0, 0, 1, 1, 1]


def test_without_copying_the_same_object_comes_again():
    item = np.zeros(3)
    assert all(copy is item for copy in echo([item], 3, seed=0, copy=False))
    assert duplicate(item) is not item


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("e", [2, 2.5])
def test_resumed_at_any_place_it_gives_the_items_of_an_unbroken_run(e, settings):
    def make():
        return echo([np.full(3, i) for i in range(60)], e, seed=7, **settings)

    def rest(echoed, iterations=2):
        return [[item.tolist() for item in echoed] for _ in range(iterations)]

    unbroken = make()
    first, second = rest(unbroken)
    for place in places(len(first)):
        broken = make()
        stream = iter(broken)
        for _ in range(place):
            next(stream)[:] = -1  # what a user does to items leaves the state alone
        saved = pickle.dumps(broken.state_dict())
        resumed = make()
        resumed.load_state_dict(pickle.loads(saved))
        assert rest(resumed) == [first[place:], second]


def test_state_at_the_end_of_an_iteration_is_the_start_of_the_next_one():
    echoed, resumed = echo(range(9), 1.5, seed=0), echo(range(9), 1.5, seed=0)
    list(echoed)
    resumed.load_state_dict(echoed.state_dict())
    assert list(resumed) == list(echoed)


def test_state_loads_twice_and_can_be_asked_for_before_it_is_used():
    echoed = echo(range(9), 2, seed=0, shuffle=4)
    stream = iter(echoed)
    first = [next(stream) for _ in range(5)]
    state = echoed.state_dict()
    for _ in range(2):
        resumed = echo(range(9), 2, seed=0, shuffle=4)
        resumed.load_state_dict(state)
        assert resumed.state_dict() == state
        assert Counter([*first, *resumed]) == Counter([*range(9)] * 2)


def test_items_with_a_state_of_their_own_are_not_read_again():
    read = []

    class Source:
        position = 0

        def __iter__(self):
            while self.position < 40:
                self.position += 1
                read.append(self.position)
                yield self.position
            self.position = 0

        def state_dict(self):
            return {"position": self.position}

        def load_state_dict(self, state):
            self.position = state["position"]

    unbroken = echo(Source(), 2.5, seed=0, shuffle=8)
    first, second = list(unbroken), list(unbroken)
    for place in places(len(first)):
        broken = echo(Source(), 2.5, seed=0, shuffle=8)
        stream = iter(broken)
        for _ in range(place):
            next(stream)
        resumed = echo(Source(), 2.5, seed=0, shuffle=8)
        resumed.load_state_dict(broken.state_dict())
        read.clear()
        assert list(resumed) == first[place:]
        assert len(set(read)) == len(read) <= 40 - place // 3
        assert list(resumed) == second


def test_echo_of_an_echo_resumes():
    def make():
        return echo(echo(range(30), 1.5, seed=0, shuffle=4), 1.5, seed=1, shuffle=4)

    unbroken = make()
    first, second = list(unbroken), list(unbroken)
    for place in places(len(first)):
        broken = make()
        stream = iter(broken)
        for _ in range(place):
            next(stream)
        resumed = make()
        resumed.load_state_dict(broken.state_dict())
        assert [list(resumed), list(resumed)] == [first[place:], second]


def test_state_of_other_settings_or_longer_data_is_refused():
    echoed = echo(range(9), 2, seed=0)
    stream = iter(echoed)
    for _ in range(11):
        next(stream)
    state = echoed.state_dict()
    with pytest.raises(ValueError, match=r"saved with seed = 0, this echo has seed = 1"):
        echo(range(9), 2, seed=1).load_state_dict(state)
    shorter = echo(range(3), 2, seed=0)
    shorter.load_state_dict(state)
    with pytest.raises(ValueError, match="items end after 3, but 6 had been read"):
        list(shorter)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        *(({"e": e}, ValueError) for e in (0.99, 0, -1, math.nan, math.inf)),
        *(({"e": e}, TypeError) for e in ("two", None, 2j)),
        *(({name: -1}, ValueError) for name in ("seed", "shuffle", "apart")),
        *(({name: value}, TypeError) for name in ("seed", "shuffle", "apart") for value in (0.5, None, "1")),
    ],
)
def test_bad_arguments_are_named(arguments, error):
    with pytest.raises(error, match=next(iter(arguments))):
        echo(range(3), **({"e": 2, "seed": 0} | arguments))


@pytest.mark.parametrize("e", [np.float32(2), np.int64(2), True + 1])
def test_numbers_of_numpy_do(e):
    assert list(echo("ab", e, seed=np.int64(0), shuffle=np.int32(0))) == ["a", "a", "b", "b"]


def test_errors_of_the_items_pass_as_they_are():
    def items():
        yield 0
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        list(echo(items(), 2, seed=0))
