"""Neurons under `lax.scan`, beside loops in numpy and gradients by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.neurons_by_hand import (
    alif_by_hand,
    cuba_by_hand,
    gradient_by_hand,
    izhikevich_by_hand,
    lif_by_hand,
)

from apical import spiking

pytestmark = pytest.mark.grid(keep=3)

T, N = 60, 5
DRAW = np.random.default_rng(0)
CURRENTS = DRAW.normal(0.4, 0.6, (T, N))
WEIGHTS = DRAW.normal(size=(T, N))
RESETS = ("subtract", "zero")
ADAPT = {"adaptation_decay": 0.9, "adaptation_strength": 0.6}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def run(step, state, currents=CURRENTS):
    """The state after each step, and the spikes."""

    def both(state, current):
        state, spikes = step(state, current)
        return state, (state, spikes)

    return jax.jit(lambda c: jax.lax.scan(both, state, c)[1])(jnp.asarray(currents))


# -------------------------------------------------------------- beside loops by hand


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize(("decay", "threshold"), [(0.9, 1.0), (0.6, 0.3), (1.0, 2.0)])
def test_lif_equals_a_loop(reset, decay, threshold):
    step = partial(spiking.lif, decay=decay, threshold=threshold, reset=reset)
    state, spikes = run(step, spiking.LIFState.initial((N,)))
    potentials, expected = lif_by_hand(CURRENTS, decay, threshold, reset)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(spikes, expected)
    np.testing.assert_array_equal(state.spikes, spikes)
    np.testing.assert_allclose(state.potential, potentials, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("reset", RESETS)
def test_cuba_lif_equals_a_loop(reset):
    step = partial(spiking.cuba_lif, synaptic_decay=0.7, decay=0.8, reset=reset)
    state, spikes = run(step, spiking.CubaLIFState.initial((N,)))
    potentials, expected = cuba_by_hand(CURRENTS, 0.7, 0.8, reset=reset)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(spikes, expected)
    np.testing.assert_allclose(state.potential, potentials, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("reset", RESETS)
def test_alif_equals_a_loop(reset):
    step = partial(spiking.alif, decay=0.9, threshold=0.8, reset=reset, **ADAPT)
    state, spikes = run(step, spiking.ALIFState.initial((N,)))
    found = alif_by_hand(CURRENTS, 0.9, 0.9, 0.6, 0.8, reset)
    assert 0.05 < found[-1].mean() < 0.95
    np.testing.assert_array_equal(spikes, found[-1])
    np.testing.assert_allclose(state.potential, found[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(state.adaptation, found[1], rtol=1e-12)


def test_izhikevich_equals_the_published_script():
    draw = np.random.default_rng(1)
    r = draw.random(N)
    a, b, c, d = 0.02 + 0.08 * r, 0.25 - 0.05 * r, -65 + 15 * r**2, 8 - 6 * r**2
    currents = 5 + 5 * draw.normal(size=(300, N))
    step = partial(spiking.izhikevich, a=a, b=b, c=c, d=d)
    state, spikes = run(step, spiking.IzhikevichState.initial((N,), b=b), currents)
    potentials, expected = izhikevich_by_hand(currents, a, b, c, d)
    assert (expected.sum(axis=0) > 2).all()
    np.testing.assert_array_equal(spikes, expected)
    start = slice(0, 30)  # later, spikes have made much of the rounding
    np.testing.assert_allclose(state.potential[start], potentials[start], rtol=1e-10)
    np.testing.assert_allclose(state.potential, potentials, atol=1e-2)


def test_smaller_steps_approach_the_equation_of_izhikevich():
    """Between spikes, against Runge-Kutta in small steps."""

    def slope(y):
        v, u = y
        return np.array([0.04 * v * v + 5 * v + 140 - u + 2, 0.02 * (0.2 * v - u)])

    y = np.array([-65.0, -13.0])
    for _ in range(2000):
        k1 = slope(y)
        k2 = slope(y + 0.005 * k1)
        y = y + 0.01 * k2
    apart = []
    for substeps, dt in ((1, 0.1), (1, 0.05)):
        step = partial(spiking.izhikevich, dt=dt, substeps=substeps)
        currents = np.full((round(20 / dt), 1), 2.0)
        state, _ = run(step, spiking.IzhikevichState.initial((1,)), currents)
        apart.append(abs(float(state.potential[-1, 0]) - y[0]))
    assert apart[0] < 0.1
    assert apart[1] / apart[0] == pytest.approx(0.5, abs=0.1)  # of first order


def test_leaky_adds_up_what_decays():
    _, found = jax.lax.scan(
        partial(spiking.leaky, decay=0.7), jnp.zeros(N), jnp.asarray(CURRENTS)
    )
    kernel = np.tril(0.7 ** np.subtract.outer(np.arange(T), np.arange(T)))
    np.testing.assert_allclose(found, kernel @ CURRENTS, rtol=1e-10, atol=1e-12)


def test_cuba_lif_is_leaky_before_lif():
    _, filtered = jax.lax.scan(
        partial(spiking.leaky, decay=0.7), jnp.zeros(N), jnp.asarray(CURRENTS)
    )
    _, expected = run(
        partial(spiking.lif, decay=0.8), spiking.LIFState.initial((N,)), filtered
    )
    step = partial(spiking.cuba_lif, synaptic_decay=0.7, decay=0.8)
    _, found = run(step, spiking.CubaLIFState.initial((N,)))
    np.testing.assert_array_equal(found, expected)


def test_a_strength_of_0_mixes_lif_and_alif():
    strength = jnp.array([0.0, 0.6] * 2 + [0.0])
    step = partial(
        spiking.alif, decay=0.9, adaptation_decay=0.9, adaptation_strength=strength
    )
    _, found = run(step, spiking.ALIFState.initial((N,)))
    _, lif = lif_by_hand(CURRENTS, 0.9)
    *_, alif = alif_by_hand(CURRENTS, 0.9, 0.9, 0.6)
    np.testing.assert_array_equal(found, np.where(strength == 0, lif, alif))
    assert (lif != alif).any(axis=0).all()


def test_lif_with_an_adaptive_threshold_is_alif_with_another_reset():
    def step(state, current):
        lif, a = state
        a, threshold = spiking.adaptive_threshold(
            a, lif.spikes, decay=0.9, strength=0.6, threshold=0.8
        )
        kind = {"decay": 0.9, "threshold": threshold, "reset": "zero"}
        lif, spikes = spiking.lif(lif, current, **kind)
        return (lif, a), spikes

    _, found = run(step, (spiking.LIFState.initial((N,)), jnp.zeros(N)))
    *_, expected = alif_by_hand(CURRENTS, 0.9, 0.9, 0.6, 0.8, "zero")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_refractory_neuron_is_silent_and_its_lost_spikes_do_nothing(steps):
    def step(state, current):
        lif, counter = state
        lif, spikes = spiking.lif(lif, current, decay=0.9)
        counter, spikes = spiking.refractory(counter, spikes, steps=steps)
        return (lif._replace(spikes=spikes), counter), spikes

    state = spiking.LIFState.initial((N,)), jnp.zeros(N, jnp.int32)
    _, found = run(step, state, CURRENTS + 1)
    v = s = left = np.zeros(N)
    expected = []
    for current in CURRENTS + 1:
        v = 0.9 * v + current - s
        s = ((v > 1) & (left == 0)).astype(float)
        left = np.where(s == 1, steps, np.maximum(left - 1, 0))
        expected.append(s)
    np.testing.assert_array_equal(found, expected)
    gaps = [np.diff(np.flatnonzero(s)).min() for s in np.transpose(expected)]
    assert min(gaps) == steps + 1


# ----------------------------------------------------------------------- gradients


def grad_of(step, state):
    def loss(currents):
        return jnp.sum(jax.lax.scan(step, state, currents)[1] * WEIGHTS)

    return jax.jit(jax.grad(loss))(jnp.asarray(CURRENTS))


def psi(u):
    return 1 / (1 + 3 * np.abs(u)) ** 2


SPIKE = spiking.fast_sigmoid(3.0)


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.parametrize("reset", RESETS)
def test_the_gradient_of_lif_is_that_by_hand(reset, detached):
    kind = {"decay": 0.9, "threshold": 0.7, "reset": reset}
    step = partial(spiking.lif, detach_reset=detached, spike=SPIKE, **kind)
    found = grad_of(step, spiking.LIFState.initial((N,)))
    expected, other = (
        gradient_by_hand(CURRENTS, WEIGHTS, psi, detached=each, **kind)
        for each in (detached, not detached)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert np.abs(found - other).max() > 0.1


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.parametrize("reset", RESETS)
def test_the_gradient_of_alif_passes_through_the_adaptation(reset, detached):
    kind = {"decay": 0.9, "threshold": 0.7, "reset": reset}
    step = partial(spiking.alif, detach_reset=detached, spike=SPIKE, **kind, **ADAPT)
    found = grad_of(step, spiking.ALIFState.initial((N,)))
    by_hand = partial(gradient_by_hand, CURRENTS, WEIGHTS, psi, detached=detached)
    expected = by_hand(rho=0.9, beta=0.6, **kind)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert np.abs(found - by_hand(**kind)).max() > 0.1


def test_the_reset_of_cuba_lif_and_izhikevich_can_be_detached_too():
    cuba = partial(spiking.cuba_lif, synaptic_decay=0.7, decay=0.8, spike=SPIKE)
    for step, state in (
        (cuba, spiking.CubaLIFState.initial((N,))),
        (spiking.izhikevich, spiking.IzhikevichState.initial((N,), potential=30.5)),
    ):
        kept, cut = (
            grad_of(partial(step, detach_reset=detached), state)
            for detached in (False, True)
        )
        assert np.isfinite(kept).all()
        assert np.abs(kept - cut).max() > 1e-6 * np.abs(kept).max()


def test_decays_and_thresholds_of_each_neuron_are_learned():
    currents = jnp.asarray(CURRENTS)

    def loss(decay, threshold, n=slice(None)):
        step = partial(spiking.lif, decay=decay, threshold=threshold, spike=SPIKE)
        state = spiking.LIFState.initial(currents[0, n].shape)
        return jnp.sum(jax.lax.scan(step, state, currents[:, n])[1] * WEIGHTS[:, n])

    decays, thresholds = jnp.linspace(0.5, 0.95, N), jnp.linspace(0.5, 1.5, N)
    grads = jax.grad(loss, (0, 1))(decays, thresholds)
    for n in range(N):
        alone = jax.grad(loss, (0, 1))(decays[n], thresholds[n], n)
        np.testing.assert_allclose([g[n] for g in grads], alone, rtol=1e-9)
    assert all((np.abs(g) > 1e-3).all() for g in grads)


NEURONS = {
    "lif": (partial(spiking.lif, decay=0.9), spiking.LIFState),
    "cuba_lif": (
        partial(spiking.cuba_lif, synaptic_decay=0.7, decay=0.9),
        spiking.CubaLIFState,
    ),
    "alif": (partial(spiking.alif, decay=0.9, **ADAPT), spiking.ALIFState),
    "izhikevich": (spiking.izhikevich, spiking.IzhikevichState),
}


@pytest.mark.parametrize("name", NEURONS)
def test_each_neuron_is_a_unit_of_its_own(name):
    step, kind = NEURONS[name]

    def after(parts, current):
        state, spikes = step(kind(*parts), current)
        return (*state, spikes)

    state = tuple(jnp.linspace(0.1, 0.9, 3) + i for i in range(len(kind._fields)))
    jacobians = jax.jit(jax.jacobian(after, (0, 1)))(state, jnp.ones(3))
    for jacobian in jax.tree.leaves(jacobians):
        assert jnp.all(jacobian == jnp.diag(jnp.diag(jacobian)))
    assert any(jnp.any(jacobian) for jacobian in jax.tree.leaves(jacobians))


@pytest.mark.parametrize("name", NEURONS)
def test_states_keep_their_dtype_under_vmap_and_remat(name):
    step, kind = NEURONS[name]
    for dtype in ("bfloat16", "float32"):
        currents = jnp.asarray(CURRENTS[:8], dtype)

        def run(currents, dtype=dtype):
            initial = kind.initial(currents.shape[1:], dtype)
            return jax.lax.scan(jax.checkpoint(step), initial, currents)[1]

        spikes = run(currents)
        assert spikes.dtype == dtype
        each = jax.vmap(run, 1, 1)(currents)
        np.testing.assert_array_equal(spikes, each)


# ------------------------------------------------------------------------- refusals


STATE = spiking.LIFState(np.zeros(3, np.float32), np.zeros(3, np.float32))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"decay": 20.0}, r"`decay` must be from 0 to 1, not 20.0.*decay_factor"),
        ({"decay": float("nan")}, "`decay` must be from 0 to 1"),
        ({"decay": None}, "`decay` must be a number or an array, not None"),
        ({"reset": "none"}, r"`reset` must be one of \['subtract', 'zero'\]"),
        (
            {"current": np.ones((2, 3), np.float32)},
            r"`current` has shape \(2, 3\).*shape \(3,\) of.*LIFState.initial",
        ),
        ({"current": np.ones(2, np.float32)}, r"`current` has shape \(2,\)"),
        ({"current": np.ones(3)}, "`current` is float64 and the state float32"),
        ({"decay": np.float64(0.9)}, "`decay` is float64 and the state float32"),
        ({"decay": np.ones((4, 1), np.float32)}, r"`decay` has shape \(4, 1\)"),
        ({"threshold": np.ones((4, 1), np.float32)}, r"`threshold` has shape \(4, 1\)"),
        ({"threshold": "high"}, "`threshold` must be a number or an array, not 'high'"),
    ],
)
def test_what_would_change_the_state_is_refused(call, message):
    told = {"current": np.ones(3, np.float32), "decay": 0.9} | call
    with pytest.raises(ValueError, match=message):
        spiking.lif(STATE, told.pop("current"), **told)
    state, _ = spiking.lif(STATE, np.ones(3, np.float32), decay=0.9)
    assert state.potential.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: spiking.leaky(jnp.zeros(2), jnp.ones(3), decay=0.9),
            "`current` has shape",
        ),
        (lambda: spiking.leaky(jnp.zeros(1), jnp.ones(3), decay=0.9), "jnp.zeros"),
        (lambda: spiking.leaky(0.0, 1.0, decay=1.1), "`decay` must be from 0 to 1"),
        (
            lambda: spiking.cuba_lif(
                spiking.CubaLIFState.initial((1,)),
                jnp.ones(3),
                synaptic_decay=0.9,
                decay=0.9,
            ),
            "CubaLIFState.initial",
        ),
        (
            lambda: spiking.alif(
                spiking.ALIFState.initial((1,)), jnp.ones(3), decay=0.9, **ADAPT
            ),
            "ALIFState.initial",
        ),
        (
            lambda: spiking.izhikevich(
                spiking.IzhikevichState.initial(()), jnp.ones(3)
            ),
            "IzhikevichState.initial",
        ),
        (
            lambda: spiking.izhikevich(
                spiking.IzhikevichState.initial(()), 0.0, substeps=0
            ),
            "`substeps` must be a whole number >= 1",
        ),
        (
            lambda: spiking.izhikevich(spiking.IzhikevichState.initial(()), 0.0, dt=0),
            "`dt` must be finite and above 0",
        ),
        (
            lambda: spiking.refractory(jnp.zeros(3), jnp.ones(3), steps=2),
            "`counter` must be whole numbers",
        ),
        (
            lambda: spiking.refractory(jnp.zeros(2, int), jnp.ones(3), steps=2),
            r"`counter` has shape \(2,\), and `spikes` \(3,\)",
        ),
        (
            lambda: spiking.refractory(jnp.zeros(3, int), jnp.ones(3), steps=1.5),
            "`steps` must be a whole number >= 0, not 1.5",
        ),
        (lambda: spiking.decay_factor(0.0), "`time_constant` must be finite"),
        (lambda: spiking.decay_factor(20.0, -1.0), "`dt` must be"),
    ],
)
def test_arguments_out_of_their_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_factor_of_a_time_constant():
    assert spiking.decay_factor(20.0, 0.5) == pytest.approx(np.exp(-0.025), rel=1e-15)
    found = spiking.decay_factor(jnp.array([10.0, 20.0]))
    np.testing.assert_allclose(found, np.exp([-0.1, -0.05]), rtol=1e-12)
    assert jax.grad(spiking.decay_factor)(10.0) == pytest.approx(np.exp(-0.1) / 100)
