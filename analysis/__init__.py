"""What results say. Pictures depend on nothing of the user's Matplotlib: neither its backend nor its settings."""

import os

from pipelines.interrupts import in_one_line

in_one_line()
os.environ["MPLBACKEND"] = "agg"

import matplotlib  # noqa: E402

matplotlib.rcdefaults()
