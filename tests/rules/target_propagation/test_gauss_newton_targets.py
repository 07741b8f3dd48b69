"""The limit of targets as inverses learn: Gauss-Newton or backpropagation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from support.by_hand import assert_close, batch, cosine, distance, layers, loss_fn
from support.target_propagation import (
    DIFFERENCE,
    KEY,
    PLAIN,
    STEP,
    drawn,
    learner_of,
    teaching,
)

import apical
from apical.rules import (
    DifferenceReconstruction,
    DifferenceTargetPropagation,
    NoiseReconstruction,
)


def linear(params, x, y):
    for each in params:
        x = x @ each["w"] + each["b"]
    return 0.5 * jnp.sum((x - y) ** 2) / len(x)


SQUARE, SQUARE_DATA = layers(5, 4, 4, 4), batch(6, 5, 4)
for each in SQUARE[1:]:  # well conditioned, and far from orthogonal
    left, _, right = np.linalg.svd(each["w"])
    each["w"] = jnp.asarray(left @ np.diag([2.0, 1.5, 1.0, 0.5]) @ right)


def gauss_newton():
    """J^+ e at each node, share by share; J from the node to the output."""
    x, y = map(np.asarray, SQUARE_DATA)
    w = [np.asarray(each["w"]) for each in SQUARE]
    b = [np.asarray(each["b"]) for each in SQUARE]
    error = ((x @ w[0] + b[0]) @ w[1] + b[1]) @ w[2] + b[2] - y
    jacobians = {"0": (w[1] @ w[2]).T, "1": w[2].T}
    return {n: error @ np.linalg.pinv(j).T / 6 for n, j in jacobians.items()}


def signals_of(rule, state):
    return teaching(rule, state, SQUARE, linear, SQUARE_DATA)


def test_exact_inverses_of_a_linear_network_give_gauss_newton_targets():
    for rule in (DIFFERENCE, PLAIN):
        state = drawn(rule, SQUARE, linear, SQUARE_DATA)
        w, b = ([each[k] for each in SQUARE] for k in ("w", "b"))
        inverted = [jnp.linalg.inv(each) for each in w[1:]]
        shift = {str(i): -b[i + 1] @ inverted[i] for i in range(2)}
        feedback = [state.weights.feedback[0]]
        feedback += [{"w": each.T, "b": None} for each in inverted]
        exact = state._replace(weights=state.weights._replace(feedback=feedback))
        exact = exact._replace(weights=exact.weights._replace(shift=shift))
        assert_close(signals_of(rule, exact), gauss_newton(), 2e-3, 1e-4)
        transposed = [{"w": each["w"], "b": None} for each in SQUARE]
        other = state._replace(weights=state.weights._replace(feedback=transposed))
        assert distance(signals_of(rule, other), gauss_newton()) > 0.3


def trained(rule, calls, params=SQUARE, loss_fn=linear, data=SQUARE_DATA):
    """The state before and after the inverses have learned at fixed parameters."""
    learner = learner_of(rule, loss_fn)
    start = learner.init(KEY, params, *data)

    def call(state, _):
        return learner(params, state, *data).state, None

    return start, jax.jit(lambda s: jax.lax.scan(call, s, length=calls)[0])(start)


# To a rate of zero, so that the noise of the last steps does not stay.
FADING = optax.adam(optax.cosine_decay_schedule(0.05, 1500))


def test_the_angle_to_gauss_newton_falls_as_the_inverses_learn():
    part = NoiseReconstruction(0.5)
    rule = DifferenceTargetPropagation(STEP, part, optimizer=FADING)
    before, after = (signals_of(rule, s) for s in trained(rule, 1500))
    expected = gauss_newton()
    for name in expected:
        assert cosine(before[name], expected[name]) < 0.7
        assert cosine(after[name], expected[name]) > 0.999
        assert distance(after[name], expected[name]) < 0.05


def backprop(params, loss_fn, data):
    return teaching(apical.rules.Backpropagation(), (), params, loss_fn, data)


def test_difference_reconstruction_turns_targets_towards_backpropagation():
    """On a linear network all the way: the Jacobians become transposes."""
    part = DifferenceReconstruction(0.1)
    rule = DifferenceTargetPropagation(STEP, part, optimizer=FADING)
    true = backprop(SQUARE, linear, SQUARE_DATA)
    before, after = (signals_of(rule, s) for s in trained(rule, 1500))
    for name in true:
        assert cosine(before[name], true[name]) < 0.7
        assert cosine(after[name], true[name]) > 0.995
        assert distance(after[name], true[name]) < 0.1
        assert cosine(after[name], gauss_newton()[name]) < 0.95


def test_with_nonlinearities_the_angle_to_backpropagation_still_falls():
    params, data = layers(5, 20, 20, 3), batch(16, 5, 3)
    true = backprop(params, loss_fn, data)
    given = (params, loss_fn, data)
    rule = DifferenceTargetPropagation(STEP, DifferenceReconstruction(0.1), 0.01)
    before, after = (teaching(rule, s, *given) for s in trained(rule, 600, *given))
    for name in true:
        assert cosine(before[name], true[name]) < 0.5
        assert cosine(after[name], true[name]) > 0.85
