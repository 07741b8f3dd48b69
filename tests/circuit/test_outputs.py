"""The output of a circuit: where it is found, what it is, and how it is taught."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.laws import assert_same, normal, problem, traced
from support.one_hidden_layer import PARAMS, X, Y, below_a_synapse, network

import apical
from apical.rules import Backpropagation, DirectFeedbackAlignment


def pooled_head(params, x):
    """Class scores everywhere, averaged: the output is what comes after."""
    scores = network(jnp.tanh, params, jnp.stack([x, 2 * x], axis=1))
    return jnp.mean(scores, axis=1)


OUTPUTS = {
    "squared error": lambda p, x, y: jnp.mean((network(jnp.tanh, p, x) - y) ** 2),
    "cross-entropy": lambda p, x, y: (
        -jnp.mean(y * jax.nn.log_softmax(network(jnp.tanh, p, x)))
    ),
    "hinge": lambda p, x, y: jnp.mean(jax.nn.relu(1 - y * network(jnp.tanh, p, x))),
    "averaged": lambda p, x, y: jnp.mean((pooled_head(p, x) - y) ** 2),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_output_is_the_end_of_the_affine_tail(name):
    found = traced(OUTPUTS[name], PARAMS, X, Y)
    output = found.run(PARAMS, (X, Y), sites=["output"]).sites["output"]
    expected = (
        pooled_head if name == "averaged" else lambda p, x: network(jnp.tanh, p, x)
    )
    assert_same(output, expected(PARAMS, X))
    learner = apical.value_and_grad(OUTPUTS[name], Backpropagation())
    assert_same(learner.predict(PARAMS, (), X, Y), output)


def two_heads(mark):
    def loss_fn(params, x, y):
        h = jnp.tanh(x @ params["a"])
        heads = mark(h @ params["c"]), h @ params["d"]
        return jnp.mean((heads[0] - y) ** 2) + jnp.mean(jnp.sin(heads[1]))

    return traced(loss_fn, {**PARAMS, "d": normal(7, 4, 2)}, X, Y)


def test_several_outputs_are_one_side_by_side():
    found = two_heads(lambda head: head)
    output = found.run(found.params, found.args, sites=["output"]).sites["output"]
    hidden = jnp.tanh(X @ PARAMS["a"])
    heads = hidden @ PARAMS["c"], hidden @ found.params["d"]
    assert_same(output, jnp.concatenate(heads, axis=1))


def test_a_missing_output_is_refused_only_when_it_is_asked_for():
    with pytest.raises(ValueError, match="no output"):
        problem("scan_xs").circuit.run(*problem("scan_xs")[1:3], sites=["output"])


def test_a_marked_output_is_honoured():
    found = two_heads(apical.output)
    output = found.run(found.params, found.args, sites=["output"]).sites["output"]
    assert_same(output, jnp.tanh(X @ PARAMS["a"]) @ PARAMS["c"])
    hidden = below_a_synapse(lambda z: apical.output(jnp.tanh(z)))
    output = hidden.run(PARAMS, (X,), sites=["output"]).sites["output"]
    assert output.shape == (5, 4)


def leaky(read):
    """Units with a leaky read-out in a loop; `read(last, every)` is the output."""

    def loss_fn(params, x, y):
        def step(state, x):
            v, out = state
            v = 0.9 * v + x @ params["a"]
            out = 0.7 * out + jnp.tanh(v) @ params["c"]
            return (v, out), out

        start = jnp.zeros((5, 4)), jnp.zeros((5, 2))
        (_, last), every = jax.lax.scan(step, start, jnp.stack([x, x]))
        return jnp.mean((read(last, every) - y) ** 2)

    return loss_fn


@pytest.mark.parametrize(
    ("read", "shape"),
    [
        (lambda last, every: every, (2, 5, 2)),
        (lambda last, every: last, (5, 2)),
        (lambda last, every: last + jnp.sum(every, 0), (2, 5, 2)),
    ],
    ids=["every", "last", "both"],
)
def test_the_output_of_a_leaky_readout_is_what_the_loss_reads(read, shape):
    loss_fn = leaky(read)
    found = traced(loss_fn, PARAMS, X, Y)
    assert found.circuit.output_shape.shape == shape
    learner = apical.value_and_grad(loss_fn, DirectFeedbackAlignment())
    state = learner.init(jax.random.key(0), PARAMS, X, Y)
    grads = learner(PARAMS, state, X, Y).grads
    assert np.all(grads["a"] != 0)


def test_the_output_can_be_disturbed_and_taught():
    found = traced(OUTPUTS["squared error"], PARAMS, X, Y)
    error = (network(jnp.tanh, PARAMS, X) - Y) / 5
    run = found.run(PARAMS, (X, Y), tap="offset", inject={"output": -5 * error})
    assert run.loss < 1e-10
    assert found.loss(PARAMS, (X, Y))[0] > 0.1
    pulled = found.circuit.pull(PARAMS, (X, Y), {}, {"output": error})
    assert_same(pulled, jax.grad(OUTPUTS["squared error"])(PARAMS, X, Y))


def test_nodes_of_a_step_are_not_the_states_of_units():
    loss_fn = leaky(lambda last, every: every)
    names = {}
    for nodes in ("entry", "step"):
        circuit = apical.trace(loss_fn, nodes=nodes)(PARAMS, X, Y)
        names[nodes] = [node.name for node in circuit.nodes]
        assert circuit.separated
    assert names == {"entry": ["a", "a/tanh"], "step": ["a"]}


def test_a_carry_that_is_set_to_a_number_has_nodes_of_a_step():
    def loss_fn(params, x):
        def step(state, x):
            h, gain = state
            h = jnp.tanh(x @ params["a"] + h + gain)
            gains = jnp.tanh(gain) * jnp.ones((5, 4))
            return (h, 1.0), h @ params["c"] + gains @ params["c"]

        start = jnp.zeros((5, 4)), jnp.tanh(jnp.sum(params["b"]) * x[0, 0])
        return jnp.mean(jax.lax.scan(step, start, jnp.stack([x, x]))[1] ** 2)

    circuit = apical.trace(loss_fn, nodes="step")(PARAMS, X)
    assert "a" in [node.name for node in circuit.nodes]
