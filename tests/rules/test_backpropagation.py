"""Backpropagation equals `jax.grad`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import (
    assert_close,
    assert_same,
    backward,
    batch,
    distance,
    layers,
    weights,
)
from support.by_hand import loss_fn as mlp_loss
from support.zoo import MODELS

import apical

RULE = apical.rules.Backpropagation()
KEY = jax.random.key(0)


@pytest.mark.parametrize("name", ["mlp_relu", "mlp_residual", "rnn_over_examples"])
def test_it_is_jax_grad_bit_for_bit(name):
    loss_fn, params, args = MODELS[name].make(KEY)
    credit = jax.jit(apical.value_and_grad(loss_fn, RULE))(params, (), *args)
    value, grads = jax.jit(jax.value_and_grad(loss_fn))(params, *args)
    assert_same(credit.value, value)
    assert_same(credit.grads, grads)


def test_it_equals_three_layers_by_hand_and_another_rule_does_not():
    params, data = layers(5, 7, 6, 3), batch(4, 5, 3)
    expected, _ = backward(params, weights(params), *data)
    assert_close(
        apical.value_and_grad(mlp_loss, RULE)(params, (), *data).grads, expected
    )
    other = apical.value_and_grad(mlp_loss, apical.rules.SignConcordance())
    found = jax.jit(other)(params, other.init(KEY, params, *data), *data).grads
    assert distance(found, expected) > 0.1


def test_aux_comes_back_as_the_loss_function_made_it():
    def loss_fn(params, x, y):
        return mlp_loss(params, x, y), {"mean": jnp.mean(x), "name": "aux", "count": 3}

    params, data = layers(5, 7, 3), batch(4, 5, 3)
    learner = apical.value_and_grad(loss_fn, RULE, has_aux=True)
    credit = learner(params, learner.init(KEY, params, *data), *data)
    assert credit.aux["name"] == "aux"
    assert credit.aux["count"] == 3
    np.testing.assert_allclose(credit.aux["mean"], np.mean(data[0]), rtol=1e-6)
    assert_same(credit.grads, jax.grad(mlp_loss)(params, *data))


class Network(eqx.Module):
    first: eqx.nn.Linear
    second: eqx.nn.Linear
    counts: jax.Array
    activation: object = jax.nn.tanh
    name: str = "network"

    def __call__(self, x):
        return self.second(self.activation(self.first(x))) + self.counts[0]


def test_leaves_of_a_module_that_are_not_learned_have_no_gradient():
    first, second = (eqx.nn.Linear(*io, key=KEY) for io in ((5, 7), (7, 3)))
    model = Network(first, second, jnp.arange(2))

    def loss_fn(model, x, y):
        return jnp.mean((jax.vmap(model)(x) - y) ** 2)

    data = batch(4, 5, 3)
    learner = apical.value_and_grad(loss_fn, RULE)
    grads = eqx.filter_jit(learner)(model, learner.init(KEY, model, *data), *data).grads
    assert grads.counts is grads.activation is grads.name is None
    expected = eqx.filter_jit(eqx.filter_grad(loss_fn))(model, *data)
    assert_same(jax.tree.leaves(grads), jax.tree.leaves(expected))
    assert len(jax.tree.leaves(grads)) == 4


def test_predict_is_the_output_of_the_network():
    params, data = layers(5, 7, 6, 3), batch(4, 5, 3)
    output = apical.value_and_grad(mlp_loss, RULE).predict(params, (), *data)
    half_squares = 0.5 * np.sum((np.asarray(output) - data[1]) ** 2) / 4
    np.testing.assert_allclose(half_squares, mlp_loss(params, *data), rtol=1e-6)
