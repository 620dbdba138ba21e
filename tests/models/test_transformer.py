import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models import tasks
from models.transformer import TransformerConfig

SMALL = {
    "name": "transformer",
    "vocab_size": 50,
    "length": 12,
    "width": 16,
    "layers": 2,
    "heads": 4,
    "hidden": 32,
    "tied_embedding": True,
    "dtype": "float32",
}


def parameters(settings):
    batch = {"tokens": jnp.ones((2, settings["length"]), jnp.int32)}
    return jax.eval_shape(tasks.build(settings).init, jax.random.key(0), batch)[0]


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def closed_form(vocab_size, length, width, layers, hidden, tied_embedding, **_):
    attention = 4 * width * width
    feed_forward = 2 * width * hidden + hidden + width
    block = attention + feed_forward + 2 * 2 * width
    return (2 - tied_embedding) * vocab_size * width + length * width + layers * block + 2 * width


@pytest.mark.parametrize("tied", [True, False])
def test_parameter_count_of_the_base_model(tied):
    base = SMALL | {"vocab_size": 32_000, "length": 128, "width": 512, "layers": 6, "heads": 8, "hidden": 2048}
    base["tied_embedding"] = tied
    assert count(parameters(base)) == closed_form(**base)
    # The base model's six decoder blocks without cross-attention: 3.15 M parameters each.
    assert round(closed_form(**(base | {"vocab_size": 0, "length": 0})) / 6e6, 2) == 3.15


@pytest.fixture(scope="module")
def small():
    task = tasks.build(SMALL)
    tokens = jax.random.randint(jax.random.key(1), (4, 12), 1, 50)
    return task, task.init(jax.random.key(0), {"tokens": tokens})[0], tokens


def test_position_sees_only_the_tokens_before_it(small):
    task, params, tokens = small
    changed = tokens.at[:, 7].add(1)
    before, after = (task.model.apply({"params": params}, t) for t in (tokens, changed))
    np.testing.assert_allclose(before[:, :8], after[:, :8], atol=1e-5)
    assert np.abs(before[:, 8:] - after[:, 8:]).max() > 1e-3


def test_loss_equals_a_slow_reference_and_ignores_padding(small):
    task, params, tokens = small
    padded = tokens.at[0, 5:].set(0)
    logits = np.asarray(task.model.apply({"params": params}, padded), np.float64)
    total, counted = 0.0, 0
    for row, row_logits in zip(np.asarray(padded), logits, strict=True):
        for token, scores in zip(row, row_logits, strict=True):
            if token:
                total += np.log(np.exp(scores).sum()) - scores[token]
                counted += 1
    assert task.loss(params, {}, {"tokens": padded})[0] == pytest.approx(total / counted, rel=1e-5)
    sums = task.evaluate(params, {}, {"tokens": padded})
    assert float(sums[1]) == counted == 41


def test_all_padding_is_a_loss_of_zero(small):
    task, params, tokens = small
    assert float(task.loss(params, {}, {"tokens": tokens * 0})[0]) == 0


def test_untrained_model_is_near_uniform(small):
    task, params, tokens = small
    assert abs(float(task.loss(params, {}, {"tokens": tokens})[0]) - np.log(50)) < 1


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_learns_a_batch_by_heart(tied):
    task = tasks.build(SMALL | {"tied_embedding": tied})
    batch = {"tokens": jax.random.randint(jax.random.key(2), (4, 12), 1, 50)}
    params, _ = task.init(jax.random.key(0), batch)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def update(params, state):
        gradients = jax.grad(task.loss, has_aux=True)(params, {}, batch)[0]
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(200):
        params, state = update(params, state)
    # Nothing tells which of the four sequences starts: the first token's ln 4 nats stay, over 12 tokens.
    assert float(task.loss(params, {}, batch)[0]) == pytest.approx(np.log(4) / 12, abs=0.02)


@pytest.mark.slow
def test_bfloat16_computation_keeps_float32_parameters_and_logits():
    task = tasks.build(SMALL | {"dtype": "bfloat16"})
    tokens = jnp.ones((2, 12), jnp.int32)
    params, _ = task.init(jax.random.key(0), {"tokens": tokens})
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert task.model.apply({"params": params}, tokens).dtype == jnp.float32


def test_bad_settings():
    with pytest.raises(ValueError, match="heads"):
        TransformerConfig(50, 12, width=10, layers=1, heads=4, hidden=8, tied_embedding=True, dtype="float32")
    with pytest.raises(ValueError, match=r"model\.name"):
        tasks.build(SMALL | {"name": "perceptron"})


def test_settings_of_another_model_are_refused():
    for name, missing in (("ssd", "weight_decay"), ("resnet_cifar", "label_smoothing")):
        with pytest.raises(ValueError, match=f"model.name {name} takes other settings.*{missing}"):
            tasks.build(SMALL | {"name": name})
    with pytest.raises(ValueError, match=r"model\.name transformer takes other settings.*'colour'"):
        tasks.build(SMALL | {"colour": "red"})
    with pytest.raises(ValueError, match=r"model\.name models.memory:kept takes other settings"):
        tasks.build(SMALL | {"name": "models.memory:kept"})
