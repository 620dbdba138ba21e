"""Figure 5: how useful an echo factor can get, and that it can get larger at a larger batch size.

    python -m experiments.figure5 --scale=small             the studies (resumable; see --plan for the hours)
    python -m experiments.figure5 --scale=small --plan      what that will run
    python -m analysis.figure5 --scale=small                the plot, beside the paper's

Example echoing with e up to 16, at the workload's batch size (panel a) and at four times that (panel b). The paper's
best e at the smaller batch size lies between 4 and 8, and even e = 16 is far better than no echoing; at the larger one
e = 16 is best.
"""

import sys

from ml_collections import ConfigDict

from experiments.command_line import main
from experiments.study import Study, make_study

PANELS = {"ab": "transformer_lm1b"}
ECHO_FACTORS = (2, 4, 8, 16)
BATCH_SIZES = {"a": 1, "b": 4}
"""Of each panel, in units of the workload's own."""


def studies(config: ConfigDict, *, bound: bool = True) -> list[Study]:
    """The studies of both panels."""
    made = []
    for multiple in BATCH_SIZES.values():
        batch_size = multiple * config.batch_size
        made.append(make_study(config, "baseline", 1, batch_size=batch_size, bound=bound))
        made += [make_study(config, "example", factor, batch_size=batch_size, bound=bound) for factor in ECHO_FACTORS]
    return made


if __name__ == "__main__":
    sys.exit(main(__doc__, PANELS, studies))
