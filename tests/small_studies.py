"""Studies that train in a fraction of a second, for the tests."""

import dataclasses

from experiments import workloads
from experiments.protocol.study import make_study

OVERRIDES = {
    "model.width": "8",
    "model.hidden": "8",
    "data.validation_examples": "16",
    "eval_every_steps": "4",
    "target": "3.9",
    "trials": "3",
    "searches": "2",
    "batch_size": "8",
    "shuffle_buffer": "20",
}


def tiny(variant="baseline", echo_factor=1.0, overrides=None, **changes):
    """A study of 24 updates a trial at the smoke scale."""
    config = workloads.load("transformer_lm1b", "smoke", OVERRIDES | (overrides or {}))
    study = make_study(config, variant, echo_factor)
    return dataclasses.replace(study, **({"budget_steps": 24} | changes))
