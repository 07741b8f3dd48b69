"""Decays and time constants: both methods, exact round trips, refusals."""

import jax
import numpy as np
import pytest

from apical.interop import nir

METHODS = ("euler", "exact")


@pytest.mark.parametrize("method", METHODS)
def test_a_decay_in_float32_comes_back_as_it_was(method):
    drawn = np.random.default_rng(0).uniform(1e-3, 1, 10_000).astype(np.float32)
    decay = np.concatenate([drawn, np.nextafter(np.float32([1]), np.float32(0))])
    tau = nir.tau_from_decay(decay, dt=1e-4, method=method)
    back = nir.decay_from_tau(tau, dt=1e-4, method=method)
    assert np.array_equal(back.astype(np.float32), decay)
    # In float32 alone it does not: that is what float64 is for.
    with np.errstate(divide="ignore"):
        single = 1 - np.float32(1e-4) / tau.astype(np.float32)
    assert not np.array_equal(single, decay)


def test_the_two_methods_are_eulers_and_the_solution():
    tau, dt = 20e-3, 1e-3
    assert nir.decay_from_tau(tau, dt=dt) == pytest.approx(0.95)
    exact = nir.decay_from_tau(tau, dt=dt, method="exact")
    assert exact == pytest.approx(np.exp(-0.05), rel=1e-14)
    assert nir.tau_from_decay(0.0, dt=dt) == dt


@pytest.mark.parametrize("method", METHODS)
def test_traced_and_known_time_constants_give_the_same_decay(method):
    def decay(tau):
        return nir.decay_from_tau(tau, dt=1e-3, method=method)

    tau = np.float32([5e-3, 20e-3])
    assert np.allclose(jax.jit(decay)(tau), decay(tau), atol=1e-7)
    back = jax.jit(lambda d: nir.tau_from_decay(d, dt=1e-3, method=method))(decay(tau))
    assert np.allclose(back, tau, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nir.decay_from_tau(0.0, dt=1e-3), ValueError, "tau must be positive"),
        (lambda: nir.decay_from_tau(1e-4, dt=1e-3), ValueError, "overshoot"),
        (lambda: nir.decay_from_tau(1e-2, dt=0.0), ValueError, "dt is 0.0"),
        (lambda: nir.decay_from_tau(1e-2, dt="1"), TypeError, "dt is '1'"),
        (lambda: nir.decay_from_tau(1e-2, dt=1e-3, method="x"), ValueError, "'x'"),
        (lambda: nir.tau_from_decay(1.0, dt=1e-3), ValueError, "use I or IF"),
        (lambda: nir.tau_from_decay(-0.1, dt=1e-3), ValueError, "at least 0"),
        (lambda: nir.tau_from_decay(np.nan, dt=1e-3), ValueError, "at least 0"),
        (
            lambda: nir.tau_from_decay(0.0, dt=1e-3, method="exact"),
            *(ValueError, "above 0 and below 1"),
        ),
    ],
)
def test_what_is_out_of_range_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
