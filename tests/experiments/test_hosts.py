"""Several processes that train one trial together: the same losses as one; what cannot be split is named."""

import json
import os
import socket
import subprocess
import sys

import pytest
from small_studies import tiny

from experiments.protocol import hosts, store
from experiments.protocol.study import ConfigError
from experiments.protocol.training import Training

PARTS = {"input_parts": "4", "target": "0.1"}
RUN = """
import pathlib, sys
from small_studies import tiny
from experiments.protocol import engine
study = tiny(overrides={overrides}, searches=1, trials=2)
engine.run([study], root=pathlib.Path(sys.argv[1]), engine="inline", distributed=(sys.argv[2:] or [None])[0])
"""


def start(root, devices, *where):
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    code = RUN.format(overrides=PARTS)
    command = [sys.executable, "-c", code, str(root), *where]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def values(root):
    folders = [store.TrialFolder(root, tiny(overrides=PARTS, searches=1, trials=2), 0, index) for index in (0, 1)]
    assert all(folder.result() for folder in folders)
    return [m.value for folder in folders for m in folder.measurements()]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_processes_train_to_the_losses_of_one(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    together = [start(tmp_path / "two", 2, f"{address},2,{number}") for number in (0, 1)]
    alone = start(tmp_path / "one", 4)
    for process in (*together, alone):
        _, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
    assert values(tmp_path / "two") == pytest.approx(values(tmp_path / "one"), abs=1e-5)
    assert len(values(tmp_path / "one")) == 12


def test_parts_of_the_input_have_no_example_in_common(tmp_path):
    """In an epoch, and together they are all of it."""
    study = tiny(overrides={"data.validation_examples": "16"})
    source = Training(study)._source
    parts = [source.training(0, part, 3).take(50).as_numpy_iterator() for part in range(3)]
    seen = [{json.dumps(example["tokens"].tolist()) for example in part} for part in parts]
    assert all(len(part) > 40 for part in seen)
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def test_what_cannot_be_split_is_named_with_what_could():
    with pytest.raises(ConfigError, match=r"a batch of 8 cannot be split over 1 devices and 3 input_parts; 6 and 9"):
        Training(tiny(overrides={"input_parts": "3"}))
    with pytest.raises(ConfigError, match="12 would do"):
        Training(tiny(overrides={"input_parts": "12"}))
    with pytest.raises(ConfigError, match="echoing batches by a fraction"):
        Training(tiny("batch", 1.5, overrides={"input_parts": "2"}))


@pytest.mark.parametrize("where", ["host", "host:1", "host:1,2", "host:1,2,2", "host:1,two,0", "host:1,2,0,0"])
def test_where_the_processes_are_is_checked(where):
    with pytest.raises(ConfigError, match="distributed"):
        hosts.join(where)
