"""Times alternatives side by side in one run, in turn, so that a machine whose speed drifts treats them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median


def seconds_in_turn(works: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, list[float]]:
    """Seconds of each piece of work in each of `rounds` rounds, one of each a round, after one uncounted round."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if number:
                taken[name].append(time.perf_counter() - started)
    return taken


def ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Median over the rounds of a's seconds over b's in the same round."""
    return median(x / y for x, y in zip(a, b, strict=True))
