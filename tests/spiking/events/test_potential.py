"""Closed forms of the potential, against finer arithmetic and against bisection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apical.spiking.events._potential import advance, crossing, peak, response

PAIRS = [(20.0, 5.0), (5.0, 20.0), (10.0, 10.0), (10.0, 10.0 + 1e-9), (20.0, 10.0)]


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def textbook(lag, tau_m, tau_s):
    """The response in extended precision, as a difference of exponentials."""
    lag, tau_m, tau_s = (np.asarray(x, np.longdouble) for x in (lag, tau_m, tau_s))
    if tau_m == tau_s:
        return lag / tau_m * np.exp(-lag / tau_m)
    return tau_s / (tau_m - tau_s) * (np.exp(-lag / tau_m) - np.exp(-lag / tau_s))


LAGS = np.concatenate([np.logspace(-2, 2, 60), [0.0]])


@pytest.mark.parametrize(
    ("tau_m", "tau_s", "rtol"),
    [
        *((*pair, 1e-14) for pair in [(20.0, 5.0), (5.0, 20.0), (10.0, 10.0)]),
        (10.0, 10.01, 1e-12),  # where the textbook form itself loses digits
    ],
)
def test_the_response_is_the_difference_of_two_exponentials(tau_m, tau_s, rtol):
    found = response(jnp.array(LAGS), tau_m, tau_s)
    np.testing.assert_allclose(found, textbook(LAGS, tau_m, tau_s), rtol=rtol)


def test_nearly_equal_time_constants_lose_no_digits():
    """To first order in the difference: kappa + eps tau dkappa/dtau_s."""
    lag, tau = jnp.array(LAGS), 10.0
    slope = lag**2 / (2 * tau**3) * jnp.exp(-lag / tau)  # by d/dtau_s at tau_s = tau_m
    for eps in (1e-8, 1e-11, -1e-11):
        found = response(lag, tau, tau * (1 + eps))
        np.testing.assert_allclose(
            found,
            response(lag, tau, tau) + eps * tau * slope,
            rtol=1e-14,
        )
    plain = np.exp(-LAGS / tau) - np.exp(-LAGS / (tau * (1 + 1e-11)))
    plain = -(1 + 1e-11) / 1e-11 * plain
    assert np.max(np.abs(plain - response(lag, tau, tau))) > 1e-6  # the control


@pytest.mark.parametrize(("tau_m", "tau_s"), PAIRS)
def test_derivatives_of_the_response_are_central_differences(tau_m, tau_s):
    lags = jnp.array([0.5, 3.0, 20.0, 90.0])

    def total(lags, tau_m, tau_s):
        return jnp.sum(jnp.array([1.0, -2.0, 3.0, 5.0]) * response(lags, tau_m, tau_s))

    args = (lags, jnp.array(tau_m), jnp.array(tau_s))
    grads = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(*args)
    step = 1e-5

    def differences(number):
        def moved(sign):
            direction = jnp.eye(args[number].size).reshape(-1, *args[number].shape)
            return jax.vmap(
                lambda d: total(
                    *args[:number],
                    args[number] + sign * step * d,
                    *args[number + 1 :],
                )
            )(direction)

        return (moved(1) - moved(-1)) / (2 * step)

    for number, grad in enumerate(grads):
        np.testing.assert_allclose(
            np.ravel(grad), differences(number), rtol=1e-6, atol=1e-10
        )


def test_before_its_input_and_at_infinity_the_response_and_its_slope_are_zero():
    for lag in (-1.0, 0.0, jnp.inf, -jnp.inf):
        value, slope = jax.value_and_grad(response)(jnp.array(lag), 20.0, 5.0)
        assert (value, slope) == (0.0, 0.0)


def states(count=4000):
    draw = np.random.default_rng(0)
    return jnp.array(draw.uniform(-3, 1, count)), jnp.array(draw.uniform(0, 12, count))


@pytest.mark.parametrize(("tau_m", "tau_s"), PAIRS)
def test_crossings_solve_the_equation_and_none_is_missed(tau_m, tau_s):
    v, i = states()
    d = jax.jit(lambda: crossing(v, i, jnp.inf, tau_m, tau_s, 1.0))()
    crosses = np.isfinite(d)
    assert 500 < crosses.sum() < 3900
    at, _ = advance(v, i, jnp.where(crosses, d, 0.0), tau_m, tau_s)
    np.testing.assert_allclose(np.asarray(at)[crosses], 1.0, atol=1e-14)
    grid = jnp.linspace(0, 150, 3001)[:, None]
    path = np.asarray(advance(v, i, grid, tau_m, tau_s)[0])
    highest = path.max(axis=0)
    assert not np.any((highest >= 1) & ~crosses)
    assert not np.any((highest < 0.99) & crosses)
    # It is the first crossing: nothing before it is above the threshold.
    before = np.asarray(grid) < np.where(crosses, d, 0.0) - 1e-9
    assert np.max(np.where(before, path, 0.0)) <= 1 + 1e-12


@pytest.mark.parametrize(("tau_m", "tau_s"), PAIRS)
def test_the_peak_is_the_largest_value_on_a_grid(tau_m, tau_s):
    v, i = states(500)
    d, top = peak(v, i, tau_m, tau_s)
    grid = jnp.linspace(0, 200, 20001)[:, None]
    path = np.asarray(advance(v, i, grid, tau_m, tau_s)[0])
    inside = (np.asarray(d) > 0) & (np.asarray(d) < 199)
    assert inside.sum() > 300
    np.testing.assert_allclose(
        np.asarray(top)[inside], path.max(axis=0)[inside], atol=1e-5
    )


def test_a_crossing_after_the_limit_does_not_count():
    args = jnp.zeros(1), jnp.array([8.0])
    d = crossing(*args, jnp.inf, 20.0, 5.0, 1.0)
    assert crossing(*args, d * 0.999, 20.0, 5.0, 1.0) == jnp.inf
    np.testing.assert_allclose(crossing(*args, d * 1.001, 20.0, 5.0, 1.0), d)


def test_a_crossing_just_below_the_peak_is_exact():
    """V touches the threshold: Newton's method alone would converge slowly there."""
    for excess in (1e-4, 1e-8, 1e-12):
        i = 1 / response(peak(0.0, 1.0, 20.0, 5.0)[0], 20.0, 5.0) * (1 + excess)
        d = crossing(jnp.zeros(1), i[None], jnp.inf, 20.0, 5.0, 1.0)[0]
        top_at, _ = peak(0.0, i, 20.0, 5.0)
        assert 0 < top_at - d < 20 * np.sqrt(excess)
        np.testing.assert_allclose(response(d, 20.0, 5.0) * i, 1.0, atol=1e-14)
