"""Times alternatives side by side in one run, in turn, so that a machine whose speed drifts treats them alike."""

import time
from collections.abc import Callable, Mapping
from statistics import median


def seconds_in_turn(works: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Median seconds of each piece of work over `rounds` rounds, one of each a round, after one uncounted round."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if number:
                taken[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in taken.items()}
