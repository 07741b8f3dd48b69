"""Local objectives in tests: two layers by hand, and models of the zoo."""

import jax
import jax.numpy as jnp
import numpy as np

import apical
from support.by_hand import assert_same, batch, distance, layers, loss_fn
from support.laws import problem

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 2), batch(4, 5, 2)
X, Y = map(np.asarray, DATA)
W = jax.tree.map(np.asarray, PARAMS)
# The leaf above all others, by model.
ZOO = {"conv_residual": "out", "rnn": "out", "mlp_residual": "out"}


def second(x, y):
    return y


def called(rule, params=PARAMS, loss_fn=loss_fn, data=DATA, state=None, **keywords):
    """The state before, and the credit of one call."""
    given = {"target": second, "input_argnums": 0, **keywords}
    learner = apical.value_and_grad(loss_fn, rule, **given)
    state = learner.init(KEY, params, *data) if state is None else state
    call = jax.jit(lambda params, state: learner(params, state, *data))
    return state, call(params, state)


def layer(index, below):
    return np.tanh(below @ W[index]["w"] + W[index]["b"])


def pulled(pairs):
    """The gradient of a layer of tanh: the sum over (below, value, slope there)."""
    deltas = [(below, slope * (1 - value**2)) for below, value, slope in pairs]
    return {
        "w": sum(below.T @ delta for below, delta in deltas),
        "b": sum(delta.sum(axis=0) for _, delta in deltas),
    }


def readout(value, target=Y):
    """The gradient of the last layer: the true one."""
    error = (value @ W[2]["w"] + W[2]["b"] - target) / len(target)
    return {"w": value.T @ error, "b": error.sum(axis=0)}


def raised(params=PARAMS):
    """The same first layer under other weights."""
    return [params[0], *layers(7, 6, 2, seed=5)]


def assert_first_layer_ignores_the_layers_above(rule, data=DATA):
    """Other weights above leave the first layer's update the same, bit for bit."""
    state, below = called(rule, data=data)
    _, above = called(rule, raised(), data=data, state=state)
    assert_same(below.grads[0], above.grads[0])
    assert np.any(below.grads[0]["w"])
    assert distance(above.grads[1], below.grads[1]) > 0.1


def on_zoo(name, rule, **given):
    """The problem, and a compiled call of the learned leaves."""
    found = problem(name)
    output = found.circuit.output_shape
    labels = jax.nn.one_hot(jnp.arange(output.shape[-1]), output.shape[-1])
    wanted = jnp.resize(labels, output.shape).astype(output.dtype)
    keywords = {**found.keywords, "target": lambda *args: wanted, **given}
    learner = apical.value_and_grad(found.loss_fn, rule, **keywords)
    state = learner.init(KEY, found.params, *found.args)

    @jax.jit
    def call(learned):
        here = found.circuit.merged(found.params, learned)
        return learner(here, state, *found.args).grads

    return found, call


def assert_learns_everywhere(found, grads):
    """Every leaf has a finite gradient that is not zero."""
    grads = found.by_path(grads)
    assert all(np.all(np.isfinite(g)) for g in grads.values())
    assert {path for path, g in grads.items() if np.any(g)} == set(grads)


def assert_no_gradient_from_above(name, rule, **given):
    """With the leaves above changed, all others have the same update, bit for bit."""
    found, call = on_zoo(name, rule, **given)
    paths = list(found.by_path(found.learned))
    above = {path for path in paths if ZOO.get(name, "out") in path}
    leaves, tree = jax.tree.flatten(found.learned)
    pairs = zip(paths, leaves, strict=True)
    others = [-2 * x if path in above else x for path, x in pairs]
    before, after = call(found.learned), call(jax.tree.unflatten(tree, others))
    assert_learns_everywhere(found, before)
    before, after = found.by_path(before), found.by_path(after)
    for path in set(paths) - above:
        np.testing.assert_array_equal(before[path], after[path])
    assert any(distance(after[p], before[p]) > 0.1 for p in above)
