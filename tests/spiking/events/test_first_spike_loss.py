"""The loss of first spikes, against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apical import spiking

TIMES = np.array([[4.0, 9.0], [3.0, np.inf], [6.5, 8.0]])
PUBLISHED = {"tau": 0.5, "early": 3e-3, "early_tau": 6.4}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def formula(first, label, tau, early, early_tau):
    p = np.exp(-first / tau)
    price = early * (np.exp(first[label] / early_tau) - 1)
    return -np.log(p[label] / p.sum()) + price


@pytest.mark.parametrize("label", [0, 1, 2])
def test_it_is_the_cross_entropy_of_first_spikes(label):
    found = spiking.first_spike_loss(TIMES, label, **PUBLISHED)
    np.testing.assert_allclose(found, formula(TIMES[:, 0], label, **PUBLISHED))
    alone = spiking.first_spike_loss(TIMES[:, 0], label, **PUBLISHED)
    assert alone == found


def test_its_gradient_is_that_of_the_formula_and_reaches_first_spikes_alone():
    times = jnp.array(TIMES)
    grad = jax.grad(spiking.first_spike_loss)(times, 0, **PUBLISHED)
    p = np.exp(-TIMES[:, 0] / 0.5)
    expected = -p / p.sum() / 0.5
    expected[0] += 1 / 0.5 + 3e-3 / 6.4 * np.exp(4 / 6.4)
    np.testing.assert_allclose(grad[:, 0], expected, rtol=1e-10)
    np.testing.assert_array_equal(grad[:, 1], 0)


def test_times_far_apart_do_not_overflow():
    times = jnp.array([1e4, 0.0, 5.0])
    loss, grad = jax.value_and_grad(spiking.first_spike_loss)(times, 0, tau=0.5)
    np.testing.assert_allclose(loss, 2e4)
    np.testing.assert_allclose(grad, [2.0, -2.0, 0.0], atol=1e-4)


def test_a_silent_neuron_has_probability_zero():
    times = jnp.array([4.0, jnp.inf, 5.0])
    loss, grad = jax.value_and_grad(spiking.first_spike_loss)(times, 0, tau=2.0)
    pair = formula(np.array([4.0, 5.0]), 0, 2.0, 0.0, 1.0)
    np.testing.assert_allclose(loss, pair)
    assert grad[1] == 0 and np.all(np.isfinite(grad)) and grad[0] > 0 > grad[2]


@pytest.mark.parametrize("silent", [0.0, 2.5])
@pytest.mark.parametrize("others", [[3.0, 5.0], [np.inf, np.inf]])
def test_a_silent_label_costs_what_is_said_and_teaches_nothing(others, silent):
    times = jnp.array([np.inf, *others])
    loss, grad = jax.value_and_grad(spiking.first_spike_loss)(
        times, 0, silent=silent, **PUBLISHED
    )
    assert loss == silent
    np.testing.assert_array_equal(grad, 0)


def test_times_without_meaning_are_passed_on():
    assert np.isnan(spiking.first_spike_loss(jnp.array([np.nan, 1.0]), 1, tau=1.0))


@pytest.mark.parametrize(
    ("times", "label", "error", "words"),
    [
        (np.zeros((2, 2, 2)), 0, ValueError, "`times` must have the shape"),
        (np.float64(1.0), 0, ValueError, "`times` must have the shape"),
        (np.zeros(3), np.zeros(2, int), ValueError, "`label` must be one index.*vmap"),
        (np.zeros(3), 1.0, TypeError, "`label` must be an integer"),
    ],
)
def test_other_shapes_are_refused(times, label, error, words):
    with pytest.raises(error, match=words):
        spiking.first_spike_loss(times, label, tau=1.0)
