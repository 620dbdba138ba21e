"""What results say. Pictures depend on nothing of the user's Matplotlib: neither its backend nor its settings."""

import os

os.environ["MPLBACKEND"] = "agg"

import matplotlib

matplotlib.rcdefaults()
