"""Spike functions: a step forwards, the formula of their derivative backwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apical import spiking

pytestmark = pytest.mark.grid(keep=3)

U = np.linspace(-1.5, 1.5, 61).astype(np.float32)

# Each with the formula of its derivative, at other numbers than the defaults.
FORMULAE = {
    "fast_sigmoid": (spiking.fast_sigmoid(3.0), lambda u: 1 / (1 + 3 * abs(u)) ** 2),
    "arctan": (spiking.arctan(2.0), lambda u: 1 / (1 + 4 * u**2)),
    "triangle": (spiking.triangle(0.7), lambda u: np.maximum(0, 1 - abs(u / 0.7))),
    "sigmoid": (spiking.sigmoid(5.0), lambda u: 1 / np.cosh(2.5 * u) ** 2),
    "boxcar": (spiking.boxcar(0.33), lambda u: (abs(u) < 0.33) * 1.0),
}


def derivative(spike, u=U):
    return jax.vmap(jax.grad(spike))(jnp.asarray(u))


@pytest.mark.parametrize("name", FORMULAE)
def test_the_derivative_is_that_of_the_formula(name):
    spike, formula = FORMULAE[name]
    np.testing.assert_allclose(derivative(spike), formula(U), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", FORMULAE)
def test_the_peak_is_1_and_at_the_threshold(name):
    make = getattr(spiking, name)
    slopes = derivative(make())
    assert slopes[30] == slopes.max() == 1.0
    np.testing.assert_allclose(derivative(make(height=0.3)), 0.3 * slopes, rtol=1e-6)


def test_no_two_shapes_are_the_same():
    slopes = [derivative(spike) for spike, _ in FORMULAE.values()]
    for i, one in enumerate(slopes):
        assert all(np.abs(one - other).max() > 0.05 for other in slopes[:i])


# The derivatives of other libraries, from their formulae.
SAME = {
    "snntorch atan(2)": (spiking.arctan(), lambda u: 1 / (1 + (np.pi * u) ** 2)),
    "spyx arctan(2)": (
        spiking.arctan(2 * np.pi, height=1 / np.pi),
        lambda u: 1 / (np.pi * (1 + (2 * np.pi * u) ** 2)),
    ),
    "snntorch sigmoid(5)": (
        spiking.sigmoid(5.0, height=5 / 4),
        lambda u: 5 * np.exp(-5 * u) / (np.exp(-5 * u) + 1) ** 2,
    ),
    "e-prop, threshold 0.6": (
        spiking.triangle(0.6, height=0.3 / 0.6),
        lambda u: 0.3 / 0.6 * np.maximum(0, 1 - abs(u / 0.6)),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_derivatives_of_other_libraries_are_reached_as_it_is_said(name):
    spike, theirs = SAME[name]
    np.testing.assert_allclose(derivative(spike), theirs(U), rtol=1e-4)


@pytest.mark.parametrize("name", FORMULAE)
def test_a_spike_is_a_step_that_excludes_the_threshold(name):
    spike = FORMULAE[name][0]
    np.testing.assert_array_equal(spike(U), (U > 0).astype(np.float32))
    assert spike(jnp.float32(0)) == 0


@pytest.mark.parametrize("name", FORMULAE)
def test_a_potential_that_is_nan_is_no_silent_neuron(name):
    assert jnp.isnan(FORMULAE[name][0](jnp.float32(jnp.nan)))
    assert FORMULAE[name][0](jnp.float32(-jnp.inf)) == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", FORMULAE)
def test_spikes_and_derivatives_have_the_dtype_of_the_potential(name, dtype):
    spike, formula = FORMULAE[name]
    with jax.enable_x64(dtype == "float64"):
        u = jnp.asarray([-0.5, 0.25], dtype)
        spikes, tangents = jax.jvp(spike, (u,), (jnp.ones_like(u),))
    assert spikes.dtype == tangents.dtype == dtype
    close = {"float64": 1e-12, "float32": 1e-5}.get(dtype, 0.02)
    expected = formula(np.array([-0.5, 0.25]))
    np.testing.assert_allclose(np.asarray(tangents, float), expected, rtol=close)


def through_scan(spike, u):
    return jax.lax.scan(lambda s, each: (s, spike(each)), 0, u)[1].sum()


@pytest.mark.sweep
def test_every_transformation_gives_the_same_derivative():
    spike, formula = FORMULAE["fast_sigmoid"]
    u = jnp.asarray(U[::7])
    expected = formula(np.asarray(u))
    ways = {
        "jvp": jax.jvp(spike, (u,), (jnp.ones_like(u),))[1],
        "linearize": jax.linearize(spike, u)[1](jnp.ones_like(u)),
        "jit": jax.jit(derivative, static_argnums=0)(spike, u),
        "remat": derivative(jax.checkpoint(spike), u),
        "scan": jax.grad(lambda u: through_scan(spike, u))(u),
        "vmap of scan": jax.vmap(jax.grad(lambda u: through_scan(spike, u)))(
            u[:, None]
        )[:, 0],
        "jacfwd": jnp.diag(jax.jacfwd(spike)(u)),
    }
    for way, found in ways.items():
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=way)


@pytest.mark.sweep
def test_the_second_derivative_is_that_of_the_surrogate():
    spike, formula = FORMULAE["arctan"]
    u, step = U[5:-5:10].astype(float), 1e-5
    expected = (formula(u + step) - formula(u - step)) / (2 * step)
    for nested in (jax.grad(jax.grad(spike)), jax.jacfwd(jax.grad(spike))):
        found = jax.vmap(nested)(jnp.asarray(u, jnp.float32))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert derivative(jax.grad(FORMULAE["boxcar"][0])).any() == 0


def test_slopes_can_be_swept_and_learn_nothing():
    def slope_at(k):
        return jax.grad(spiking.fast_sigmoid(k))(0.1)

    slopes = jnp.array([1.0, 10.0, 100.0])
    found = jax.jit(jax.vmap(slope_at))(slopes)
    np.testing.assert_allclose(found, 1 / (1 + slopes * 0.1) ** 2, rtol=1e-6)
    assert jax.grad(lambda k: spiking.fast_sigmoid(k)(0.1))(1.0) == 0
    np.testing.assert_array_equal(
        derivative(spiking.fast_sigmoid(np.float64(3.0))),
        derivative(spiking.fast_sigmoid(3.0)),
    )


def test_a_derivative_of_ones_own_and_its_numbers():
    spike = spiking.surrogate(lambda u, k: jnp.exp(-k * u**2), 4.0)
    np.testing.assert_allclose(derivative(spike), np.exp(-4 * U**2), rtol=1e-5)
    straight = spiking.surrogate(lambda u: 1.0)
    np.testing.assert_array_equal(derivative(straight), np.ones_like(U))
    # One slope for each neuron.
    each = spiking.fast_sigmoid(jnp.array([1.0, 9.0]))
    found = jax.grad(lambda u: each(u).sum())(jnp.array([1.0, 1.0]))
    np.testing.assert_allclose(found, [1 / 4, 1 / 100], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spiking.fast_sigmoid(0.0), "`slope` must be finite and above 0"),
        (lambda: spiking.arctan(float("nan")), "`slope` must be"),
        (lambda: spiking.triangle(-1.0), "`half_width` must be"),
        (lambda: spiking.boxcar(float("inf")), "`half_width` must be finite"),
        (lambda: spiking.sigmoid(height=0), "`height` must be finite and above 0"),
        (lambda: spiking.surrogate(2.0), "`derivative` must be a function"),
        (lambda: spiking.arctan()(jnp.arange(3)), "floating-point numbers, not int32"),
        (
            lambda: jax.jvp(
                spiking.surrogate(lambda u: u[:1]), (jnp.ones(2),), (jnp.ones(2),)
            ),
            r"act on each entry: for u of shape \(2,\) it returned \(1,\)",
        ),
    ],
)
def test_what_is_no_surrogate_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
