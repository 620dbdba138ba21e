"""Every command says what it does, and takes no flag that it does not know."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for package in ("experiments", "analysis", "pipelines", "benchmarks")
    for path in (ROOT / package).rglob("*.py")
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
)


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
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_helps_and_refuses_flags_that_it_does_not_know(command, ended):
    code, out, _ = ended(command, "--help")
    if "benchmarks/requirements.txt" in str(code):
        pytest.skip(code)
    assert code == 0 and out.startswith("usage:")
    assert f"python -m {command}" in out
    code, _, err = ended(command, "--nonsense")
    assert code == 2 and re.search("--nonsense|required", err.splitlines()[-1])
