"""What the advisor (`pipelines.echoing.advice`) says of a workload: t_upstream, t_downstream, R at each echo point.

    python -m experiments.advise --workload=transformer_lm1b --scale=small              its own source
    python -m experiments.advise --workload=transformer_lm1b --scale=small --ratio=4    slowed down to R = 4
    python -m experiments.advise ... --confirm                                          times the suggestion as well

With --ratio the source sleeps so that reading takes that many times what follows it takes.
"""

import os
import sys

from experiments import workloads
from experiments.command_line import Parser, exit_code, positive_float
from experiments.figure4 import earliest
from experiments.protocol import worker
from experiments.protocol.study import ConfigError, make_study
from pipelines.sources import presence

MOST_SECONDS = 10.0
"""The longest that a batch may take to be read; advice would take minutes."""


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--workload", choices=workloads.WORKLOADS, required=True)
    parser.add_argument("--scale", choices=workloads.SCALES, required=True)
    parser.add_argument("--ratio", type=positive_float, help="R that the source is slowed down to; default: as it is")
    parser.add_argument("--confirm", action="store_true", help="time the suggestion as well")
    flags, overrides = parser.parse_with_overrides(argv)

    def work() -> None:
        config = workloads.load(flags.workload, flags.scale, overrides)
        study = make_study(config, earliest(config), 2)
        presence.check(study.config["data"])
        os.environ.update(worker.environment(flags.scale))
        from experiments.protocol.training import Training, pipeline_errors  # imports JAX and TensorFlow
        from pipelines.echoing.advice import advise
        from pipelines.echoing.advice.__main__ import print_confirmation

        training = Training(study, overlap=True)
        examples = training.examples
        if flags.ratio is not None:
            seconds = training.downstream_seconds()
            if flags.ratio * seconds > MOST_SECONDS:
                most = MOST_SECONDS / seconds
                raise ConfigError(f"--ratio must be at most {most:,.0f} here, which is {MOST_SECONDS:g} s a batch")
            examples = training.slowed_down(flags.ratio * seconds)
            print(f"reading slowed down to {flags.ratio:g} times {seconds * 1e3:.2f} ms a batch\n")
        pipeline = training.named_stages(examples)
        with pipeline_errors(study):
            advice = advise(pipeline, training.step)
            print(advice)
            if flags.confirm:
                print_confirmation(pipeline, training.step, advice)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
