"""The page about writing rules: the rule of the synapse is what it says it is."""

import jax
import jax.numpy as jnp
import numpy as np
from support.docs import blocks, page

import apical
from apical.rules import Rule, rule

PAGE = page("write-a-rule")


def numbers(seed, *shape):
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape), float)


def loss_fn(w, x, y):
    return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"] - y) ** 2)


def test_the_rule_of_the_synapse_reconstructs_and_descends():
    (block,) = (block for block in blocks(PAGE) if "class Reconstruct" in block)
    w = {"a": 0.5 * numbers(1, 3, 8), "b": 0.5 * numbers(2, 8, 2)}
    x, y = numbers(3, 16, 3), numbers(4, 16, 2)
    names = {"apical": apical, "jax": jax, "Rule": Rule, "rule": rule}
    names |= {"loss_fn": loss_fn, "w": w, "x": x, "y": y}
    exec(block, names)
    exact = jax.grad(loss_fn)(w, x, y)
    inputs = {"a": x, "b": jnp.tanh(x @ w["a"])}
    for name, weight in w.items():
        given = inputs[name]
        output = given @ weight
        own = (given - output @ weight.T).T @ output / 16
        expected = 0.5 * exact[name] - own
        found = names["reconstructed"][name]
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-6)
        assert not np.allclose(found, exact[name], rtol=0.1)
