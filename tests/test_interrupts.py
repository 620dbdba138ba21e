"""Ctrl-C while a command imports its libraries, or where Python or a library swallows it."""

import os
import signal
import subprocess
import sys
import time

import pytest

SWALLOWED = """
import os, signal, sys, time
sys.argv = ["-m"]
import experiments
from experiments.command_line import exit_code
sys.argv = ["command"]

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        time.sleep(0)

def careless():
    try:
        os.kill(os.getpid(), signal.{name})
        time.sleep(0)
    except Exception:
        pass

def work():
    {swallows}()
    for _ in range(500):
        time.sleep(0.01)
    print("unheard")

sys.exit(exit_code(work, stopped="stopped; kept"))
"""


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


@pytest.mark.parametrize("swallows", ["Dying", "careless"])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_that_is_swallowed_is_heard(name, code, swallows):
    script = SWALLOWED.format(name=name, swallows=swallows)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "stopped; kept\n")
