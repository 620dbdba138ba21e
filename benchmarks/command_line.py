"""What the benchmarks of one workload have in common on the command line."""

import os

from experiments import workloads
from experiments.command_line import Parser
from experiments.figure4 import earliest
from experiments.protocol import worker
from experiments.protocol.study import Study, make_study


def echoed_study(doc: str | None) -> Study:
    """The study, at e = 2 at its earliest echo point, of the workload that --workload and --scale choose.

    The environment is then that of a training process, so JAX and TensorFlow are to be imported after it.
    """
    parser = Parser(doc)
    parser.add_argument("--workload", choices=workloads.WORKLOADS, default="transformer_lm1b")
    parser.add_argument("--scale", choices=("smoke", "small"), default="small")
    flags = parser.parse_args()
    config = workloads.load(flags.workload, flags.scale)
    os.environ.update(worker.environment(flags.scale))
    return make_study(config, earliest(config), 2)
