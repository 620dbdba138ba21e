"""Ctrl-C while a command imports its libraries."""

import os
import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("module", ["analysis.all", "experiments.advise", "benchmarks.adaptive"])
def test_an_interrupt_is_one_line(module):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
    process = subprocess.Popen([sys.executable, "-m", module], stderr=subprocess.PIPE, text=True)
    time.sleep(0.25)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode
    assert len(said.splitlines()) == 1, said
