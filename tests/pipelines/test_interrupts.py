import subprocess
import sys

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

def work():
    Dying()
    for _ in range(500):
        time.sleep(0.01)
    print("unheard")

sys.exit(exit_code(work, stopped="stopped; kept"))
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_that_comes_in_a_destructor_is_heard(name, code):
    done = subprocess.run([sys.executable, "-c", SWALLOWED.format(name=name)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "stopped; kept\n")
