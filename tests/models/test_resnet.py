import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from models import tasks
from models.resnet import GhostBatchNorm

CIFAR = {
    "name": "resnet_cifar",
    "stages": [1, 1, 1],
    "width": 8,
    "num_classes": 10,
    "ghost_batch_size": None,
    "stem": "small",
    "dtype": "float32",
    "label_smoothing": 0.0,
    "weight_decay": 0.0,
}
BOTTLENECK = CIFAR | {"name": "resnet_bottleneck", "stages": [1, 1, 1, 1], "width": 4}
RESNET32 = CIFAR | {"stages": [5, 5, 5], "width": 16}
RESNET34 = BOTTLENECK | {
    "name": "resnet_basic",
    "stages": [3, 4, 6, 3],
    "width": 64,
    "num_classes": 1000,
    "stem": "imagenet",
}
RESNET50 = BOTTLENECK | {"stages": [3, 4, 6, 3], "width": 64, "num_classes": 1000, "stem": "imagenet"}


def count(settings, size, channels=3):
    batch = {"image": jnp.zeros((2, size, size, channels), jnp.uint8), "label": jnp.zeros(2, jnp.int32)}
    params, _ = jax.eval_shape(tasks.build(settings).init, jax.random.key(0), batch)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def multiply_adds(settings, size):
    """Multiply-adds of the convolutions and matrix products of one image's forward pass, from its traced program."""
    task = tasks.build(settings)
    batch = {"image": jnp.zeros((1, size, size, 3), jnp.uint8), "label": jnp.zeros(1, jnp.int32)}
    params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
    total = 0
    for equation in jax.make_jaxpr(task.evaluate)(params, state, batch).jaxpr.eqns:
        out = equation.outvars[0].aval.shape
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape  # rows, columns, channels in, channels out
            total += int(np.prod(out)) * int(np.prod(kernel[:3]))
        if equation.primitive.name == "dot_general":
            total += int(np.prod(out)) * equation.invars[0].aval.shape[-1]
    return total


def test_resnet50_has_the_published_size_and_cost():
    assert count(RESNET50, 224) == 25_557_032
    assert 4.0e9 < multiply_adds(RESNET50, 224) < 4.2e9


def test_resnet34_has_the_published_size_and_cost():
    assert count(RESNET34, 224) == 21_797_672
    assert 3.6e9 < multiply_adds(RESNET34, 224) < 3.7e9


def test_resnet32_has_the_published_size():
    assert count(RESNET32, 32) == pytest.approx(0.46e6, rel=0.02)


def normalised(ghost, x, training=True, variables=None):
    module = GhostBatchNorm(ghost, "float32", training)
    variables = variables or GhostBatchNorm(ghost, "float32", True).init(jax.random.key(0), x)
    return module.apply(variables, x, mutable=["batch_stats"])


@pytest.fixture
def x():
    return jax.random.normal(jax.random.key(0), (12, 5, 5, 3)) * 3 + 1


def test_one_ghost_batch_is_ordinary_batch_normalisation(x):
    ordinary = nn.BatchNorm(use_running_average=False, momentum=0.9)
    expected, theirs = ordinary.apply(ordinary.init(jax.random.key(0), x), x, mutable=["batch_stats"])
    for ghost in (None, 12):
        ours, state = normalised(ghost, x)
        np.testing.assert_allclose(ours, expected, atol=1e-4)
        for name in ("mean", "var"):
            np.testing.assert_allclose(state["batch_stats"][name], theirs["batch_stats"][name], rtol=1e-4)


def test_smaller_ghost_batches_normalise_each_slice_by_itself(x):
    ours, state = normalised(4, x)
    slices = np.asarray(x).reshape(3, 4, 5, 5, 3)
    for i, piece in enumerate(slices):
        mean, variance = piece.mean((0, 1, 2)), piece.var((0, 1, 2))
        np.testing.assert_allclose(ours[4 * i : 4 * i + 4], (piece - mean) / np.sqrt(variance + 1e-5), atol=1e-4)
    means = slices.mean((1, 2, 3))
    np.testing.assert_allclose(state["batch_stats"]["mean"], 0.1 * means.mean(0), rtol=1e-4)


def test_evaluation_does_not_depend_on_the_batch(x):
    variables = {
        "params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)},
        "batch_stats": {"mean": jnp.ones(3), "var": jnp.full(3, 9.0)},
    }
    whole, _ = normalised(4, x, training=False, variables=variables)
    single, _ = normalised(4, x[5:6], training=False, variables=variables)
    np.testing.assert_allclose(whole[5], single[0], rtol=1e-5)
    np.testing.assert_allclose(whole, (x - 1) / 3, atol=1e-4)


def test_slices_that_do_not_fill_the_batch_are_named(x):
    with pytest.raises(ValueError, match="ghost_batch_size 5 does not divide the batch of 12"):
        normalised(5, x)


def images(number=64, size=8):
    pixels = np.random.default_rng(0).integers(0, 256, (number, size, size, 1), np.uint8)
    return {"image": jnp.asarray(pixels), "label": jnp.arange(number, dtype=jnp.int32) % 10}


@pytest.mark.slow
@pytest.mark.parametrize("settings", [CIFAR | {"ghost_batch_size": 32}, BOTTLENECK], ids=["resnet", "bottleneck"])
def test_learns_64_images_by_heart(settings):
    task, batch = tasks.build(settings), images()
    params, state = task.init(jax.random.key(0), batch)

    @jax.jit
    def update(params, velocity, state):
        gradients, state = jax.grad(task.loss, has_aux=True)(params, state, batch)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradients)
        return jax.tree.map(lambda p, v: p - 0.05 * v, params, velocity), velocity, state

    velocity = jax.tree.map(jnp.zeros_like, params)
    for _ in range(200):
        params, velocity, state = update(params, velocity, state)
    right, seen = task.evaluate(params, state, batch)
    assert (int(right), int(seen)) == (64, 64)


@pytest.mark.slow
def test_bfloat16_computation_keeps_float32_parameters_and_statistics():
    task = tasks.build(CIFAR | {"dtype": "bfloat16"})
    params, state = task.init(jax.random.key(0), images(8))
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state))} == {jnp.dtype("float32")}
    loss, state = task.loss(params, state, images(8))
    assert loss.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("float32")}


def test_loss_equals_a_slow_reference():
    smoothed = tasks.build(CIFAR | {"label_smoothing": 0.1, "weight_decay": 0.01})
    batch = images(8)
    params, state = smoothed.init(jax.random.key(0), batch)
    variables = {"params": params, "batch_stats": state}
    pixels = np.asarray(batch["image"], np.float32) / 127.5 - 1
    logits, _ = smoothed.model.apply(variables, pixels, training=True, mutable=["batch_stats"])
    logits = np.asarray(logits, np.float64)
    log_shares = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    total = 0.0
    for row, label in zip(log_shares, np.asarray(batch["label"]), strict=True):
        total -= 0.9 * row[label] + 0.1 * row.mean()
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    total = total / 8 + 0.005 * sum(float((np.asarray(k, np.float64) ** 2).sum()) for k in kernels)
    assert float(smoothed.loss(params, state, batch)[0]) == pytest.approx(total, rel=1e-4)


@pytest.mark.slow
def test_padding_counts_for_nothing():
    task, batch = tasks.build(CIFAR), images(10)
    params, state = task.init(jax.random.key(0), batch)
    padded = {
        "image": jnp.pad(batch["image"], ((0, 6), (0, 0), (0, 0), (0, 0))),
        "label": jnp.pad(batch["label"], (0, 6), constant_values=-1),
    }
    right, seen = task.evaluate(params, state, batch)
    assert [int(n) for n in task.evaluate(params, state, padded)] == [int(right), int(seen)]
    assert int(seen) == 10


def test_bad_settings():
    with pytest.raises(ValueError, match=r"model\.stem"):
        tasks.build(CIFAR | {"stem": "huge"})
