"""Plasticity of convolutions, of rearranged weights, and of other people's cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.spiking_layers import spike, unit_step

import apical
from apical.rules import (
    STDP,
    AllPairs,
    DivisiveNormalisation,
    MultiplicativeBounds,
    Reward,
    SubtractiveNormalisation,
    SynapticScaling,
    ThreeFactor,
)

pytestmark = pytest.mark.grid(keep=3)

KEY = jax.random.key(0)
PAIRS = AllPairs(0.3, 0.2, 5.0, 8.0)


def numbers(seed, *shape):
    return np.random.default_rng((seed, *shape)).uniform(size=shape)


def changes(loss_fn, rule, params, *args, **told):
    learner = apical.value_and_grad(loss_fn, rule, has_aux=True, **told)
    state = learner.init(KEY, params, *args)
    return learner(params, state, *args)


# ------------------------------------------------------------ convolutions

T, B, SIDE, IN, OUT = 12, 2, 5, 2, 3
IMAGES = jnp.asarray(numbers(1, T, B, SIDE, SIDE, IN) < 0.4, jnp.float32)
KERNEL = jnp.asarray(0.15 * numbers(2, 3, 3, IN, OUT), jnp.float32)


def convolved(w, x):
    return jax.lax.conv_general_dilated(
        x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def patches(x):
    """`[..., 3, 3, 9 * IN]`: what each position of the kernel reads, as HWI."""
    rows = [
        [x[..., i : i + 3, j : j + 3, :] for j in range(SIDE - 2)]
        for i in range(SIDE - 2)
    ]
    found = jnp.stack([jnp.stack(row, -4) for row in rows], -5)
    return found.reshape(*found.shape[:-3], 9 * IN)


def spikes_of(layer):
    def loss_fn(w, x):
        def step(v, x):
            v, z = unit_step(v, layer(w, x))
            return v, apical.node(z, "spikes")

        still = jnp.zeros((B, SIDE - 2, SIDE - 2, OUT))
        _, z = jax.lax.scan(step, still, x)
        reward = jnp.mean(z, axis=(0, 2, 3, 4))
        return jnp.sum(jnp.mean(z, 0)) / B, {"reward": reward, "z": z}

    return loss_fn


def dense(w, patch):
    return patch @ w.reshape(9 * IN, OUT)


PARTS = {
    "plain": STDP(PAIRS),
    "bounds": STDP(PAIRS, MultiplicativeBounds()),
    "scaling": STDP(PAIRS, homeostasis=SynapticScaling(0.2, 0.01, 6.0)),
    "subtractive": STDP(PAIRS, normalisation=SubtractiveNormalisation()),
    "divisive": STDP(PAIRS, normalisation=DivisiveNormalisation(2.0)),
    "rewarded": ThreeFactor(PAIRS, Reward("reward"), 6.0),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_convolution_is_a_dense_layer_on_patches(name):
    told = {"batch_axes": 1}
    whole = changes(spikes_of(convolved), PARTS[name], KERNEL, IMAGES, **told)
    flat = changes(spikes_of(dense), PARTS[name], KERNEL, patches(IMAGES), **told)
    assert np.array_equal(whole.aux["z"], flat.aux["z"])
    assert 0.1 < np.mean(whole.aux["z"]) < 0.9
    size = np.max(np.abs(flat.grads))
    assert np.max(np.abs(whole.grads - flat.grads)) < 1e-5 * size


def test_a_convolution_by_hand():
    credit = changes(spikes_of(convolved), STDP(PAIRS), KERNEL, IMAGES, batch_axes=1)
    p, z = np.asarray(patches(IMAGES)), np.asarray(credit.aux["z"])
    x, y, total = 0.0, 0.0, 0.0
    for t in range(T):
        x = np.exp(-1 / 5) * x + p[t]
        y = np.exp(-1 / 8) * y
        total = total + 0.3 * np.einsum("bhwi,bhwj->ij", x, z[t])
        total = total - 0.2 * np.einsum("bhwi,bhwj->ij", p[t], y + 0 * z[t])
        y = y + z[t]
    expected = -total.reshape(3, 3, IN, OUT) / B
    assert np.allclose(credit.grads, expected, rtol=1e-4, atol=1e-4)
    flipped = expected[::-1]
    assert not np.allclose(credit.grads, flipped, rtol=1e-2, atol=1e-2)


# ------------------------------------------------------------ rearranged weights

X = jnp.asarray(numbers(3, T, B, 5) < 0.4, jnp.float32)
W = jnp.asarray(numbers(4, 5, 4), jnp.float32)
MASK = jnp.asarray(numbers(5, 5, 4) < 0.6, jnp.float32)


def layer_of(drive):
    def loss_fn(w, x):
        def step(v, x):
            v, z = unit_step(v, drive(w, x))
            return v, apical.node(z, "spikes")

        _, z = jax.lax.scan(step, jnp.zeros((B, 4)), x)
        return jnp.sum(jnp.mean(z, 0)) / B, {"z": z}

    return loss_fn


def plain(w=W, rule=None):
    found = changes(
        layer_of(lambda w, x: x @ w), rule or STDP(PAIRS), w, X, batch_axes=1
    )
    return np.asarray(found.grads)


def test_an_update_is_pulled_through_rearrangements():
    def drive(w, x):
        weight = w.reshape(4, 5)
        return jax.vmap(lambda x: weight @ x)(x)

    flat = W.T.reshape(-1)
    found = changes(layer_of(drive), STDP(PAIRS), flat, X, batch_axes=1)
    assert np.allclose(np.asarray(found.grads).reshape(4, 5).T, plain(), rtol=1e-5)


def test_an_update_is_pulled_through_a_mask_and_a_scale():
    def drive(w, x):
        return x @ (2 * w * MASK)

    found = changes(layer_of(drive), STDP(PAIRS), W, X, batch_axes=1)
    masked = plain(2 * W * MASK)
    assert np.allclose(found.grads, 2 * MASK * masked, rtol=1e-5)


def test_bounds_read_the_effective_weight():
    rule = STDP(PAIRS, MultiplicativeBounds(high=4.0))
    found = changes(layer_of(lambda w, x: x @ (2 * w)), rule, W, X, batch_axes=1)
    assert np.allclose(found.grads, 2 * plain(2 * W, rule), rtol=1e-5)


@pytest.mark.parametrize(
    "curved", [jnp.tanh, jnp.abs, lambda w: w / jnp.linalg.norm(w), lambda w: w * w]
)
def test_a_weight_that_is_not_linear_in_its_parameter_is_refused(curved):
    loss_fn = layer_of(lambda w, x: x @ curved(w))
    with pytest.raises(ValueError, match="is not linear in the parameters"):
        changes(loss_fn, STDP(), W, X, batch_axes=1)


@pytest.mark.parametrize("straight", [lambda w: w + MASK, lambda w: jnp.pad(w, 0)])
def test_an_affine_weight_is_accepted(straight):
    loss_fn = layer_of(lambda w, x: x @ straight(w))
    assert np.any(changes(loss_fn, STDP(), W, X, batch_axes=1).grads)


# ------------------------------------------------------------ weights before the loop


def before_the_loop(w, x):
    """All inputs at once, examples first; then a scan over the steps."""

    def step(v, current):
        v, z = unit_step(v, current)
        return v, apical.node(z, "spikes")

    currents = jnp.swapaxes(x @ w, 0, 1)
    _, z = jax.lax.scan(step, jnp.zeros((B, 4)), currents)
    return jnp.sum(jnp.mean(z, 0)) / B, {"z": z}


@pytest.mark.parametrize("rule", [STDP(PAIRS), ThreeFactor(PAIRS, tau=6.0)])
def test_a_layer_applied_to_all_steps_at_once_learns_the_same(rule):
    first = jnp.swapaxes(X, 0, 1)
    found = changes(before_the_loop, rule, W, first)
    assert np.allclose(found.grads, plain(rule=rule), rtol=1e-4, atol=1e-5)


def test_time_folded_into_the_examples_is_refused():
    def loss_fn(w, x):
        currents = (x.reshape(T * B, 5) @ w).reshape(T, B, 4)

        def step(v, current):
            v, z = unit_step(v, current)
            return v, apical.node(z, "spikes")

        _, z = jax.lax.scan(step, jnp.zeros((B, 4)), currents)
        return jnp.sum(jnp.mean(z, 0)) / B, {}

    with pytest.raises(ValueError, match="time folded into another axis"):
        changes(loss_fn, STDP(), W, X, batch_axes=1)


def test_a_loop_that_runs_backwards_is_read_backwards():
    def loss_fn(w, x):
        def step(v, x):
            v, z = unit_step(v, x @ w)
            return v, apical.node(z, "spikes")

        _, z = jax.lax.scan(step, jnp.zeros((B, 4)), x[::-1], reverse=True)
        return jnp.sum(jnp.mean(z, 0)) / B, {}

    found = changes(loss_fn, STDP(PAIRS), W, X, batch_axes=1)
    assert np.allclose(found.grads, plain(), rtol=1e-5)


def test_nested_loops_are_one_time():
    def loss_fn(w, x):
        def inner(v, x):
            v, z = unit_step(v, x @ w)
            return v, apical.node(z, "spikes")

        def outer(v, xs):
            return jax.lax.scan(inner, v, xs)

        _, z = jax.lax.scan(outer, jnp.zeros((B, 4)), x)
        return jnp.sum(jnp.mean(z, (0, 1))) / B, {}

    found = changes(loss_fn, STDP(PAIRS), W, X.reshape(3, 4, B, 5), batch_axes=2)
    assert np.allclose(found.grads, plain(), rtol=1e-5)


def test_a_checkpointed_step_learns_the_same():
    def loss_fn(w, x):
        @jax.checkpoint
        def step(v, x):
            v, z = unit_step(v, x @ w)
            return v, apical.node(z, "spikes")

        _, z = jax.lax.scan(step, jnp.zeros((B, 4)), x)
        return jnp.sum(jnp.mean(z, 0)) / B, {}

    found = changes(loss_fn, STDP(PAIRS), W, X, batch_axes=1)
    assert np.allclose(found.grads, plain(), rtol=1e-5)


def test_a_spike_that_comes_before_its_input_is_the_units_too():
    """As cells do that compute their spike from the potential before the input."""

    def loss_fn(w, x):
        def step(v, x):
            z = spike(v - 1)
            return 0.8 * v + x @ w - z, apical.node(z, "spikes")

        _, z = jax.lax.scan(step, jnp.zeros((B, 4)), x)
        return jnp.sum(jnp.mean(z, 0)) / B, {"z": z}

    credit = changes(loss_fn, STDP(AllPairs(1.0, 0.0, 5.0)), W, X, batch_axes=1)
    x, total = 0.0, 0.0
    for t in range(T):
        x = np.exp(-1 / 5) * x + np.asarray(X[t])
        total = total + np.einsum("bi,bj->ij", x, np.asarray(credit.aux["z"][t])) / B
    assert np.allclose(credit.grads, -total, rtol=1e-5)


def test_cells_of_equinox_learn():
    eqx = pytest.importorskip("equinox")
    linear = eqx.nn.Linear(5, 4, use_bias=False, key=KEY)
    linear = eqx.tree_at(lambda m: m.weight, linear, W.T)

    def loss_fn(model, x):
        def step(v, x):
            v, z = unit_step(v, jax.vmap(model)(x))
            return v, apical.node(z, "spikes")

        _, z = jax.lax.scan(step, jnp.zeros((B, 4)), x)
        return jnp.sum(jnp.mean(z, 0)) / B, {}

    found = changes(loss_fn, STDP(PAIRS), linear, X, batch_axes=1)
    assert np.allclose(found.grads.weight.T, plain(), rtol=1e-5)


def test_cells_of_flax_learn():
    nn = pytest.importorskip("flax.linen")

    class Cell(nn.Module):
        @nn.compact
        def __call__(self, v, x):
            v, z = unit_step(v, nn.Dense(4, use_bias=False, name="in")(x))
            return v, apical.node(z, "spikes")

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            cell = nn.scan(
                Cell, variable_broadcast="params", split_rngs={"params": False}
            )
            return cell()(jnp.zeros((B, 4)), x)[1]

    network = Network()

    def loss_fn(params, x):
        return jnp.sum(jnp.mean(network.apply(params, x), 0)) / B, {}

    params = jax.tree.map(lambda _: W, network.init(KEY, X))
    found = changes(loss_fn, STDP(PAIRS), params, X, batch_axes=1)
    (grads,) = jax.tree.leaves(found.grads)
    assert np.allclose(grads, plain(), rtol=1e-5)


# ------------------------------------------------------------ windows of these


REWARDED = ThreeFactor(
    PAIRS,
    Reward("reward", per="step"),
    6.0,
    MultiplicativeBounds(high=3.0),
    SynapticScaling(0.2, 0.01, 6.0),
)


def windowed(loss_fn, params, v, x, time, length):
    """The update of consecutive windows, from a loss that starts from `v`."""
    learner = apical.value_and_grad(
        loss_fn, REWARDED, has_aux=True, batch_axes=(0, 1 - time), carry=(0, "v")
    )

    def window(start):
        return jax.lax.slice_in_dim(x, start, start + length, axis=time)

    kept, total = learner.init(KEY, params, v, window(0)), 0.0
    for start in range(0, T, length):
        credit = jax.jit(learner)(params, kept, v, window(start))
        v, kept, total = credit.aux["v"], credit.state, total + credit.grads
    return np.asarray(total)


def test_windows_of_a_convolution_are_the_whole():
    def loss_fn(w, v, x):
        def step(v, x):
            v, z = unit_step(v, convolved(w, x))
            return v, apical.node(z, "spikes")

        v, z = jax.lax.scan(step, v, x)
        return jnp.sum(z) / B, {"v": v, "reward": jnp.mean(z, axis=(2, 3, 4))}

    still = jnp.zeros((B, SIDE - 2, SIDE - 2, OUT))
    found, whole = (
        windowed(loss_fn, KERNEL, still, IMAGES, 0, length) for length in (4, T)
    )
    assert np.allclose(found, whole, rtol=1e-5, atol=1e-5)
    assert np.max(np.abs(whole)) > 0.1


def test_windows_of_a_layer_before_the_loop_are_those_of_a_layer_inside():
    def before(w, v, x):
        def step(v, current):
            v, z = unit_step(v, current)
            return v, apical.node(z, "spikes")

        v, z = jax.lax.scan(step, v, jnp.swapaxes(x @ w, 0, 1))
        return jnp.sum(z) / B, {"v": v, "reward": jnp.mean(z, axis=2)}

    def inside(w, v, x):
        def step(v, x):
            v, z = unit_step(v, x @ w)
            return v, apical.node(z, "spikes")

        v, z = jax.lax.scan(step, v, x)
        return jnp.sum(z) / B, {"v": v, "reward": jnp.mean(z, axis=2)}

    still = jnp.zeros((B, 4))
    found = windowed(before, W, still, jnp.swapaxes(X, 0, 1), 1, 4)
    assert np.allclose(found, windowed(inside, W, still, X, 0, T), rtol=1e-4, atol=1e-5)
