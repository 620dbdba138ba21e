"""Figure 8: echoing with e = 4 does not make the final quality worse (section 3.6).

    python -m experiments.figure8 --scale=small             the studies (resumable; see --plan for the hours)
    python -m experiments.figure8 --scale=small --plan      what that will run
    python -m analysis.figure8 --scale=small                the plot, beside the paper's

Every variant reads the same number of fresh examples, takes e times the baseline's updates on them, and is judged by
the best value of the metric that any of its trials reaches. No trial is stopped early, so it costs more than a search
for a target. Evaluations are so many fresh examples apart for every variant. In the paper they are so many updates
apart: echoing is evaluated e times as often, and the best of more evaluations is a little better by chance.
"""

import sys

from ml_collections import ConfigDict

from experiments import workloads
from experiments.command_line import main
from experiments.protocol.experiment import Experiment
from experiments.protocol.study import Study, make_study

ECHO_FACTOR = 4


def studies(config: ConfigDict, *, bound: bool = False) -> list[Study]:
    """The studies of one panel: each variant of a workload at the fixed budget.

    Every trial is trained to its end whatever `bound` says: the best value needs it.
    """
    return [
        make_study(
            config,
            variant,
            factor,
            budget_fresh_examples=config.fixed_budget.fresh_examples,
            eval_every_steps=config.eval_every_steps * factor,
            trials=config.fixed_budget.trials,
            bound=False,
        )
        for variant in config.budget_fresh_examples
        for factor in [1 if variant == "baseline" else ECHO_FACTOR]
    ]


EXPERIMENT = Experiment(8, __doc__, workloads.panels(8), studies)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
