"""Figure 6: with e = 2, batch echoing helps more at larger batch sizes, and comes near example echoing.

    python -m experiments.figure6 --scale=small             the studies (resumable; see --plan for the hours)
    python -m experiments.figure6 --scale=small --plan      what that will run
    python -m analysis.figure6 --scale=small                the plot, beside the paper's

Every variant at four batch sizes, a factor of four apart. In the paper batch echoing's share of the baseline's fresh
examples falls as the batch grows; that of example echoing stays or rises, with exceptions that the claims name. At
small scale ResNet-50's largest batch has a larger shuffle buffer than the others, so that it holds six batches as the
paper's does.
"""

import sys

from ml_collections import ConfigDict

from experiments import workloads
from experiments.command_line import main
from experiments.protocol.experiment import Experiment
from experiments.protocol.study import Study, make_study

ECHO_FACTOR = 2


def studies(config: ConfigDict, *, bound: bool = True) -> list[Study]:
    """The studies of one panel: each variant of a workload at each batch size."""
    return [
        make_study(config, variant, 1 if variant == "baseline" else ECHO_FACTOR, batch_size=batch_size, bound=bound)
        for batch_size in config.batch_sizes.figure6
        for variant in config.budget_fresh_examples
    ]


EXPERIMENT = Experiment(6, __doc__, workloads.panels(6), studies)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
