"""Echoing emulated in plain NumPy, slow and obvious, and the tests that streams of copies are compared with it by."""

import functools
import math

import numpy as np

STATISTICS = ("duplicates in a batch", "copies of its first item in a batch", "distance to the next copy")


@functools.cache
def emulated(count, e, shuffle, apart, seed):
    """Numbers of the items 0 to count - 1 in the order that their copies leave the stage in."""
    rng = np.random.default_rng(seed)
    copies = math.floor(e) + (rng.random(count) < e - math.floor(e))
    if apart:
        return _emulated_apart(copies, max(1, shuffle), apart, rng)
    stream = np.repeat(np.arange(count), copies)
    if not shuffle:
        return stream
    buffer, given = stream[:shuffle].copy(), []
    for entering in stream[shuffle:]:
        place = rng.integers(shuffle)
        given.append(buffer[place])
        buffer[place] = entering
    return np.array([*given, *rng.permutation(buffer)])


def _emulated_apart(copies, shuffle, apart, rng):
    left, allowed_from = copies.copy(), np.zeros(len(copies), int)
    fresh, buffer, waiting, given = list(range(len(copies))), [], [], []
    while left.any():
        while len(buffer) < shuffle:
            due = [item for item in waiting if allowed_from[item] <= len(given)]
            if due:
                waiting.remove(due[0])
                buffer.append(due[0])
            elif fresh:
                buffer.append(fresh.pop(0))
            else:
                break
        item = buffer.pop(rng.integers(len(buffer))) if buffer else waiting.pop(0)
        given.append(item)
        left[item] -= 1
        allowed_from[item] = len(given) - 1 + apart
        if left[item]:
            waiting.append(item)
    return np.array(given)


def measured(numbers, batch, every):
    """[statistics, samples] of one batch in `every`, so far from each other that they are as good as independent."""
    starts = range(every * batch, len(numbers) - 2 * every * batch, every * batch)
    samples = []
    for start in starts:
        in_batch, later = numbers[start : start + batch], numbers[start + 1 : start + every * batch]
        (again,) = np.nonzero(later == numbers[start])
        distance = again[0] + 1 if len(again) else 0
        samples.append([batch - len(set(in_batch)), np.sum(in_batch == in_batch[0]), distance])
    return np.array(samples).T


def chi_square_p(a, b, permutations=2000, cells=8):
    """p-value of the chi-square test that two samples are of one distribution, from permutations of their labels."""
    values = np.concatenate([a, b])
    edges = np.unique(np.quantile(values, np.linspace(0, 1, cells + 1)[1:-1]))
    cell, size = np.searchsorted(edges, values), len(edges) + 1
    share = np.bincount(cell, minlength=size) / len(values)

    def chi_square(labels):
        counts = [np.bincount(cell[labels == label], minlength=size) for label in (0, 1)]
        expected = [share * np.sum(labels == label) for label in (0, 1)]
        used = share > 0
        return sum(np.sum((n - m)[used] ** 2 / m[used]) for n, m in zip(counts, expected, strict=True))

    labels = np.repeat([0, 1], [len(a), len(b)])
    rng = np.random.default_rng(0)
    observed = chi_square(labels)
    larger = sum(chi_square(rng.permutation(labels)) >= observed - 1e-9 for _ in range(permutations))
    return (1 + larger) / (1 + permutations)


def p_values(numbers, e, shuffle, apart, batch, every=25):
    """For each statistic, how well the stream `numbers` fits the emulation, of which there is a longer one."""
    ours = measured(np.asarray(numbers), batch, every)
    theirs = measured(emulated(60_000, e, shuffle, apart, seed=12), batch, every)
    return {name: chi_square_p(a, b) for name, a, b in zip(STATISTICS, ours, theirs, strict=True)}


def places(count, seed=0, number=20):
    """`number` random places in a stream of `count`, its ends among them."""
    return sorted(
        {0, count, *np.random.default_rng(seed).choice(np.arange(1, count), number - 2, replace=False).tolist()}
    )
