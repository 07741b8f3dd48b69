"""e-prop in numpy reaches the published losses, and is the gradient of the twin."""

import jax
import numpy as np
import pytest
from support.by_hand import distance
from support.nest_eprop import evidence, losses_of, regression


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=[regression, evidence])
def golden(request):
    return request.param()


def by_hand(golden, feedback=None):
    def credit(params, x, y):
        back = params["out"] if feedback is None else feedback
        return golden.by_hand(params, back, x, y)

    return losses_of(golden, credit)


def test_e_prop_in_numpy_reaches_the_published_losses(golden):
    found = by_hand(golden, golden.feedback)
    np.testing.assert_allclose(found, golden.losses, rtol=1e-11)


def test_feedback_through_the_read_out_reaches_others(golden):
    found = by_hand(golden)
    apart = np.abs(np.subtract(found, golden.losses))
    assert apart[0] < 1e-10
    assert apart[1:].max() > 1e-4


def test_symmetric_e_prop_is_the_gradient_of_the_twin(golden):
    (x, y), params = golden.batches[1], golden.params
    value = jax.jit(jax.value_and_grad(golden.twin, has_aux=True))
    (total, task), grads = value(params, x, y)
    found, own = golden.by_hand(params, params["out"], x, y)
    np.testing.assert_allclose(task, found, rtol=1e-12)
    assert distance(own, grads) < 1e-12
    true, _ = jax.jit(jax.grad(golden.loss_fn, has_aux=True))(params, x, y)
    assert distance(grads, true) > 0.01
    same = jax.jit(golden.loss_fn)(params, x, y)
    np.testing.assert_allclose(same, (total, task), rtol=1e-12)
