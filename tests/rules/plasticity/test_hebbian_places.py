"""Places of a Hebbian update: patches, heads, groups, steps of loops, and windows."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.synapses_in_time import numbers

import apical
from apical.rules import Hebbian

KINDS = ("oja", "sanger", "subspace", "bcm", "soft")
pytestmark = pytest.mark.grid(keep=3)


def change(rule, loss_fn, params, *args, **told):
    learner = apical.value_and_grad(loss_fn, rule, **told)
    state = learner.init(jax.random.key(0), params, *args)
    credit = jax.jit(learner)(params, state, *args)
    return -np.asarray(credit.grads["w"])


def above(hidden):
    """A read-out of a hidden layer of four units, whatever its other axes."""

    def loss_fn(params, x):
        h = jnp.tanh(hidden(params["w"], x))
        return jnp.mean(h.reshape(len(h), -1) @ params["out"][: h[0].size])

    return loss_fn


def dense(kind, patches, w, places):
    """The rule on a dense layer, all places as examples: the sum over places."""
    params = {"w": w, "out": numbers(9, 200, 1)}
    loss_fn = above(lambda w, x: x @ w)
    return places * change(Hebbian(kind, threshold_rate=1.0), loss_fn, params, patches)


IMAGES, KERNEL = numbers(1, 3, 6, 6, 2), 0.3 * numbers(2, 3, 3, 2, 4)
PLAIN = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
SETTINGS = {
    "valid": ((1, 1), "VALID", (1, 1)),
    "strides": ((2, 2), "SAME", (1, 1)),
    "dilated": ((1, 2), "VALID", (2, 1)),
}


def patches_of(images, strides, padding, dilation):
    """`[places, 3 * 3 * 2]`, in the order of the entries of a kernel."""
    found = jax.lax.conv_general_dilated_patches(
        images, (3, 3), strides, padding, rhs_dilation=dilation, **PLAIN
    )
    channels_last = found.reshape(-1, 2, 9).swapaxes(1, 2)
    return channels_last.reshape(-1, 18)


@pytest.mark.parametrize(("kind", "name"), list(itertools.product(KINDS, SETTINGS)))
def test_a_convolution_learns_as_a_dense_layer_on_its_patches(kind, name):
    strides, padding, dilation = SETTINGS[name]

    def hidden(w, x):
        return jax.lax.conv_general_dilated(
            x, w, strides, padding, rhs_dilation=dilation, **PLAIN
        )

    params = {"w": KERNEL, "out": numbers(9, 200, 1)}
    rule = Hebbian(kind, threshold_rate=1.0)
    found = change(rule, above(hidden), params, IMAGES)
    patches = patches_of(IMAGES, *SETTINGS[name])
    expected = dense(kind, patches, KERNEL.reshape(18, 4), len(patches) // 3)
    assert np.allclose(found.reshape(18, 4), expected, rtol=1e-3, atol=1e-5)
    assert not np.allclose(found.reshape(18, 4), 1.1 * expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_of_a_convolution_are_layers_of_their_own(kind):
    def grouped(w, x):
        return jax.lax.conv_general_dilated(
            x, w, (1, 1), "VALID", feature_group_count=2, **PLAIN
        )

    w = 0.3 * numbers(3, 3, 3, 1, 4)
    rule, out = Hebbian(kind, threshold_rate=1.0), numbers(9, 200, 1)
    found = change(rule, above(grouped), {"w": w, "out": out}, IMAGES)

    def plain(w, x):
        return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", **PLAIN)

    for i in range(2):
        part = {"w": w[..., 2 * i : 2 * i + 2], "out": out}
        each = change(rule, above(plain), part, IMAGES[..., i : i + 1])
        assert np.allclose(found[..., 2 * i : 2 * i + 2], each, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_for_each_head_is_a_layer_for_each_head(kind):
    w, x = 0.4 * numbers(4, 2, 5, 3), numbers(5, 7, 2, 5)
    rule, out = Hebbian(kind, threshold_rate=1.0), numbers(9, 200, 1)
    heads = above(lambda w, x: jnp.einsum("bhi,hij->bhj", x, w))
    found = change(rule, heads, {"w": w, "out": out}, x)
    for i in range(2):
        one = {"w": w[i], "out": out}
        each = change(rule, above(lambda w, x: x @ w), one, x[:, i])
        assert np.allclose(found[i], each, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_units_on_two_axes_are_those_of_one(kind):
    """Sanger's order is that of the flattened axes."""
    w, x = 0.4 * numbers(6, 5, 2, 3), numbers(7, 7, 5)
    rule, out = Hebbian(kind, threshold_rate=1.0), numbers(9, 200, 1)
    both = above(lambda w, x: jnp.einsum("bi,ihj->bhj", x, w))
    found = change(rule, both, {"w": w, "out": out}, x)
    flat = {"w": w.reshape(5, 6), "out": out}
    expected = change(rule, above(lambda w, x: x @ w), flat, x)
    assert np.allclose(found.reshape(5, 6), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_may_be_units(kind):
    w, x = 0.4 * numbers(6, 4, 5), numbers(7, 7, 5)
    rule, out = Hebbian(kind), numbers(9, 200, 1)
    rows = above(lambda w, x: jax.vmap(lambda x: w @ x)(x))
    found = change(rule, rows, {"w": w, "out": out}, x)
    turned = {"w": w.T, "out": out}
    expected = change(rule, above(lambda w, x: x @ w), turned, x)
    assert np.allclose(found, expected.T, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------ in time

T, B = 6, 3
SERIES = numbers(8, T, B, 5)
RECURRENT = {"w": 0.3 * numbers(10, 4, 4), "in": numbers(11, 5, 4), "out": jnp.ones(4)}


def recurrent(params, h, x):
    def step(h, x):
        h = jnp.tanh(x @ params["in"] + h @ params["w"])
        return h, h

    h, every = jax.lax.scan(step, h, x)
    return jnp.sum(every @ params["out"]) / B, {"h": h, "every": every}


STILL = jnp.zeros((B, 4))
STREAM = {"has_aux": True, "batch_axes": (0, 1), "carry": (0, "h")}


def test_a_recurrent_synapse_reads_the_step_before():
    told = {"has_aux": True, "batch_axes": (0, 1)}
    found = change(Hebbian("subspace"), recurrent, RECURRENT, STILL, SERIES, **told)
    h = np.asarray(recurrent(RECURRENT, STILL, SERIES)[1]["every"])
    x = np.concatenate([np.zeros((1, B, 4)), h[:-1]]).reshape(-1, 4)
    w = np.asarray(RECURRENT["w"])
    y = x @ w
    assert np.allclose(found, (x.T @ y - w @ (y.T @ y)) / B, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["sanger", "bcm"])
@pytest.mark.parametrize("cut", [1, 2])
def test_windows_joined_give_the_update_of_the_whole(kind, cut):
    learner = apical.value_and_grad(recurrent, Hebbian(kind), **STREAM)
    begun = learner.init(jax.random.key(0), RECURRENT, STILL, SERIES)
    whole = learner(RECURRENT, begun, STILL, SERIES)
    state, h, total = begun, STILL, 0.0
    for x in SERIES.reshape(T // cut, cut, B, 5):
        credit = learner(RECURRENT, state, h, x)
        state, h = credit.state, credit.aux["h"]
        total = total + credit.grads["w"]
    assert np.allclose(total, whole.grads["w"], rtol=1e-4, atol=1e-6)
    ended = jax.tree.leaves((state, whole.state))
    half = len(ended) // 2
    pairs = zip(ended[:half], ended[half:], strict=True)
    assert all(np.allclose(a, b, rtol=1e-4) for a, b in pairs)


def test_a_stream_returns_the_carry_that_it_is_said_to():
    learner = apical.value_and_grad(
        recurrent, Hebbian(), has_aux=True, batch_axes=(0, 1), carry=(0, "missing")
    )
    with pytest.raises(ValueError, match="looked for in `aux` at 'missing'"):
        learner.init(jax.random.key(0), RECURRENT, STILL, SERIES)
