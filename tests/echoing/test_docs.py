"""The examples of docs/echo.md run as they stand, under the name that the package installs as."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDS = {
    "Any iterable": "numpy",
    "PyTorch": "torch",
    "Grain": "grain",
    "tf.data": "tensorflow",
    "Which e, where, and what will it gain?": "numpy",
}


@pytest.mark.parametrize("section", NEEDS)
def test_examples_of_a_section_run(section, tmp_path):
    if importlib.util.find_spec(NEEDS[section]) is None:
        pytest.skip(f"{NEEDS[section]} is not installed")
    (text,) = re.findall(
        rf"^## {re.escape(section)}\n(.*?)^## ", (ROOT / "docs/echo.md").read_text(), re.DOTALL | re.MULTILINE
    )
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    script = tmp_path / "example.py"
    script.write_text("\n\n".join(blocks))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "pipelines")}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
