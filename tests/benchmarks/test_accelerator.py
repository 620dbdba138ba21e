import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks import accelerator
from experiments import timings, workloads
from experiments.protocol.model import CompiledModel
from experiments.protocol.study import make_study
from models import tasks
from pipelines.echoing.tfdata.stages import Stages, build
from pipelines.sources import registry

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOT_NEEDED = ("tensorflow", "tensorflow_datasets", "distributed", "sentencepiece", "pandas")


def study(workload, scale, **settings):
    return make_study(workloads.load(workload, scale, settings), "baseline", 1)


def types(batch):
    return {name: (tuple(array.shape), jnp.dtype(array.dtype).name) for name, array in batch.items()}


@pytest.mark.parametrize("workload", workloads.WORKLOADS)
def test_random_batches_are_shaped_as_the_pipeline_makes_them(workload, tmp_path):
    of = study(workload, "smoke")
    settings = dict(of.config["data"])
    if "data_dir" in settings:
        settings |= {"data_dir": str(tmp_path), "train_examples": 10, "validation_examples": 10}
    source = registry.load(settings)
    batches = build(source.train(0), Stages("baseline", 1, of.batch_size, 0), seed=0, augment=source.augment)
    training = {name: array for name, array in next(batches.as_numpy_iterator()).items() if name != "name"}
    assert types(accelerator.random_batch(of, of.batch_size, False)) == types(training)
    validation = next(source.validation().batch(10).as_numpy_iterator())
    expected = types({name: array for name, array in validation.items() if name != "name"})
    drawn = types(accelerator.random_batch(of, 10, True))
    expected.pop("image_id", None), drawn.pop("image_id", None)  # int64, which JAX makes int32
    assert drawn == expected


def test_random_objects_are_boxes_of_known_classes():
    batch = accelerator.random_batch(study("ssd_coco", "paper"), 16, False)
    assert jnp.all(batch["boxes"][..., 2:] > batch["boxes"][..., :2])
    assert jnp.all((batch["boxes"] >= 0) & (batch["boxes"] <= 1.01))
    assert set(jnp.unique(batch["labels"]).tolist()) <= set(range(-1, 80))
    assert jnp.all(jnp.sum(batch["labels"] >= 0, axis=1) == 8)


def test_operations_of_a_loop_count_as_often_as_it_runs():
    def product(a, b):
        return jax.lax.scan(lambda total, row: (total + row @ b, None), jnp.zeros((3, 5)), a)[0]

    jaxpr = jax.make_jaxpr(product)(jnp.ones((7, 3, 4)), jnp.ones((4, 5))).jaxpr
    assert accelerator.matrix_operations(jaxpr) == 7 * 2 * 3 * 4 * 5


@pytest.mark.parametrize("workload", ["transformer_lm1b", "resnet32_cifar10", "resnet50_imagenet", "ssd_coco"])
def test_operations_at_the_papers_settings_are_those_that_xla_counts(workload, monkeypatch):
    monkeypatch.setattr(tasks, "LOGITS_BYTES", math.inf)  # without the loop over pieces, which XLA counts once
    of = study(workload, "paper")
    model = CompiledModel(of.config["model"], of.config["nesterov"])
    batch = jax.eval_shape(lambda: accelerator.random_batch(of, of.batch_size, False))
    state = jax.eval_shape(model.init, 0, batch)
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    traced = model.update.trace(state, batch, {"learning_rate": scalar, "momentum": scalar})
    counted = accelerator.matrix_operations(traced.jaxpr.jaxpr)
    # XLA counts the arithmetic between products as well, and leaves out what convolutions compute of their padding.
    assert traced.lower().cost_analysis()["flops"] == pytest.approx(counted, rel=0.08)


@pytest.mark.slow
def test_a_record_is_made_without_tensorflow_and_kept_beside_others(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Forbidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {NOT_NEEDED}:\n"
        "            raise ImportError(f'forbidden: {name}')\n"
        "sys.meta_path.insert(0, Forbidden())\n"
    )
    out = tmp_path / "timing.json"
    command = [sys.executable, "-m", "benchmarks.accelerator", "--scale=smoke", f"--out={out}"]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    texts = "--workloads=transformer_lm1b,transformer_common_crawl"
    for arguments in ([texts], ["--workloads=transformer_lm1b", "--config.batch_size=8", "--revision=abc"]):
        done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    first, second, third = timings.read(out)
    assert [record["batch_size"] for record in (first, second, third)] == [32, 32, 8]
    assert second["same_program_as"] == "transformer_lm1b"
    assert second["update"] == first["update"]
    assert third["provenance"]["git_revision"] == "abc"
    assert "error" not in first
    update = first["update"]
    assert 0 < update["fastest"] <= update["seconds"] <= update["slowest"]
    assert update["operations"] == 31_457_280
    assert update["program_bytes"] > update["state_bytes"] > 0
    assert first["evaluation"]["seconds"] > 0


def test_the_input_is_timed_alone(monkeypatch):
    monkeypatch.setattr(accelerator, "INPUT_SECONDS", 0.2)
    of, sent = study("transformer_lm1b", "smoke"), Sent()
    accelerator._measure_input(of, sent)
    (found,) = sent
    assert found["input"]["examples_per_second"] > 0
    record = timings.described(of) | found | {"update": {"seconds": 2.0, "share_of_peak_operations": None}}
    record["update"] |= {"peak_bytes": 1, "state_bytes": 1}
    record["device"] = {"kind": "cpu", "count": 1}
    expected = of.batch_size / found["input"]["examples_per_second"] / 2
    assert timings.cost(of, [record]).r == pytest.approx(expected)
    assert f"R = {expected:.2g}" in timings.in_words(record)


def dies(study, sender):
    sender.send({"device": "known"})
    sender.close()
    os._exit(7)


def hangs(study, sender):
    sender.send({"device": "known"})
    time.sleep(600)


def fails(study, sender):
    raise ValueError("no such thing\nsecond line")


@pytest.mark.parametrize(
    ("work", "seconds", "found"),
    [
        (dies, 60, {"device": "known", "error": "its process ended with code 7"}),
        (hangs, 15, {"device": "known", "error": "stopped after 15 s, see --seconds"}),
        (fails, 60, {"error": "ValueError: no such thing"}),
    ],
)
def test_what_a_broken_process_had_sent_is_kept(work, seconds, found):
    assert accelerator.in_own_process(work, study("transformer_lm1b", "smoke"), seconds) == found


class Sent(list):
    def send(self, found):
        self.append(found)


def test_a_batch_that_does_not_fit_is_halved(monkeypatch):
    of = study("transformer_lm1b", "smoke")
    measured = accelerator._update

    def limited(model, study, batch_size):
        if batch_size > 8:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return measured(model, study, batch_size)

    monkeypatch.setattr(accelerator, "_update", limited)
    monkeypatch.setattr(accelerator, "ROUND_SECONDS", 0.01)
    sent = Sent()
    accelerator._measure(of, sent)
    found = {key: value for part in sent for key, value in part.items()}
    assert found["does_not_fit"] == [32, 16]
    assert found["batch_size"] == 8
    record = json.loads(timings.text([timings.described(of) | found]))["records"][0]
    assert timings.in_words(record).startswith("transformer_lm1b batch 8: 32, 16 do not fit;")
    cost = timings.cost(of, [record])
    assert not cost.measured
    assert cost.seconds_per_update > 4 * found["update"]["seconds"]
    older = {key: value for key, value in record.items() if key not in ("rematerialise", "gradient_accumulation")}
    assert timings.cost(of, [older]) == cost
    assert timings.cost(study("transformer_lm1b", "smoke", rematerialise="true"), [older]) is None


def test_virtual_batches_are_not_cut(monkeypatch):
    def exhausted(model, study, batch_size):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(accelerator, "_update", exhausted)
    sent = Sent()
    with pytest.raises(jax.errors.JaxRuntimeError):
        accelerator._measure(study("resnet50_imagenet", "smoke", **{"model.ghost_batch_size": "32"}), sent)
    assert sent[-1] == {"does_not_fit": [64]}


@pytest.mark.parametrize(
    ("kind", "operations"),
    [("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12), ("TPU v5 lite", 197e12), ("cpu", None)],
)
def test_peaks_go_by_the_devices_name(kind, operations):
    assert accelerator.peaks(kind)[0] == operations


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--workloads=resnet"], "--workloads: 'resnet' is none of"),
        (["--config.batch_sise=3"], "did you mean batch_size?"),
    ],
)
def test_bad_input_is_one_line(arguments, named, tmp_path, capsys):
    assert accelerator.main([*arguments, f"--out={tmp_path / 'timing.json'}"]) == 1
    assert named in capsys.readouterr().err


def test_another_file_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "notes.json").write_text("{}")
    assert accelerator.main([f"--out={tmp_path / 'notes.json'}"]) == 1
    assert "is no file that" in capsys.readouterr().err
    assert (tmp_path / "notes.json").read_text() == "{}"
