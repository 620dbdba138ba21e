"""What saves memory changes an update by rounding only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import workloads
from experiments.protocol.model import CompiledModel
from experiments.protocol.study import PROGRAM, ConfigError, make_study
from models import resnet, tasks

POINT = {"learning_rate": np.float32(0.1), "momentum": np.float32(0.9)}


def program(workload, **changes):
    study = make_study(workloads.load(workload, "smoke"), "baseline", 1)
    return {key: study.config[key] for key in PROGRAM} | changes


def batch(workload, size):
    generator = np.random.default_rng(0)
    if workload == "transformer_lm1b":
        tokens = generator.integers(1, 128, (size, 32), np.int32)
        tokens[: size // 2, 5:] = 0  # parts of very different weight
        return {"tokens": tokens}
    if workload == "resnet50_imagenet":
        images = generator.integers(0, 256, (size, 32, 32, 3), np.uint8)
        return {"image": images, "label": generator.integers(0, 10, size, np.int32)}
    corners = np.sort(generator.uniform(size=(size, 5, 2, 2)).astype(np.float32), axis=2).reshape(size, 5, 4)
    labels = generator.integers(0, 10, (size, 5), np.int32)
    labels[: size // 2, 1:] = -1
    return {
        "image": generator.integers(0, 256, (size, 48, 48, 3), np.uint8),
        "boxes": np.where(labels[..., None] >= 0, corners, 0),
        "labels": labels,
    }


def updated(settings, some_batch, updates=2):
    model = CompiledModel(**settings)
    sent = model.put(some_batch)
    state = model.init(0, sent)
    for _ in range(updates):
        state, loss = model.update(state, sent, POINT)
    return loss, state


def assert_close(ours, theirs, tolerance=2e-4):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        scale = max(1e-3, float(np.abs(other).max()))
        np.testing.assert_allclose(one, other, atol=tolerance * scale)


@pytest.mark.slow
@pytest.mark.parametrize("workload", ["transformer_lm1b", "resnet50_imagenet", "ssd_coco"])
def test_rematerialised_and_accumulated_updates_are_the_same(workload):
    some_batch = batch(workload, 32)
    plain = updated(program(workload), some_batch)
    for change in ({"rematerialise": True}, {"gradient_accumulation": 2}):
        assert_close(updated(program(workload, **change), some_batch), plain)


def test_accumulation_keeps_virtual_batches_whole():
    settings = program("resnet50_imagenet", gradient_accumulation=3)  # virtual batches of 4
    with pytest.raises(ValueError, match=r"a batch of 32 is not 3 parts of whole virtual batches.*multiples of 12"):
        updated(settings, batch("resnet50_imagenet", 32))
    with pytest.raises(ValueError, match="must be 1 where the whole batch is normalised together"):
        CompiledModel(**program("resnet32_cifar10", gradient_accumulation=2))


@pytest.mark.parametrize("value", ["0", "1.5", "many"])
def test_bad_settings_are_named(value):
    with pytest.raises(ConfigError, match="gradient_accumulation"):
        workloads.load("transformer_lm1b", "small", {"gradient_accumulation": value})


@pytest.mark.parametrize("scale", workloads.SCALES)
def test_settings_at_their_default_are_in_no_hash(scale):
    def study(**changes):
        config = workloads.load("ssd_coco", scale, {key: str(value) for key, value in changes.items()})
        return make_study(config, "baseline", 1)

    default = study()
    older = dict(default.config)
    del older["rematerialise"], older["gradient_accumulation"]
    assert type(default)(**(vars(default) | {"config": older})).config_hash == default.config_hash
    assert len({default.name, study(rematerialise="true").name, study(gradient_accumulation=2).name}) == 3


@pytest.mark.parametrize("pieces", [4, 32])
def test_cross_entropy_in_pieces(monkeypatch, pieces):
    task = tasks.build(workloads.load("transformer_lm1b", "smoke").model.to_dict())
    some_batch = batch("transformer_lm1b", 8)
    parameters, state = task.init(jax.random.key(0), some_batch)
    gradients = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    whole = gradients(parameters, state, some_batch)
    monkeypatch.setattr(tasks, "LOGITS_BYTES", 4 * 8 * 32 * 128 / (pieces - 0.5))
    in_pieces = jax.jit(jax.value_and_grad(task.loss, has_aux=True))(parameters, state, some_batch)
    assert_close(in_pieces, whole, 1e-5)
    assert f"f32[8,{32 // pieces},128]" in str(jax.make_jaxpr(task.loss)(parameters, state, some_batch))
    assert "f32[8,32,128]" not in str(jax.make_jaxpr(task.loss)(parameters, state, some_batch))


@pytest.mark.parametrize("offset", [0, 30])
def test_normalisation_in_bfloat16_has_float32_statistics(offset):
    x = (jax.random.normal(jax.random.key(0), (8, 16, 16, 4)) + offset).astype(jnp.bfloat16)
    found = {}
    for dtype in ("bfloat16", "float32"):
        norm = resnet.GhostBatchNorm(4, dtype, training=True)
        variables = norm.init(jax.random.key(0), x)
        values, changed = norm.apply(variables, x, mutable=["batch_stats"])
        assert values.dtype == dtype
        found[dtype] = values.astype(np.float32), changed["batch_stats"]
    np.testing.assert_allclose(found["bfloat16"][0], found["float32"][0], atol=0.02)
    for name, statistic in found["float32"][1].items():
        np.testing.assert_allclose(found["bfloat16"][1][name], statistic, rtol=1e-3)
