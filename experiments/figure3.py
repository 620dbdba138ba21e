"""Figure 3: with e = 2, every echoing variant reaches the target with fewer fresh examples than the baseline.

    python -m experiments.figure3 --scale=small             the studies (resumable; see --plan for the hours)
    python -m experiments.figure3 --scale=small --plan      what that will run
    python -m analysis.figure3 --scale=small                the plot, beside the paper's

The paper's exception is batch echoing on ResNet-50. Echoing earlier in the pipeline helps more, and echoing before
augmentation comes near one fresh example's worth for each echoed one.
"""

import sys

from ml_collections import ConfigDict

from experiments import workloads
from experiments.command_line import main
from experiments.protocol.experiment import Experiment
from experiments.protocol.study import Study, make_study

ECHO_FACTOR = 2


def studies(config: ConfigDict, *, bound: bool = True) -> list[Study]:
    """The studies of one panel: each variant of a workload at its default sizes."""
    variants = [variant for variant in config.budget_fresh_examples if variant != "baseline"]
    return [
        make_study(config, "baseline", 1, bound=bound),
        *(make_study(config, variant, ECHO_FACTOR, bound=bound) for variant in variants),
    ]


EXPERIMENT = Experiment(3, __doc__, workloads.panels(3), studies)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
