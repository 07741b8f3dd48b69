"""Traces of gradients: sums by hand, ends of episodes, chains, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from apical.optim import eligibility_trace

GRADIENTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
ERRORS = np.random.default_rng(1).normal(size=6).astype(np.float32)
LAST = np.arange(6) == 2


def updates_of(discount, gradients, errors, last=LAST):
    optimizer = eligibility_trace(discount)

    def step(state, given):
        gradient, error, last = given
        return optimizer.update(gradient, state, td_error=error, last=last)[::-1]

    return jax.lax.scan(step, optimizer.init(gradients[0]), (gradients, errors, last))


def by_hand(discount, gradients, errors, last=LAST):
    found, trace = [], 0.0
    for g, error, ends in zip(gradients, errors, last, strict=True):
        trace = discount * trace + g
        found.append(error * trace)
        trace = 0.0 if ends else trace
    return np.stack(found)


@pytest.mark.parametrize("discount", [0.0, 0.7, 1])
def test_updates_are_errors_times_discounted_sums_within_an_episode(discount):
    found = updates_of(discount, GRADIENTS, ERRORS)[1]
    np.testing.assert_allclose(found, by_hand(discount, GRADIENTS, ERRORS), rtol=1e-5)
    if discount:
        other = by_hand(discount, GRADIENTS, ERRORS, np.zeros(6, bool))
        assert not np.allclose(found, other, rtol=1e-2)


def test_discounts_are_swept_by_vmap():
    discounts = jnp.array([0.2, 0.9])
    found = jax.vmap(lambda d: updates_of(d, GRADIENTS, ERRORS)[1])(discounts)
    for each, discount in zip(found, discounts, strict=True):
        expected = by_hand(float(discount), GRADIENTS, ERRORS)
        np.testing.assert_allclose(each, expected, rtol=1e-4, atol=1e-6)


def test_updates_have_the_dtype_of_the_gradients():
    gradients = {"half": GRADIENTS.astype(jnp.bfloat16), "whole": GRADIENTS}
    found = updates_of(0.5, gradients["half"], ERRORS)[1]
    assert found.dtype == jnp.bfloat16
    assert updates_of(0.5, gradients["whole"], ERRORS)[1].dtype == jnp.float32


def test_a_chain_hands_the_error_on():
    optimizer = optax.chain(eligibility_trace(0.9), optax.sgd(0.1))
    w = jnp.ones(2)
    updates, _ = optimizer.update(w, optimizer.init(w), w, td_error=2.0)
    np.testing.assert_allclose(updates, [-0.2, -0.2])


def test_an_update_without_an_error_is_refused():
    optimizer, w = eligibility_trace(0.9), jnp.zeros(2)
    with pytest.raises(ValueError, match="td_error=error"):
        optimizer.update(w, optimizer.init(w), w)


def test_one_update_for_errors_of_several_agents_is_refused():
    optimizer, w = eligibility_trace(0.9), jnp.zeros(2)
    with pytest.raises(ValueError, match=r"jax\.vmap"):
        optimizer.update(w, optimizer.init(w), w, td_error=jnp.zeros(3))


@pytest.mark.parametrize("discount", [-0.1, 1.1, float("nan"), None, "0.9"])
def test_a_discount_that_is_no_fraction_is_refused(discount):
    with pytest.raises(ValueError, match="`discount`"):
        eligibility_trace(discount)


def test_an_episode_ends_for_one_agent_at_a_time():
    optimizer = eligibility_trace(0.5)
    w = jnp.zeros(2)
    with pytest.raises(ValueError, match="`last` must be one number"):
        optimizer.update(w, optimizer.init(w), w, td_error=1.0, last=jnp.zeros(2, bool))
