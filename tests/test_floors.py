"""Each package imports only those below it and reads no table that one above it writes (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BELOW: dict[str, set[str]] = {
    "models": set(),
    "pipelines": set(),
    "experiments": {"models", "pipelines"},
    "analysis": {"models", "pipelines", "experiments"},
}


def nodes(package):
    """Every syntax node of the package's modules, after the file that it is in."""
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    return [(path.relative_to(ROOT), node) for path in paths for node in ast.walk(ast.parse(path.read_bytes()))]


def imported(node):
    """The packages that a statement imports from."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {node.module.split(".")[0]} if isinstance(node, ast.ImportFrom) and node.level == 0 else set()


def names_results(node):
    """Whether it is a string with `results` as a part of a path."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and "results" in Path(node.value).parts


@pytest.mark.parametrize("package", BELOW)
def test_a_package_imports_only_those_below_it(package):
    others = {*BELOW, "benchmarks"} - BELOW[package] - {package}
    assert [f"{path}:{node.lineno}" for path, node in nodes(package) if imported(node) & others] == []


@pytest.mark.parametrize("package", ["models", "pipelines"])
def test_models_and_pipelines_name_no_path_under_results(package):
    assert [f"{path}:{node.lineno}" for path, node in nodes(package) if names_results(node)] == []
