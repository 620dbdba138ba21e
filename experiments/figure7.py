"""Figure 7: with e = 2, echoing helps more the more its copies are shuffled.

    python -m experiments.figure7 --scale=small             the studies (resumable; see --plan for the hours)
    python -m experiments.figure7 --scale=small --plan      what that will run
    python -m analysis.figure7 --scale=small                the plot, beside the paper's

Batch echoing with its repeated batches shuffled in a buffer of 1 (none), 10 and 100 batches (panel a); the baseline and
example echoing with a shuffle buffer of a tenth, one and ten times the workload's own (panel b). In the paper a larger
buffer helps echoing of either kind, and not the baseline. Fresh examples are those of the updates taken, so what waits
in a buffer is not counted: at small scale 100 repeated batches hold 50 fresh ones, 16 % of what the run needs, where
the paper's hold less than 1 %. Bars can pass the dashed line by that much.
"""

import sys

from ml_collections import ConfigDict

from experiments import workloads
from experiments.command_line import main
from experiments.protocol.experiment import Experiment
from experiments.protocol.study import Study, make_study

ECHO_FACTOR = 2
REPEATED_BATCH_BUFFERS = (0, 10, 100)
"""In batches; one batch is no shuffling, so it is made without that buffer, as in Figure 3."""
SHUFFLE_BUFFERS = (1 / 10, 1, 10)
"""In units of the workload's own."""


def studies(config: ConfigDict, *, bound: bool = True) -> list[Study]:
    """The studies of both panels."""
    made = [
        make_study(config, "batch", ECHO_FACTOR, repeated_batch_buffer=buffer, bound=bound)
        for buffer in REPEATED_BATCH_BUFFERS
    ]
    for multiple in SHUFFLE_BUFFERS:
        buffer = round(multiple * config.shuffle_buffer)
        made.append(make_study(config, "baseline", 1, shuffle_buffer=buffer, bound=bound))
        made.append(make_study(config, "example", ECHO_FACTOR, shuffle_buffer=buffer, bound=bound))
    return made


EXPERIMENT = Experiment(7, __doc__, workloads.panels(7), studies)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
