"""Settings for all tests: the environment of a training process, made before JAX and TensorFlow are imported.

Compiled without optimisation: tests take few updates, and the paper's networks would compile for minutes.
"""

import os

from experiments.protocol import worker

os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
os.environ.update(worker.environment("smoke"))
