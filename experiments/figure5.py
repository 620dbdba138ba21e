"""Figure 5: how useful an echo factor can get, and that it can get larger at a larger batch size.

    python -m experiments.figure5 --scale=small             the studies (resumable; see --plan for the hours)
    python -m experiments.figure5 --scale=small --plan      what that will run
    python -m analysis.figure5 --scale=small                the plot, beside the paper's

Example echoing with e up to 16, at two batch sizes a factor of four apart (panels a and b). The paper's best e at the
smaller one lies between 4 and 8, and even e = 16 is far better there than no echoing; at the larger one e = 16 is best.
"""

import sys

from ml_collections import ConfigDict

from experiments import workloads
from experiments.command_line import main
from experiments.protocol.experiment import Experiment
from experiments.protocol.study import Study, make_study

ECHO_FACTORS = (1, 2, 4, 8, 16)


def studies(config: ConfigDict, *, bound: bool = True) -> list[Study]:
    """The studies of both panels."""
    return [
        make_study(config, "baseline" if factor == 1 else "example", factor, batch_size=batch_size, bound=bound)
        for batch_size in config.batch_sizes.figure5
        for factor in ECHO_FACTORS
    ]


EXPERIMENT = Experiment(5, __doc__, workloads.panels(5), studies)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
