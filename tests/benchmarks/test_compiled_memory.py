import importlib.util
import json
import subprocess
import sys

import pytest

from benchmarks import memory
from experiments import workloads
from experiments.protocol.study import make_study


def compile_for_a_tpu(out):
    """In a process of its own: the TPU's library is in use until its process ends."""
    command = [sys.executable, "-m", "benchmarks.memory", "--scale=smoke", "--workloads=transformer_lm1b"]
    changes = ["--devices=1", f"--out={out}", "--config.data.length=128"]
    return subprocess.run([*command, *changes], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="pip install libtpu")
def test_less_memory_is_needed_in_parts(tmp_path):
    done = compile_for_a_tpu(tmp_path / "memory.json")
    assert done.returncode == 0, done.stderr
    plain, rematerialised, parts = json.loads((tmp_path / "memory.json").read_text())["records"]
    assert parts["bytes"] < rematerialised["bytes"] < plain["bytes"]
    assert parts["gradient_accumulation"] == 8
    assert plain["argument_bytes"] == parts["argument_bytes"]


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_the_library_one_line_says_what_to_install(tmp_path):
    done = compile_for_a_tpu(tmp_path / "memory.json")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: cannot compile for TPUs")
    assert "pip install libtpu" in done.stderr


@pytest.mark.parametrize(
    ("workload", "devices", "parts"),
    [
        ("transformer_lm1b", 32, [1, 1, 8]),
        ("resnet50_imagenet", 1, [1, 1, 8]),
        ("resnet50_imagenet", 8, [1, 1, 4]),
        ("resnet50_imagenet", 32, [1, 1]),
        ("ssd_coco", 1, [1, 1, 2]),
        ("resnet32_cifar10", 1, [1, 1]),
    ],
)
def test_batches_are_cut_into_whole_virtual_batches_on_each_device(workload, devices, parts):
    study = make_study(workloads.load(workload, "paper"), "baseline", 1)
    assert [config["gradient_accumulation"] for config in memory.settings(study, devices)] == parts
