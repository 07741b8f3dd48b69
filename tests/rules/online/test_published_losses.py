"""E-prop reaches the published losses of two networks, from losses as users write them.

The numbers are those of the reference implementation of Bellec et al. 2020.
"""

import jax
import numpy as np
import pytest
from support.nest_eprop import evidence, losses_of, regression

import apical
from apical.rules import EProp


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def run(golden, rule, feedback):
    """The losses of five iterations, with this feedback in place of the read-out's."""
    learner = apical.value_and_grad(golden.loss_fn, rule, has_aux=True)
    state = learner.init(jax.random.key(0), golden.params, *golden.batches[0])
    drawn = state.feedback.feedback
    state = state._replace(
        feedback=state.feedback._replace(feedback={**drawn, "out": feedback})
    )

    @jax.jit
    def credit(params, x, y):
        found = learner(params, state, x, y)
        return found.aux, found.grads

    return np.asarray(losses_of(golden, credit))


@pytest.mark.parametrize("make", [regression, evidence])
def test_e_prop_reaches_the_published_losses(make):
    golden = make()
    found = run(golden, EProp("random", chunk=50), golden.feedback)
    np.testing.assert_allclose(found, golden.losses, rtol=0, atol=1e-10)


@pytest.mark.sweep
def test_other_feedback_reaches_other_losses():
    golden = regression()
    found = run(golden, EProp("random", chunk=50), golden.feedback[::-1])
    assert found[0] == pytest.approx(golden.losses[0], abs=1e-10)
    assert np.max(np.abs(found[1:] - golden.losses[1:])) > 1e-5
