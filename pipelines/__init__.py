import os

# Before TensorFlow is loaded: its notes are not the user's errors, and its oneDNN, which speaks at any level, does
# nothing in a pipeline.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from pipelines.interrupts import in_one_line

in_one_line()
