"""Inputs, outputs, transposes and cotangents of synapses, and the read-outs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.synapses_in_time import B, T, convolved, heads, numbers, scanned

import apical
from apical.circuit import (
    Readouts,
    output_of,
    readout_gradient,
    readouts,
    synapse_activity,
    synapse_cotangents,
)


def close(found, expected):
    return np.allclose(found, expected, rtol=1e-5, atol=1e-6)


PARAMS = {"a": numbers(1, 5, 4), "bias": numbers(2, 4), "b": numbers(3, 4, 2)}
X = numbers(4, B, 5)


def loss_fn(w, x, added=(0.0, 0.0)):
    h = jnp.tanh(x @ w["a"] + added[0] + w["bias"])
    return jnp.mean(jnp.sum(jnp.sin(h @ w["b"] + added[1]), -1))


def linear(w, x, added=(0.0, 0.0)):
    """The output of the first synapse is a node itself."""
    h = x @ w["a"] + added[0]
    return jnp.mean(jnp.sum(jnp.sin(h @ w["b"] + added[1]), -1)) + 0 * jnp.sum(
        w["bias"]
    )


def circuit_of(loss_fn, w=PARAMS, x=X, **told):
    return apical.trace(loss_fn, **told)(w, x)


# ------------------------------------------------------------ outputs and transposes


def at_once(w, x):
    """The synapse stands before the loop, with time as an axis of its own."""

    def step(v, i):
        v = 0.5 * v + i
        return v, apical.node(jnp.tanh(v), "unit")

    return jnp.sum(jax.lax.scan(step, jnp.zeros((B, 2)), x @ w)[1] ** 2) / B


SPELLINGS = {
    "x @ w": (scanned(lambda w, x: x @ w, (B, 2)), (5, 2), (T, B, 5), "tbi,ij->tbj"),
    "w @ x": (scanned(lambda w, x: w @ x, (2, B)), (2, 5), (T, 5, B), "tib,ji->tjb"),
    "heads": (
        scanned(heads, (B, 2, 2)),
        *((2, 5, 2), (T, B, 2, 5), "tbhi,hij->tbhj"),
    ),
    "before the loop": (at_once, (5, 2), (T, B, 5), "tbi,ij->tbj"),
}


@pytest.fixture(params=SPELLINGS)
def spelling(request):
    loss, shape, data, sums = SPELLINGS[request.param]
    w, x = numbers(5, *shape), numbers(6, *data)
    circuit = apical.trace(loss, batch_axes=data.index(B))(w, x)
    return loss, w, x, circuit, sums


def test_an_output_and_a_transpose_are_those_of_sums_by_hand(spelling):
    _, w, x, circuit, sums = spelling
    (synapse,) = synapse_activity(circuit, w, (x,)).synapses
    left, right, out = sums.replace("->", ",").split(",")
    by_hand = np.einsum(sums, x, w)
    for seed in range(3):
        signal = numbers(7 + seed, *synapse.post.shape)
        arranged = replace(synapse, post=signal).at_output()
        product = np.vdot(arranged.post, synapse.output)
        assert np.allclose(product, np.vdot(signal, by_hand), rtol=1e-4)
        back = synapse.transpose(signal)
        expected = np.einsum(f"{out},{right}->{left}", signal, w)
        assert np.allclose(back, expected, rtol=1e-4, atol=1e-5)
        assert np.allclose(arranged.transpose(arranged.post), back, rtol=1e-5)


def test_a_cotangent_in_steps_gives_the_gradient_of_the_weight(spelling):
    loss, w, x, circuit, _ = spelling
    (synapse,) = synapse_activity(circuit, w, (x,)).synapses
    (error,) = synapse_cotangents(circuit, w, (x,))
    error = synapse.output_in_steps(error)
    assert error.shape == synapse.output.shape
    found = synapse.at_output().product(synapse.pre, error)
    assert np.allclose(found, jax.grad(loss)(w, x), rtol=1e-4, atol=1e-6)


def test_units_and_places_have_axes_of_their_own():
    w, x = numbers(8, 3, 3, 2, 4), numbers(9, B, 5, 5, 2)

    def loss(w, x):
        return jnp.mean(jnp.tanh(convolved(w, x)) ** 2)

    circuit = apical.trace(loss)(w, x)
    (synapse,) = synapse_activity(circuit, w, (x,), post="synapse").synapses
    y = convolved(w, x)
    by_unit = synapse.by_unit(synapse.post)
    assert close(by_unit, y.reshape(1, -1, 4))
    assert close(synapse.from_units(by_unit)[0], y)
    assert (synapse.groups, synapse.separate_axes) == (1, ())
    assert close(synapse.unit_means(synapse.post)[0, 0, 0, 0], y.mean((0, 1, 2)))


def test_axes_of_units_return_to_where_they_were():
    w, x = numbers(8, 2, 5, 3), numbers(9, B, 2, 5)

    def loss(w, x):
        return jnp.mean(jnp.tanh(jnp.einsum("bhi,hij->jbh", x, w)) ** 2)

    circuit = apical.trace(loss)(w, x)
    (synapse,) = synapse_activity(circuit, w, (x,), post="synapse").synapses
    by_unit = synapse.by_unit(synapse.post)
    assert close(by_unit[0], np.einsum("bhi,hij->bhj", x, w))
    assert close(synapse.from_units(by_unit), synapse.post)
    assert synapse.separate_axes == (0,) and synapse.unit_axes == (0, 2)


# ------------------------------------------------------------ what is read behind


def test_a_readout_has_no_node_behind_it_but_an_output():
    circuit = circuit_of(loss_fn)
    with pytest.raises(ValueError, match="no node"):
        synapse_activity(circuit, PARAMS, (X,))
    found = synapse_activity(circuit, PARAMS, (X,), post="node or output").synapses
    h = jnp.tanh(X @ PARAMS["a"] + PARAMS["bias"])
    assert close(found[0].post[0], h) and found[0].node == "a"
    assert close(found[1].post[0], h @ PARAMS["b"]) and found[1].node == ""
    found = synapse_activity(circuit, PARAMS, (X,), post="synapse").synapses
    assert close(found[0].post[0], X @ PARAMS["a"])
    assert [s.number for s in found] == [0, 1]
    with pytest.raises(ValueError, match="`post` must be one of"):
        synapse_activity(circuit, PARAMS, (X,), post="output")


# ------------------------------------------------------------ cotangents


@pytest.mark.parametrize("loss", [loss_fn, linear])
def test_a_cotangent_is_the_derivative_by_what_is_added_to_the_output(loss):
    still = jnp.zeros((B, 4)), jnp.zeros((B, 2))
    expected = jax.grad(loss, argnums=2)(PARAMS, X, still)
    found = synapse_cotangents(circuit_of(loss), PARAMS, (X,))
    assert all(map(close, found, expected))


@pytest.mark.parametrize("loss", [loss_fn, linear])
def test_with_nodes_held_a_cotangent_is_local(loss):
    circuit = circuit_of(loss)
    (name,) = (node.name for node in circuit.nodes)
    held, delta = circuit.run(PARAMS, (X,)).sites, {name: numbers(8, B, 4)}
    found = synapse_cotangents(circuit, PARAMS, (X,), held=held, delta=delta, loss=2.0)
    h = held[name]
    slope = 1 - h**2 if loss is loss_fn else 1.0
    assert close(found[0], delta[name] * slope)
    assert close(found[1], 2 * jnp.cos(h @ PARAMS["b"]) / B)
    # Whatever the weights above are: nothing passes the held node.
    other = {**PARAMS, "b": 3 * PARAMS["b"]}
    again = synapse_cotangents(circuit, other, (X,), held=held, delta=delta)
    assert close(again[0], found[0])


def test_cotangents_pass_back_through_feedback_weights():
    circuit = circuit_of(loss_fn)
    phi = {"a": None, "bias": None, "b": numbers(9, 4, 2)}
    found = synapse_cotangents(circuit, PARAMS, (X,), feedback=phi)
    h = jnp.tanh(X @ PARAMS["a"] + PARAMS["bias"])
    error = jnp.cos(h @ PARAMS["b"]) / B
    assert close(found[1], error)
    assert close(found[0], (error @ phi["b"].T) * (1 - h**2))


def test_a_site_that_does_not_exist_is_refused():
    circuit = circuit_of(loss_fn)
    with pytest.raises(ValueError, match="No site 'z'"):
        synapse_cotangents(circuit, PARAMS, (X,), held={}, delta={"z": X})
    with pytest.raises(ValueError, match="No site"):
        circuit.run(PARAMS, (X,), sites=[output_of(2)])


def test_a_signal_at_an_output_is_pulled_to_the_weight_alone():
    circuit = circuit_of(loss_fn)
    held, signal = circuit.run(PARAMS, (X,)).sites, numbers(8, B, 4)
    found = circuit.pull(PARAMS, (X,), held, {output_of(0): signal})
    assert close(found["a"], X.T @ signal)
    assert not np.any(found["bias"]) and not np.any(found["b"])


# ------------------------------------------------------------ read-outs


def recurrent(w, x):
    def step(h, x):
        h = jnp.tanh(x @ w["a"] + h @ w["loop"])
        return h, h @ w["b"] + w["bias"][:2]

    h, y = jax.lax.scan(step, jnp.zeros((B, 4)), jnp.stack([x, x]))
    return jnp.mean(y**2) + 0.1 * jnp.mean(h**2)


@pytest.mark.parametrize("nodes", ["entry", "unit", "marked", "every"])
def test_readouts_do_not_depend_on_the_policy_of_nodes(nodes):
    circuit = circuit_of(loss_fn, nodes=nodes)
    assert readouts(circuit) == Readouts((1,), (1,))
    found = readout_gradient(circuit, PARAMS, (X,))
    exact = jax.grad(loss_fn)(PARAMS, X)
    assert close(found["b"], exact["b"]) and np.any(exact["a"])
    assert not np.any(found["a"]) and not np.any(found["bias"])


def test_a_readout_in_a_loop_is_local_in_time():
    w = {**PARAMS, "loop": numbers(9, 4, 4)}
    circuit = circuit_of(recurrent, w)
    names = [circuit.synapses[i].name for i in readouts(circuit).synapses]
    leaves = [circuit.leaves.names[i] for i in readouts(circuit).leaves]
    assert (names, leaves) == (["b"], ["b", "bias"])
    found, exact = readout_gradient(circuit, w, (X,)), jax.grad(recurrent)(w, X)
    for name in w:
        same = close(found[name], exact[name])
        assert same if name in leaves else not np.any(found[name])
