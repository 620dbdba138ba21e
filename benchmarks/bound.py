"""What the lossless bound saves: the same searches with and without it, on the same points.

    python -m benchmarks.bound        a few minutes

Prints the minimum of each search both ways and the share of updates saved.
"""

import dataclasses
import sys
import tempfile
from pathlib import Path

from experiments import workloads
from experiments.command_line import Parser, exit_code
from experiments.protocol import engine
from experiments.protocol.study import make_study


def main() -> None:
    """Prints the comparison at smoke scale."""
    Parser(__doc__).parse_args()
    config = workloads.load("transformer_lm1b", "smoke", {"trials": "8", "searches": "3"})
    updates, minima = {}, {}
    for bound in (True, False):
        study = dataclasses.replace(make_study(config, "example", 2), bound=bound)
        with tempfile.TemporaryDirectory() as root:
            progress = engine.run([study], root=Path(root))
        results = [{i: r for i, r in found.items() if i < study.trials} for found in progress.results.values()]
        updates[bound] = sum(result.sgd_steps for found in results for result in found.values())
        reached = [[r.steps_to_target for r in found.values() if r.steps_to_target is not None] for found in results]
        minima[bound] = [study.fresh_examples(min(steps)) if steps else None for steps in reached]
    for search, (on, off) in enumerate(zip(minima[True], minima[False], strict=True)):
        print(f"search {search}: fewest fresh examples with the bound {on}, without {off}")
    print("same minima" if minima[True] == minima[False] else "THE MINIMA DIFFER")
    print(
        f"updates: {updates[True]:,} with the bound, {updates[False]:,} without, "
        f"{1 - updates[True] / updates[False]:.0%} saved"
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
