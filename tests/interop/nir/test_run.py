"""Layers run as their equations say: against loops in numpy, and in parts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import nir_by_hand

from apical import spiking
from apical.interop import nir

pytestmark = pytest.mark.grid(keep=3)

T, B, N, DT = 60, 2, 5, 1e-3
RNG = np.random.default_rng(3)
CURRENTS = (4 * RNG.random((T, B, N))).astype(np.float32)


def units(low, high):
    return RNG.uniform(low, high, N)


LIF = {
    **{"tau": units(5e-3, 30e-3), "r": units(0.5, 2), "v_leak": units(-0.3, 0.3)},
    **{"v_threshold": units(0.8, 1.2), "v_reset": units(-0.5, 0.2)},
}
CUBA = {
    **{"tau_syn": units(3e-3, 9e-3), "tau_mem": LIF["tau"], "w_in": units(0.5, 2)},
    **{name: LIF[name] for name in ("r", "v_leak", "v_threshold", "v_reset")},
}


def spikes_of(layers, x=CURRENTS, **how):
    run = jax.jit(partial(nir.run, layers, dt=DT, **how))
    return np.asarray(run(x)[1])


@pytest.mark.parametrize("method", ["euler", "exact"])
def test_lif_and_cuba_lif_fire_as_a_loop_in_numpy(method):
    ours = spikes_of([nir.LIF(**LIF)], method=method)
    by_hand = nir_by_hand.lif(CURRENTS, DT, method=method, **LIF)
    assert 20 < ours.sum() < ours.size / 2
    assert np.array_equal(ours, by_hand)
    ours = spikes_of([nir.CubaLIF(**CUBA)], method=method)
    by_hand = nir_by_hand.cuba_lif(CURRENTS, DT, method=method, **CUBA)
    assert 20 < ours.sum() < ours.size / 2
    assert np.array_equal(ours, by_hand)


@pytest.mark.parametrize(
    "other",
    [
        *({"method": "exact"}, {"current_first": False}, {"subtract": True}),
        *({"v_leak": 0.5}, {"v_reset": 0.3}, {"w_in": 0.7}, {"r": 1.1}),
    ],
    ids=str,
)
def test_every_part_of_the_convention_shows_in_the_spikes(other):
    ours = spikes_of([nir.CubaLIF(**CUBA)])
    by_hand = nir_by_hand.cuba_lif(CURRENTS, DT, **{**CUBA, **other})
    assert not np.array_equal(ours, by_hand)


def test_a_potential_of_exactly_the_threshold_is_no_spike():
    layers = [nir.LIF(tau=2e-3, r=2.0)]  # v' = v / 2 + x
    x = jnp.array([1.0, 0.5, 0.75])[:, None, None]
    _, spikes = nir.run(layers, x, dt=DT)  # v = 1, 1, 1.25
    assert spikes.ravel().tolist() == [0, 0, 1]


def test_integrators_without_spikes_follow_their_equations():
    x = CURRENTS.astype(np.float64)
    one = spikes_of([nir.I(r=LIF["r"])])
    assert np.allclose(one, np.cumsum(DT * LIF["r"] * x, axis=0), rtol=1e-5)
    tau, leak = LIF["tau"], LIF["v_leak"]
    v = np.broadcast_to(leak, (B, N))
    by_hand = np.stack([v := v + DT / tau * (leak + 2 * now - v) for now in x])
    assert np.allclose(spikes_of([nir.LI(tau, 2.0, leak)]), by_hand, rtol=1e-4)
    # A current filter and then a leaky integrator, which move in this order.
    cuba = spikes_of([nir.CubaLI(CUBA["tau_syn"], tau, 2.0, leak, CUBA["w_in"])])
    two = [nir.Scale(CUBA["w_in"]), nir.LI(CUBA["tau_syn"]), nir.LI(tau, 2.0, leak)]
    assert np.allclose(cuba, spikes_of(two), rtol=1e-5)
    assert not np.allclose(cuba, by_hand, rtol=1e-2)


def test_integrate_and_fire_counts_and_threshold_compares():
    x = np.full((8, 1, 1), 0.75, np.float32)
    (_, fired) = nir.run([nir.IF(r=1000.0, v_reset=0.25)], x, dt=DT)
    assert fired.ravel().tolist() == [0, 1, 0, 1, 0, 1, 0, 1]  # 1.5, then from 0.25
    (_, fired) = nir.run([nir.IF(r=1000.0, v_reset=-0.75)], x, dt=DT)
    assert fired.ravel().tolist() == [0, 1, 0, 0, 1, 0, 0, 1]
    (_, fired) = nir.run([nir.Threshold(0.75)], x + jnp.eye(8)[0, :, None, None], dt=DT)
    assert fired.ravel().tolist() == [1, *[0] * 7]


def test_a_recurrent_layer_hears_itself_one_step_later():
    w = RNG.normal(0, 1.5, (N, N)).astype(np.float32)
    b = RNG.normal(0, 0.3, N).astype(np.float32)
    ours = spikes_of([nir.Recurrent(nir.LIF(**LIF), nir.Affine(w, b))])
    hand = partial(nir_by_hand.lif, CURRENTS + b, DT, **LIF)
    assert np.array_equal(ours, hand(back=w))
    assert not np.array_equal(ours, hand(back=w.T))
    assert not np.array_equal(ours, hand())


def test_layers_pass_spikes_on_within_the_step():
    w1, w2 = RNG.normal(0, 1, (7, N)), RNG.normal(0, 2, (3, 7))
    b = RNG.normal(0, 1, 3)
    params = {"tau": 8e-3}
    layers = [
        *(nir.Linear(w1), nir.LIF(**params, r=4.0)),
        *(nir.Affine(w2, b), nir.LIF(**params, r=3.0)),
    ]
    first = nir_by_hand.lif(CURRENTS @ w1.T, DT, r=4.0, **params)
    second = nir_by_hand.lif(first @ w2.T + b, DT, r=3.0, **params)
    assert np.array_equal(spikes_of(layers), second)
    late = np.concatenate([np.zeros_like(first[:1]), first[:-1]])
    assert not np.array_equal(
        second, nir_by_hand.lif(late @ w2.T + b, DT, r=3.0, **params)
    )


def test_delays_are_whole_steps_for_each_unit():
    steps = np.array([0, 1, 2, 7, 100])
    ours = spikes_of([nir.Delay((steps * DT).astype(np.float32))])
    for unit, late in enumerate(steps):
        before = np.zeros((T, B))
        before[late:] = CURRENTS[: max(T - late, 0), :, unit]
        assert np.array_equal(ours[..., unit], before)
    assert np.array_equal(spikes_of([nir.Delay(0.0)]), CURRENTS)


def test_windows_joined_by_the_state_are_the_whole():
    layers = [
        nir.Linear(RNG.normal(0, 1, (N, N))),
        nir.Recurrent(nir.CubaLIF(**CUBA), nir.Linear(RNG.normal(0, 1, (N, N)))),
        nir.Delay(np.array([0, 1, 2, 3, 4]) * DT),
        nir.LI(tau=10e-3),
    ]
    whole = spikes_of(layers)
    state, parts = None, []
    for window in np.split(CURRENTS, [1, 20]):
        state, y = nir.run(layers, window, dt=DT, state=state)
        parts.append(y)
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.abs(nir.run(layers, CURRENTS[20:], dt=DT)[1] - whole[20:]).max() > 1e-3
    state = nir.init_state(layers, B, dt=DT)
    one_step = jax.jit(partial(nir.step, dt=DT))
    for x, y in zip(CURRENTS[:5], whole, strict=False):
        state, found = one_step(layers, state, x)
        assert np.allclose(found, y, atol=1e-6)


def test_the_layers_are_parameters_with_derivatives():
    layers = [
        nir.Linear(RNG.normal(0, 0.5, (3, N)).astype(np.float32)),
        nir.LI(np.full(3, 10e-3, np.float32)),
    ]

    def loss(layers):
        return jnp.mean(nir.run(layers, CURRENTS, dt=DT)[1] ** 2)

    grads = jax.jit(jax.grad(loss))(layers)
    h = 1e-5
    moved = [loss([layers[0], nir.LI(layers[1].tau + s)]) for s in (h, -h)]
    assert np.isclose(grads[1].tau.sum(), (moved[0] - moved[1]) / (2 * h), rtol=1e-2)
    assert grads[0].weight.shape == (3, N)


def test_a_surrogate_teaches_through_spikes_and_the_reset_can_be_detached():
    layers = [nir.Linear(jnp.eye(N)), nir.LIF(tau=10e-3, r=2.0)]

    def loss(layers, **how):
        return nir.run(layers, CURRENTS, dt=DT, **how)[1].mean()

    def gradient(**how):
        return np.asarray(jax.jit(jax.grad(partial(loss, **how)))(layers)[0].weight)

    detached, attached = gradient(), gradient(detach_reset=False)
    boxcar = gradient(spike=spiking.boxcar())
    assert not np.allclose(detached, boxcar, rtol=1e-2)
    assert np.abs(detached).max() > 1e-3
    assert not np.allclose(detached, attached, rtol=1e-2)


def test_whole_numbers_and_booleans_are_spikes():
    x = CURRENTS > 2
    layers = [nir.LIF(tau=5e-3, r=5.0)]
    expected = spikes_of(layers, x.astype(np.float32))
    assert expected.sum() > 0
    assert np.array_equal(spikes_of(layers, x), expected)
    assert np.array_equal(spikes_of(layers, x.astype(np.int8)), expected)


def test_what_is_not_a_number_stays_so():
    x = np.full((2, 1, 1), np.nan, np.float32)
    assert np.isnan(nir.run([nir.LIF(tau=5e-3)], x, dt=DT)[1]).all()
