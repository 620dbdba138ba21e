"""Settings for all tests: the environment of a training process, made before JAX and TensorFlow are imported."""

import os

from experiments import engine

os.environ.update(engine.worker_environment("smoke"))
