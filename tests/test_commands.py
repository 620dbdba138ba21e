"""Every command says what it does, and takes no flag that it does not know."""

import re
import runpy
import sys

import pytest

from benchmarks.invocations import commands


@pytest.fixture
def ended(monkeypatch, capsys):
    """Runs a command with arguments; returns its exit code, what it printed and its errors."""

    def run(command, *arguments):
        monkeypatch.setattr(sys, "argv", [command, *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_module(command, run_name="__main__")
        return (end.value.code, *capsys.readouterr())

    return run


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")
@pytest.mark.parametrize("command", commands())
def test_a_command_helps_and_refuses_flags_that_it_does_not_know(command, ended):
    code, out, _ = ended(command, "--help")
    assert code == 0 and out.startswith("usage:")
    assert f"python -m {command}" in out
    code, _, err = ended(command, "--nonsense")
    assert code == 2 and re.search("--nonsense|required", err.splitlines()[-1])
