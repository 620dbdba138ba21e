"""docs/adding-a-workload.md, followed to the letter in a copy of the suite: one new module, no other file touched."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

PACKAGES = ("models", "pipelines", "experiments", "analysis")


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    for package in PACKAGES:
        shutil.copytree(package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path("results") / "published", folder / "results" / "published")
    shutil.copy(Path("tests") / "mlp_fashion_mnist.py", folder / "experiments" / "workloads")
    return folder


def run(suite, *command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=suite, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_sixth_workload_is_one_module(suite):
    run(suite, "experiments.figure3", "--scale=smoke", "--panel=f", "--engine=inline")
    assert "collected" in run(suite, "experiments.collect", "--scale=smoke")
    printed = run(suite, "analysis.figure3", "--scale=smoke")
    table = pd.read_csv(suite / "results" / "smoke" / "figure3.csv")
    assert table["variant"].tolist() == ["baseline", "batch", "example"]
    assert set(table["workload"]) == {"mlp_fashion_mnist"}
    assert (table["reached"] == 2).all()
    rows = [line for line in printed.splitlines() if line.startswith("| 3f")]
    assert len(rows) == 6
    assert all("Perceptron on Fashion-MNIST" in row and "not run" not in row for row in rows)
    assert "resnet32_cifar10 is left out" in printed


def test_the_other_figures_do_not_notice(suite):
    assert "transformer_lm1b" in run(suite, "experiments.figure6", "--scale=small", "--plan")
    assert "mlp_fashion_mnist" in run(suite, "experiments.figure3", "--scale=paper", "--plan")


@pytest.mark.slow
def test_a_source_that_is_not_there_is_one_line(suite):
    named = "data.source experiments.workloads.nothing:images"
    command = (
        "experiments.figure3",
        "--scale=smoke",
        "--panel=f",
        "--engine=inline",
        f"--config.{named.replace(' ', '=')}",
    )
    done = subprocess.run(
        [sys.executable, "-m", *command, "--runs=others"], cwd=suite, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert named in done.stderr.splitlines()[-1]
