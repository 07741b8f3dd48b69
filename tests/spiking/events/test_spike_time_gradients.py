"""Gradients of spike times: central differences, the adjoint by hand, and feedback."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import event_networks
from support.event_networks import network

import apical
from apical import spiking

pytestmark = pytest.mark.grid(keep=3)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


SPIKES = 12
NAMES = ("weights", "recurrent", "times", "delays", "recurrent_delays")
COEFFICIENTS = np.random.default_rng(5).normal(size=(6, SPIKES))


def cost(times):
    """A loss in which every spike has a different part."""
    part = jnp.asarray(COEFFICIENTS)[: len(times)] * (times / 10) ** 2
    return jnp.sum(jnp.where(jnp.isinf(times), 0.0, part))  # NaN is not hidden


def solved(arrays, constants, until):
    weights, recurrent, times, delays, recurrent_delays = arrays
    tau_m, tau_s, threshold = constants
    return spiking.spike_times(
        weights,
        times,
        tau_m=tau_m,
        tau_s=tau_s,
        threshold=threshold,
        delays=delays,
        recurrent=recurrent,
        recurrent_delays=recurrent_delays,
        max_spikes=SPIKES,
        until=until,
    )


CASES = {
    "delays": {},
    "no delays": {"delays": np.zeros((4, 6)), "recurrent_delays": np.zeros((6, 6))},
    "equal": {"tau_m": 8.0, "tau_s": 8.0, "until": 25.0},
    "slow synapses": {"tau_m": 5.0, "tau_s": 8.0, "until": 20.0},
}


@functools.cache
def net_of(name):
    net = network(3, **CASES[name])
    if net.tau_s > 5:
        net = net._replace(weights=net.weights / 2, recurrent=net.recurrent / 2)
    return net


# ------------------------------------------------------------------ EventProp


def by_hand(net, **given):
    events = event_networks.simulate(net)
    times = event_networks.spike_times(net, events, SPIKES)
    slopes = np.where(np.isfinite(times), 2 * COEFFICIENTS * times / 100, 0.0)
    return times, event_networks.adjoint(net, events, slopes, **given)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_of_a_recurrent_network_is_the_adjoint_of_eventprop(name):
    net = net_of(name)
    constants = (net.tau_m, net.tau_s, net.threshold)
    loss = jax.jit(jax.grad(lambda a: cost(solved(a, constants, net.until).times)))
    found = loss(net[:5])
    times, expected = by_hand(net)
    assert np.isfinite(times).sum() >= 18
    for what, mine, other in zip(NAMES, found, expected, strict=True):
        scale = np.abs(other).max()
        assert scale > 0
        np.testing.assert_allclose(mine, other, atol=1e-11 * scale, err_msg=what)


def test_the_adjoint_without_its_jump_at_a_reset_is_another_one():
    net = net_of("delays")
    _, right = by_hand(net)
    _, wrong = by_hand(net, reset=False)
    apart = np.linalg.norm(right[0] - wrong[0]) / np.linalg.norm(right[0])
    assert apart > 0.1


# ------------------------------------------------------------------ central differences


def differences(value, args, step):
    """The derivatives by every entry, of fourth order, in one call."""
    flat, tree = jax.flatten_util.ravel_pytree(args)
    moves = jnp.array([2, 1, -1, -2])[:, None, None] * jnp.eye(flat.size)
    points = (flat + step * moves).reshape(-1, flat.size)
    costs, counts = jax.jit(lambda x: jax.lax.map(lambda at: value(tree(at)), x))(
        points
    )
    assert jnp.all(counts == counts[0])  # no spike appears or vanishes
    far, up, down, near = costs.reshape(4, -1)
    return tree((8 * (up - down) - (far - near)) / (12 * step))


def assert_differentiates(value, args, step=1e-4):
    grads = jax.jit(jax.grad(lambda a: value(a)[0]))(args)
    expected = differences(value, args, step)
    for mine, other in zip(
        jax.tree.leaves(grads), jax.tree.leaves(expected), strict=True
    ):
        scale = float(jnp.max(jnp.abs(other)))
        assert np.isfinite(scale) and scale > 0
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.grid(keep=2)
@pytest.mark.parametrize("name", CASES)
def test_recurrent_networks_against_central_differences(name):
    """In everything: weights, times, delays, time constants and the threshold."""
    net = net_of(name)
    # A delay of 0 has only one side.
    arrays = net[:5] if np.any(net.delays) else net[:3]
    fixed = net[len(arrays) : 5]

    def value(given):
        arrays, constants = given
        out = solved((*arrays, *fixed), constants, net.until)
        return cost(out.times), out.counts

    constants = (jnp.array(net.tau_m), jnp.array(net.tau_s), jnp.array(1.0))
    arrays = jax.tree.map(jnp.asarray, arrays)
    # The time step is small beside the shortest distance of a spike and an arrival.
    assert_differentiates(value, (arrays, constants), 2e-5)


LAYERS = {"unequal": (20.0, 5.0, 1.0), "equal": (8.0, 8.0, 0.33)}


@pytest.mark.parametrize("name", LAYERS)
def test_two_layers_against_central_differences(name):
    draw = np.random.default_rng(2)
    tau_m, tau_s, size = LAYERS[name]
    params = {
        "first": jnp.array(draw.normal(2.2, 0.8, (4, 6)) * size),
        "second": jnp.array(draw.normal(1.6, 0.5, (6, 4)) * size),
        "times": jnp.array(draw.uniform(0, 25, (4, 2))).at[1, 1].set(jnp.inf),
        "delays": jnp.array(draw.uniform(0.1, 3, (4, 6))),
        "delay": jnp.array(1.3),
        "constants": (jnp.array(tau_m), jnp.array(tau_s)),
    }
    missing = ~np.isfinite(params["times"])

    def value(params):
        tau_m, tau_s = params["constants"]
        given = {"tau_m": tau_m, "tau_s": tau_s, "max_spikes": SPIKES, "until": 45.0}
        times = jnp.where(missing, jnp.inf, params["times"])
        hidden = spiking.spike_times(
            params["first"], times, delays=params["delays"], **given
        )
        out = spiking.spike_times(
            params["second"], hidden.times, delays=params["delay"], **given
        )
        counts = jnp.concatenate([hidden.counts, out.counts])
        return cost(out.times), counts

    params["times"] = jnp.where(missing, 0.0, params["times"])
    assert 15 < jnp.sum(jax.jit(value)(params)[1]) < 150
    assert_differentiates(value, params, 2e-5)


def test_the_gradient_is_bounded_where_the_potential_only_touches_the_threshold():
    top = spiking.subthreshold_peak(
        jnp.ones((1, 1)), jnp.zeros(1), tau_m=20.0, tau_s=5.0
    )

    def first(w, min_slope):
        out = spiking.spike_times(
            w,
            jnp.zeros(1),
            tau_m=20.0,
            tau_s=5.0,
            max_spikes=1,
            overflow="truncate",
            min_slope=min_slope,
        )
        return out.times[0, 0]

    w = (1 + 1e-8) / top[None]
    exact, bounded = (jax.grad(first)(w, bound)[0, 0] for bound in (1e-6, 0.1))
    # Half a parabola: V' = sqrt(2 excess) V'' there, with tau_m tau_s V'' = -1.
    slope = np.sqrt(2e-8 / (20 * 5))
    np.testing.assert_allclose(exact, -float(top[0]) / slope, rtol=1e-3)
    np.testing.assert_allclose(bounded, -float(top[0]) * 20 / 0.1, rtol=1e-3)
    far = 2 / top[None]
    same = [jax.grad(first)(far, bound)[0, 0] for bound in (0.0, 0.1)]
    assert same[0] == same[1]


# ------------------------------------------------------------------ feedback


def feedback_problem(loop):
    draw = np.random.default_rng(0)
    params = {
        "a": jnp.array(draw.normal(2.5, 0.8, (4, 6))),
        "b": jnp.array(draw.normal(2.0, 0.5, (6, 3))),
    }
    if loop:
        params["r"] = jnp.array(draw.normal(0.0, 0.4, (6, 6)))
    data = jnp.array(draw.uniform(0, 20, (3, 4))), jnp.array([0, 1, 2])
    return params, data


def layer(weights, times, recurrent=None):
    extra = {} if recurrent is None else {"recurrent": recurrent, "max_spikes": 4}
    return spiking.spike_times(
        weights,
        times,
        **{"tau_m": 20.0, "tau_s": 5.0, "max_spikes": 4, "until": 40.0} | extra,
    ).times


def readout(times, y):
    return jnp.sum(jnp.where(times < jnp.inf, times, 0.0) * (1.0 + y))


def feedback_loss(params, x, y):
    def one(x, y):
        hidden = layer(params["a"], x, params.get("r"))
        return readout(layer(params["b"], hidden), y)

    return jnp.mean(jax.vmap(one)(x, y))


def kernel(lag):
    late = jnp.maximum(lag, 0)
    return jnp.where(lag > 0, (jnp.exp(-late / 20) - jnp.exp(-late / 5)) / 3, 0.0)


def test_feedback_alignment_replaces_the_weights_in_the_derivative_by_input_times():
    """By hand: dT/dt_i = B_i kappa'(T - t_i) / V'(T), where backprop has W_i."""
    params, (x, y) = feedback_problem(loop=False)
    learner = apical.value_and_grad(feedback_loss, apical.rules.FeedbackAlignment())
    state = jax.jit(learner.init)(jax.random.key(0), params, x, y)
    found = jax.jit(learner)(params, state, x, y).grads
    exact = jax.jit(jax.grad(feedback_loss))(params, x, y)

    def one(a, x, y):
        hidden = layer(a, x)
        out = jax.lax.stop_gradient(layer(params["b"], hidden))
        known = out < jnp.inf
        out = jnp.where(known, out, 0.0)
        lag = out[:, :, None, None] - jnp.where(hidden < jnp.inf, hidden, 1e9)
        still = jax.lax.stop_gradient(lag)
        fast = jnp.where(still > 0, jnp.exp(-jnp.maximum(still, 0) / 5), 0.0)
        current = jnp.einsum("jkis,ij->jk", fast, params["b"])
        v = jnp.einsum("jkis,ij->jk", kernel(lag), state.feedback["b"])
        moved = []
        for k in range(out.shape[1]):  # V falls by 1 at an earlier spike
            earlier = [
                jnp.exp(-(out[:, k] - out[:, m]) / 20) / 20 * moved[m] for m in range(k)
            ]
            slope = (current[:, k] - 1) / 20
            change = v[:, k] - jax.lax.stop_gradient(v[:, k]) - sum(earlier)
            slope = jnp.where(known[:, k], slope, 1.0)
            moved.append(jnp.where(known[:, k], -change / slope, 0.0))
        return jnp.sum(jnp.stack(moved, 1) * (1.0 + y))

    def total(a):
        return jnp.mean(jax.vmap(one, (None, 0, 0))(a, x, y))

    by_hand = jax.jit(jax.grad(total))(params["a"])
    np.testing.assert_allclose(found["a"], by_hand, rtol=1e-9)
    np.testing.assert_allclose(found["b"], exact["b"], rtol=1e-9)
    apart = np.linalg.norm(found["a"] - exact["a"]) / np.linalg.norm(exact["a"])
    assert apart > 0.3


@pytest.mark.parametrize("loop", [True, False])
def test_every_weight_is_a_synapse_and_only_its_copy_passes_signals_back(loop):
    params, data = feedback_problem(loop)
    circuit = apical.trace(feedback_loss)(params, *data)
    assert len(circuit.synapses) == len(params)
    learner = apical.value_and_grad(feedback_loss, apical.rules.FeedbackAlignment())
    state = jax.jit(learner.init)(jax.random.key(0), params, *data)
    call = jax.jit(learner)
    exact = jax.jit(jax.grad(feedback_loss))(params, *data)
    same = call(params, state._replace(feedback=params), *data).grads
    for name, grad in same.items():
        np.testing.assert_allclose(grad, exact[name], rtol=1e-6, atol=1e-9)
    other = call(params, state, *data).grads
    for name in params.keys() - {"b"}:
        apart = np.linalg.norm(other[name] - exact[name])
        assert apart > 0.3 * np.linalg.norm(exact[name])
