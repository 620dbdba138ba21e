"""Whether R is what it was set to, and whether real runs take the time that the paper's model says.

    python -m benchmarks.ratio [--workload=transformer_lm1b] [--scale=small]      six minutes; needs a quiet machine

First the source is slowed down to R = 1, 2, 4 and 6 and R is measured. Then real runs with e = 1 to 5 at R = 6 are
timed: seconds an upstream batch beside max(t_upstream, e * t_downstream), and what e adds to those of e = 1.
"""

import sys
from dataclasses import replace

from benchmarks.command_line import echoed_study
from experiments.command_line import exit_code

RATIOS = (1.0, 2.0, 4.0, 6.0)
ECHO_FACTORS = (1, 2, 3, 4, 5)
RUN_RATIO = 6.0
UPSTREAM_BATCHES = 64
"""A whole number of the chunks that the echo stage repeats at a time, as each run's uncounted start is one chunk."""
ROUNDS = 3


def main() -> None:
    """Prints both tables."""
    study = echoed_study(__doc__)
    from experiments.protocol.training import Training
    from pipelines.echoing.advice import timing
    from pipelines.echoing.tfdata.echo import CHUNK
    from pipelines.echoing.tfdata.runs import drive

    training = Training(study, overlap=True)
    print(
        f"{study.workload}, {study.variant} echoing\n"
        f"{'R set':>8}{'measured':>10}{'lowest - highest':>20}{'off by':>9}{'upstream ms set':>17}{'measured':>10}"
    )
    for ratio in RATIOS:
        wanted = ratio * training.downstream_seconds()
        pipeline = training.named_stages(training.slowed_down(wanted))
        before = timing.seconds_per_batch(pipeline.upstream(study.variant), None, 1, 8)
        behind = timing.seconds_per_batch(pipeline.downstream(study.variant), training.step, 1, 8)
        times = timing.Timing(before, behind)
        low, high = times.ratio_range
        words = f"{ratio:8g}{times.ratio:10.2f}{f'{low:.2f} - {high:.2f}':>20}{times.ratio / ratio - 1:+9.1%}"
        print(f"{words}{wanted * 1e3:17.2f}{times.upstream.mean * 1e3:10.2f}")
    print(f"milliseconds a batch downstream: {times.downstream.mean * 1e3:.2f}\n")

    runs = {
        e: Training(replace(study, variant=study.variant if e > 1 else "baseline", echo_factor=e), overlap=True)
        for e in ECHO_FACTORS
    }
    taken: dict[int, list[float]] = {e: [] for e in ECHO_FACTORS}
    models: dict[int, list[float]] = {e: [] for e in ECHO_FACTORS}
    for _ in range(ROUNDS):
        downstream = runs[2].downstream_seconds()
        for e, run_of in runs.items():
            run_of.warm_up()
            upstream = RUN_RATIO * downstream
            start = e * CHUNK // study.batch_size
            updates = start + e * UPSTREAM_BATCHES
            run = drive(run_of.batches(run_of.slowed_down(upstream)), run_of.step, updates)
            taken[e].append((run.seconds - float(run.steps[start - 1, 1])) / UPSTREAM_BATCHES)
            models[e].append(timing.model_seconds(upstream, downstream, e, 1))
    print(f"{'e':>4}{'ms an upstream batch':>22}{'model':>10}{'off by':>9}{'over e = 1':>12}")
    for e in ECHO_FACTORS:
        measured, model = sum(taken[e]) / ROUNDS, sum(models[e]) / ROUNDS
        over = sum(taken[e]) / sum(taken[1]) - 1
        print(f"{e:4}{measured * 1e3:22.2f}{model * 1e3:10.2f}{measured / model - 1:+9.1%}{over:+12.1%}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
