"""The models: shapes, and a batch norm that is a pure function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apical.lab._models import (
    MODELS,
    Statistics,
    batch_statistics,
    evaluation_loss,
    maximum_of_four,
    training_loss,
)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_a_model_gives_ten_logits_for_each_picture(key, name, shape):
    model, running = MODELS[name].build(key, shape, 10)
    x = jax.ShapeDtypeStruct((3, *shape), jnp.float32)
    for training in (True, False):
        logits, new = jax.eval_shape(
            lambda x, t=training: model(x, running, t),
            x,
        )
        assert logits.shape == (3, 10)
        assert jax.tree.structure(new) == jax.tree.structure(running)


@pytest.mark.parametrize("name", MODELS)
def test_every_leaf_of_a_model_is_learned(key, name):
    model, _ = MODELS[name].build(key, (1, 8, 8), 10)
    assert all(
        jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(model)
    )


def test_the_mlp_of_the_digits_has_two_hidden_layers_of_128(key):
    model, _ = MODELS["mlp"].build(key, (1, 8, 8), 10)
    shapes = [leaf.shape for leaf in jax.tree.leaves(model) if leaf.ndim == 2]
    assert shapes == [(128, 64), (128, 128), (10, 128)]


def test_batch_norm_uses_the_batch_in_training_and_running_statistics_in_tests(key):
    h = 3 + 2 * jax.random.normal(key, (50, 4, 5, 5))
    running = Statistics(jnp.zeros(4), jnp.ones(4))
    used, kept = batch_statistics(h, running, training=True)
    np.testing.assert_allclose(used.mean, h.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(kept.mean, 0.1 * used.mean, rtol=1e-6)
    np.testing.assert_allclose(kept.variance, 0.9 + 0.1 * used.variance, rtol=1e-6)
    assert batch_statistics(h, running, training=False) == (running, running)


@pytest.fixture(scope="module")
def cnn():
    key = jax.random.key(0)
    model, running = MODELS["cnn"].build(key, (1, 8, 8), 10)
    x, y = jax.random.normal(key, (16, 1, 8, 8)), jnp.arange(16) % 10
    return model, running, x, y


def test_training_and_evaluation_losses_differ_by_their_statistics_alone(cnn):
    model, running, x, y = cnn
    train, evaluate = jax.jit(training_loss), jax.jit(evaluation_loss)
    settled = running
    for _ in range(200):
        loss, settled = train(model, settled, x, y)
    evaluated, same = evaluate(model, settled, x, y)
    assert float(evaluated) == pytest.approx(float(loss), rel=1e-4)
    assert float(evaluate(model, running, x, y)[0]) != pytest.approx(float(loss))
    assert jax.tree.all(jax.tree.map(np.array_equal, same, settled))


def test_no_gradient_flows_into_the_running_statistics(cnn):
    model, *args = cnn

    def kept(model):
        return sum(
            leaf.sum() for leaf in jax.tree.leaves(training_loss(model, *args)[1])
        )

    grads = jax.jit(jax.grad(kept))(model)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("side", [8, 7])
def test_the_maximum_of_four_is_a_window_maximum(key, side):
    h = jax.random.normal(key, (2, 3, side, side))
    window = (1, 1, 2, 2)
    expected = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, window, window, "VALID")
    np.testing.assert_array_equal(maximum_of_four(h), expected)
