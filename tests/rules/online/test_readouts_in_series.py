"""A leaky read-out in a loop of its own: as in that of the units, or with a warning.

The reference is the gradient of the loss whose recurrent synapses read a stopped
state.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import apical
from apical.rules import RFLO, EfficientTraces, EProp, SnAp

KEYS = jax.random.split(jax.random.key(0), 6)
PARAMS = {
    "in": jax.random.normal(KEYS[0], (4, 5)) / 2,
    "rec": jax.random.normal(KEYS[1], (5, 5)) / 2,
    "out": jax.random.normal(KEYS[2], (5, 2)),
}
X, Y = jax.random.normal(KEYS[3], (6, 3, 4)), jax.random.normal(KEYS[4], (6, 3, 2))
START = jnp.zeros((3, 5)), jnp.zeros((3, 2))


def unit(params, h, x, read=lambda z: z):
    return 0.8 * h + x @ params["in"] + read(jnp.tanh(h)) @ params["rec"]


def in_one_loop(params, x, y, read=lambda z: z):
    def step(state, x):
        h = unit(params, state[0], x, read)
        out = 0.7 * state[1] + jnp.tanh(h) @ params["out"]
        return (h, out), out

    return jnp.mean((lax.scan(step, START, x)[1] - y) ** 2)


def series(params, x, start=START):
    """Two loops: their last states, and the outputs of the second."""

    def hidden(h, x):
        h = unit(params, h, x)
        return h, jnp.tanh(h)

    def output(o, z):
        o = 0.7 * o + z @ params["out"]
        return o, o

    h, z = lax.scan(hidden, start[0], x)
    o, out = lax.scan(output, start[1], z)
    return (h, o), out


def in_two_loops(params, x, y):
    return jnp.mean((series(params, x)[1] - y) ** 2)


def gradients(loss_fn, rule):
    learner = apical.value_and_grad(loss_fn, rule, batch_axes=1)
    return jax.jit(learner)(PARAMS, learner.init(KEYS[5], PARAMS, X, Y), X, Y).grads


CUT = jax.jit(jax.grad(lambda p: in_one_loop(p, X, Y, lax.stop_gradient)))(PARAMS)


@pytest.mark.parametrize(
    "rule",
    [
        EProp(),
        RFLO("symmetric"),
        EfficientTraces(decay=0.8, derivative_decay=0.0),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_it_is_reversed_exactly_wherever_it_is(rule):
    for loss_fn in (in_one_loop, in_two_loops):
        found = gradients(loss_fn, rule)
        for name in PARAMS:
            np.testing.assert_allclose(found[name], CUT[name], rtol=2e-5, atol=1e-6)
    # The control: what is cut matters.
    full = jax.grad(in_one_loop)(PARAMS, X, Y)
    assert jnp.linalg.norm(full["in"] - CUT["in"]) > 0.1 * jnp.linalg.norm(CUT["in"])


def test_own_weights_make_no_difference_between_the_spellings():
    one, two = (gradients(loss_fn, SnAp()) for loss_fn in (in_one_loop, in_two_loops))
    for name in PARAMS:
        np.testing.assert_allclose(one[name], two[name], rtol=2e-5, atol=1e-6)


def test_a_loop_that_a_synapse_reads_is_a_layer_of_units():
    """Its state passes nothing back to the layer below, as the docs say of layers."""

    def stacked(params, x, y):
        o = series(params, x)[1]
        return jnp.mean((jnp.tanh(o) @ params["top"] - y) ** 2)

    params = {**PARAMS, "top": jnp.eye(2)}
    learner = apical.value_and_grad(stacked, EProp(), batch_axes=1)
    found = jax.jit(learner)(params, learner.init(KEYS[5], params, X, Y), X, Y).grads
    true = jax.grad(stacked)(params, X, Y)
    np.testing.assert_allclose(found["out"], true["out"], rtol=2e-5, atol=1e-6)
    away = jnp.linalg.norm(found["in"] - true["in"]) / jnp.linalg.norm(true["in"])
    assert away > 0.1


def test_one_that_continues_from_call_to_call_is_warned_of():
    def window(params, carry, x, y):
        (h, o), out = series(params, x, (carry["h"], carry["o"]))
        return jnp.mean((out - y) ** 2), {"carry": {"h": h, "o": o}}

    carry = {"h": START[0], "o": START[1]}
    learner = apical.value_and_grad(
        window,
        EProp(),
        has_aux=True,
        batch_axes=(0, 1, 1),
        carry=(0, "carry"),
    )
    with pytest.warns(UserWarning, match="the state of the read-out at .*its own"):
        learner.init(KEYS[5], PARAMS, carry, X, Y)
