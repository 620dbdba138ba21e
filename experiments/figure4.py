"""Figure 4: with echoing before augmentation, training time falls with the fresh examples, up to e = R and beyond.

    python -m experiments.figure4 --scale=small             the studies (resumable; see --plan for the hours)
    python -m experiments.figure4 --scale=small --plan      what that will run
    python -m experiments.wall_clock --scale=small          then time reruns of the chosen trials, at several R
    python -m analysis.figure4 --scale=small                the plots, beside the paper's

Version 1 of the paper draws training time against e for several R, for Transformer on LM1B and ResNet-50 on ImageNet.
Version 3 tunes e = 1 to 5 at R of about 6 on ImageNet, reruns each chosen trial five times and reports 3.25 times less
time at e = 5.
"""

import sys

from ml_collections import ConfigDict

from experiments import workloads
from experiments.command_line import main
from experiments.protocol.experiment import Experiment
from experiments.protocol.study import Study, make_study

ECHO_FACTORS = (2, 3, 4, 5, 6)
RATIOS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def earliest(config: ConfigDict) -> str:
    """The variant that echoes earliest: before augmentation, where there is any."""
    before = "example_before_augmentation"
    return before if before in config.budget_fresh_examples else "example"


def budget(config: ConfigDict, factor: int) -> float | None:
    """Fresh examples of an echoing trial: of so many updates whatever the factor, or the workload's own if it has any.

    The paper gives ResNet-50 110,000 updates at every e.
    """
    updates = config.figure4_updates
    return None if updates is None else updates * config.batch_size / factor


def studies(config: ConfigDict, *, bound: bool = True) -> list[Study]:
    """The studies of one panel: the baseline, and the earliest echo with each factor."""
    return [
        make_study(config, "baseline", 1, bound=bound),
        *(
            make_study(config, earliest(config), factor, budget_fresh_examples=budget(config, factor), bound=bound)
            for factor in ECHO_FACTORS
        ),
    ]


EXPERIMENT = Experiment(4, __doc__, workloads.panels(4), studies)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
