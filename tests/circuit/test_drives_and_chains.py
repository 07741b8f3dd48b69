"""Drives of units, and synapses without a node between them."""

import jax
import jax.numpy as jnp
import pytest

import apical
from apical.circuit import chains, not_holomorphic

W = {k: jnp.eye(3) for k in "abc"}
X = jnp.linspace(-3, 3, 6).reshape(2, 3)

RHO = {
    "clip": lambda z: jnp.clip(z, 0, 1),
    "hard sigmoid": jax.nn.hard_sigmoid,
    "tanh of a rectifier": lambda z: jnp.tanh(jax.nn.relu(z)),
    "scaled": lambda z: 2 * jnp.tanh(z) + 1,
}


@pytest.mark.parametrize("name", RHO)
def test_a_drive_is_what_the_whole_nonlinearity_was_applied_to(name):
    def loss_fn(w, x):
        return jnp.sum(RHO[name](2 * (x @ w["a"])) @ w["b"])

    circuit = apical.trace(loss_fn, nodes="unit")(W, X)
    drive = apical.drive_of(circuit.nodes[0].name)
    run = circuit.run(W, (X,), sites=["a", drive])
    assert drive == "a:drive"
    if (
        name == "hard sigmoid"
    ):  # relu6(z + 3) / 6: an affine map before it is the drive's
        assert jnp.allclose(run.sites[drive], 2 * X + 3)
    else:
        assert jnp.allclose(run.sites[drive], 2 * X)
    assert jnp.allclose(run.sites["a"], RHO[name](2 * X))


def test_a_nonlinearity_that_others_read_too_ends_the_walk():
    def loss_fn(w, x):
        one = jnp.tanh(x @ w["a"])
        return jnp.sum(one @ w["b"] + (one**2) @ w["c"])

    circuit = apical.trace(loss_fn, nodes="unit")(W, X)
    squared = circuit.nodes[1].name
    drive = apical.drive_of(squared)
    run = circuit.run(W, (X,), sites=[drive])
    assert jnp.allclose(run.sites[drive], jnp.tanh(X))


def test_synapses_with_no_node_between_are_found():
    def loss_fn(w, x):
        one = jnp.tanh(x @ w["a"])
        return jnp.sum((one * jnp.arange(3.0)) @ w["b"] @ w["c"])

    circuit = apical.trace(loss_fn, nodes="unit")(W, X)
    (found,) = chains(circuit)
    assert found.startswith("'b' and 'c' (")
    assert chains(apical.trace(loss_fn)(W, X)) == ()


def test_what_is_not_holomorphic_is_named_with_its_line():
    def loss_fn(w, x):
        read = jax.nn.log_softmax(jnp.tanh(x @ w["a"]) @ w["b"])
        return jnp.sum(abs(read * jnp.where(x > 0, 1.0, 2.0)))

    found = not_holomorphic(apical.trace(loss_fn)(W, X))
    assert [text.split(" at ")[0] for text in found] == ["`abs`"]
    assert "test_drives_and_chains.py:" in found[0]
