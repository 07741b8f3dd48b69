"""The regime of predictive coding: its numbers and its words."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import batch, cosine, layers, loss_fn
from support.predictive_coding_by_hand import DATA, PARAMS, credit_of, free, linear_loss

import apical
from apical.rules import ErrorRelaxation, Nudge, PredictiveCoding, ZeroDivergence


def regime_of(rule, loss_fn=loss_fn, params=PARAMS, data=DATA):
    learner = apical.value_and_grad(loss_fn, rule)
    return apical.measure.regime(learner)(params, (), *data)


def hessian(params, pull=1.0):
    """d2E/dv2 of a linear network with two hidden layers: the same for all examples."""
    w2, w3 = np.asarray(params[1]["w"]), np.asarray(params[2]["w"])
    return np.block(
        [
            [np.eye(len(w2)) + w2 @ w2.T, -w2],
            [-w2.T, np.eye(len(w3)) + pull * w3 @ w3.T],
        ]
    )


def test_the_stiffness_is_the_rate_times_the_largest_curvature():
    expected = np.linalg.eigvalsh(hessian(PARAMS))[-1]
    found = regime_of(free(5, 0.3), linear_loss).stiffness
    np.testing.assert_allclose(found, 0.3 * expected, rtol=1e-3)


def test_a_rate_beyond_two_over_the_curvature_diverges_and_below_it_settles():
    edge = 2 / np.linalg.eigvalsh(hessian(PARAMS))[-1]
    stable = regime_of(free(400, 0.9 * edge), linear_loss)
    assert (stable.steps, stable.update) == ("stable", "at equilibrium")
    beyond = regime_of(free(400, 1.1 * edge), linear_loss)
    assert beyond.steps == "diverging"
    assert not beyond.residual < 1


def test_few_small_steps_are_backprop_like_more_are_partial_and_many_are_at_rest():
    # One layer's worth of signal: what is near the output moves first.
    first = regime_of(free(3, 0.01))
    assert (first.steps, first.update) == ("slow", "backprop-like")
    partial = regime_of(free(25, 0.1))
    assert (partial.steps, partial.update) == ("slow", "partial")
    last = regime_of(free(1500, 0.1))
    assert (last.steps, last.update) == ("stable", "at equilibrium")
    closeness = [r.to_equilibrium for r in (first, partial, last)]
    assert sorted(closeness) == closeness and closeness[-1] > 0.9999


def test_the_cosines_are_those_of_the_gradients():
    rule = free(6, 0.2)
    found = regime_of(rule)
    grads = credit_of(rule).grads
    exact = jax.grad(loss_fn)(PARAMS, *DATA)
    settled = credit_of(free(4000, 0.1)).grads
    np.testing.assert_allclose(
        found.to_backpropagation, cosine(grads, exact), rtol=1e-4
    )
    np.testing.assert_allclose(found.to_equilibrium, cosine(grads, settled), rtol=1e-3)
    assert found.energy.keys() == credit_of(rule).info.energy.keys()


@pytest.mark.parametrize("inference", [optax.adam(0.05), ErrorRelaxation()])
def test_steps_without_one_size_have_no_stiffness(inference):
    assert np.isnan(regime_of(free(300, inference=inference)).stiffness)


def test_without_an_energy_there_is_no_equilibrium_to_compare_with():
    assert np.isnan(regime_of(free(10, 0.1, derivative=False)).to_equilibrium)


def test_it_works_in_loops():
    def recurrent(params, x, y):
        def step(h, x_t):
            return jnp.tanh(x_t @ params[0]["w"] + h @ params[1]["w"]), None

        h, _ = jax.lax.scan(step, jnp.zeros((len(x), 6)), jnp.stack([x, 2 * x, -x]))
        return jnp.mean((h @ params[2]["w"] - y) ** 2)

    params = [layers(5, 6)[0], layers(6, 6)[0], layers(6, 3)[0]]
    found = regime_of(free(300, 0.2), recurrent, params, batch(4, 5, 3))
    assert found.steps == "stable" and 0.2 < found.stiffness < 2


def test_fixed_predictions_and_other_rules_are_refused():
    for rule in (PredictiveCoding(), apical.rules.Backpropagation()):
        with pytest.raises(ValueError, match="`regime` is about"):
            apical.measure.regime(apical.value_and_grad(loss_fn, rule))


def test_the_stiffness_is_that_of_a_loss_that_pulls_as_it_does():
    strong = free(5, 0.1, nudge=Nudge(4.0, "positive"))
    expected = np.linalg.eigvalsh(hessian(PARAMS, pull=4.0))[-1]
    found = regime_of(strong, linear_loss).stiffness
    np.testing.assert_allclose(found, 0.1 * expected, rtol=1e-3)
    assert expected > 1.1 * np.linalg.eigvalsh(hessian(PARAMS))[-1]


def test_weights_that_move_at_their_own_tick_are_backprop_like_and_not_at_rest():
    found = regime_of(free(inference=ZeroDivergence()))
    assert (found.steps, found.update) == ("slow", "backprop-like")
    assert found.to_backpropagation > 0.9999 > found.to_equilibrium


def test_where_there_is_no_equilibrium_nearness_to_backprop_decides():
    rule = free(2, 0.01, derivative=False, nudge=Nudge(0.1, "positive"))
    last = regime_of(rule, linear_loss)
    assert np.isnan(last.to_equilibrium) and last.update == "partial"
