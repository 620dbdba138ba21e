"""The package by itself, under the name that it installs as: `echoing`, without the suite."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def python(code):
    """What `code` prints where the package is all there is of the project."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT / "pipelines")}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_import_needs_numpy_alone():
    before_and_after = (
        "import sys, numpy.random; before = set(sys.modules); import echoing; print(*set(sys.modules) - before)"
    )
    others = {name.partition(".")[0] for name in python(before_and_after)} - set(sys.stdlib_module_names)
    assert others == {"echoing"}


@pytest.mark.parametrize(
    ("module", "needs"),
    [("echoing", "numpy"), ("echoing.iterables", "numpy"), ("echoing.pytorch", "torch"), ("echoing.pygrain", "grain")],
)
def test_examples_in_docstrings_print_what_they_say(module, needs):
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    failed, tried = map(int, python(f"import doctest, {module}; print(*doctest.testmod({module}))"))
    assert failed == 0 and tried > 0


def test_every_folder_of_the_package_is_installed_with_its_tables():
    package = ROOT / "pipelines" / "echoing"
    folders = {path.parent for path in package.rglob("*.py")}
    names = {".".join(["echoing", *folder.relative_to(package).parts]): folder for folder in folders}
    settings = PROJECT["tool"]["setuptools"]
    assert set(settings["packages"]) == set(names)
    others = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert {names[name] / file for name, files in settings["package-data"].items() for file in files} == others


def test_version_is_semantic_and_runtime_dependency_is_numpy():
    (version,) = python("import echoing; print(echoing.__version__)")
    assert len([int(part) for part in version.split(".")]) == 3
    assert [name.partition(">")[0] for name in PROJECT["project"]["dependencies"]] == ["numpy"]
