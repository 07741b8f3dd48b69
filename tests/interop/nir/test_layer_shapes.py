"""Convolutions, pooling and flattening against loops; fields that do not fit."""

import jax.numpy as jnp
import numpy as np
import pytest

from apical.interop import nir

RNG = np.random.default_rng(5)


def once(layer, x, **how):
    """The output of one layer at one step, for a batch."""
    return np.asarray(nir.run([layer], np.asarray(x)[None], dt=1e-3, **how)[1][0])


def conv2d_by_hand(x, weight, bias, stride, padding, dilation, groups):
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    out, per_group, *kernel = weight.shape
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = [
        (n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, stride, strict=True)
    ]
    y = np.zeros((len(x), out, *size))
    for o in range(out):
        group = o // (out // groups)
        channels = slice(group * per_group, (group + 1) * per_group)
        for i, j in np.ndindex(*size):
            rows = slice(i * stride[0], i * stride[0] + reach[0], dilation[0])
            columns = slice(j * stride[1], j * stride[1] + reach[1], dilation[1])
            patch = x[:, channels, rows, columns]
            y[:, o, i, j] = np.einsum("bchw,chw->b", patch, weight[o]) + bias[o]
    return y


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"stride": 2, "padding": (1, 2)},
        {"dilation": (1, 2), "stride": (2, 1)},
        {"groups": 2, "padding": 1},
    ],
    ids=str,
)
def test_a_convolution_is_the_sum_over_its_window(how):
    per_group = 4 // how.get("groups", 1)
    x = RNG.normal(size=(2, 4, 7, 6)).astype(np.float32)
    w = RNG.normal(size=(6, per_group, 3, 2)).astype(np.float32)
    b = RNG.normal(size=6).astype(np.float32)
    both = {
        name: np.broadcast_to(how.get(name, default), 2).tolist()
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
    }
    by_hand = conv2d_by_hand(x, w, b, groups=how.get("groups", 1), **both)
    found = once(nir.Conv2d(w, b, **how), x)
    assert found.shape == by_hand.shape
    assert np.allclose(found, by_hand, atol=1e-4)


def test_same_keeps_the_size_and_one_dimension_is_a_row_of_two():
    x = RNG.normal(size=(2, 3, 8)).astype(np.float32)
    w, b = RNG.normal(size=(5, 3, 4)).astype(np.float32), np.zeros(5, np.float32)
    same = once(nir.Conv1d(w, b, padding="same"), x)
    assert same.shape == (2, 5, 8)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 2)])  # torch puts the odd zero behind
    assert np.allclose(same, once(nir.Conv1d(w, b), padded), atol=1e-5)
    row = once(nir.Conv2d(w[:, :, None], b, stride=(1, 2)), x[:, :, None])
    assert np.allclose(once(nir.Conv1d(w, b, stride=2), x), row[:, :, 0], atol=1e-5)


def test_pooling_adds_or_averages_with_zeros_outside():
    x = np.arange(16.0, dtype=np.float32).reshape(1, 1, 4, 4)
    assert once(nir.SumPool2d(2), x)[0, 0].tolist() == [[10, 18], [42, 50]]
    padded = once(nir.SumPool2d(2, stride=2, padding=1), x)[0, 0]
    assert padded.tolist() == [[0, 3, 3], [12, 30, 18], [12, 27, 15]]
    assert np.array_equal(once(nir.AvgPool2d(2, 2, 1), x)[0, 0], padded / 4)


def test_flatten_counts_axes_without_the_batch():
    x = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
    assert np.array_equal(once(nir.Flatten(), x), x.reshape(2, 60))
    assert np.array_equal(once(nir.Flatten(1), x), x.reshape(2, 3, 20))
    assert np.array_equal(once(nir.Flatten(0, -2), x), x.reshape(2, 12, 5))


W, B = np.ones((3, 2)), np.ones(3)
K = np.ones((4, 2, 3, 3))


@pytest.mark.parametrize(
    ("layers", "shape", "words"),
    [
        ([], None, "layers is empty"),
        ([nir.LIF(tau=1e-2)], None, "give input_shape="),
        ([nir.Linear(W)], (3,), r"layers\[0\]: Linear.weight .* Transpose"),
        ([nir.Linear(np.ones(3))], (3,), r"must be \(outputs, inputs\)"),
        ([nir.Affine(W, np.ones(2))], None, r"Affine.bias .* must be \(3,\)"),
        ([nir.Linear(W), nir.LIF(tau=np.ones(2))], None, r"layers\[1\]: LIF.tau has"),
        ([nir.LIF(tau=[1e-2] * 3)], (3,), "LIF.tau is .* jnp.asarray"),
        ([nir.LIF(tau=0.0)], (3,), "LIF.tau is a time in seconds"),
        ([nir.LIF(tau=1e-2, r=np.nan)], (3,), "LIF.r has entries that are not finite"),
        ([nir.CubaLIF(1e-2, -1e-2)], (3,), "CubaLIF.tau_mem is a time"),
        ([nir.Linear(W), nir.Linear(W)], None, r"layers\[1\]: Linear.weight"),
        ([nir.Recurrent(nir.LIF(1e-2), nir.Linear(W))], (2,), "Recurrent.synapses"),
        ([nir.Recurrent(nir.Linear(W), nir.Linear(W))], (2,), "Recurrent.neurons is"),
        ([nir.Recurrent(nir.LIF(1e-2), nir.LIF(1e-2))], (2,), "Recurrent.synapses is"),
        ([nir.Conv2d(K, np.ones(4), padding="same", stride=2)], (2, 5, 5), "stride 1"),
        ([nir.Conv2d(K, np.ones(4), padding="full")], (2, 5, 5), "padding is 'full'"),
        ([nir.Conv2d(K, np.ones(4))], (3, 5, 5), "must be .2, .space"),
        ([nir.Conv2d(K, np.ones(4))], (2, 2, 5), "larger than its input"),
        ([nir.Conv2d(K, np.ones(4), groups=3)], (6, 5, 5), "groups is 3"),
        ([nir.Conv2d(K, np.ones(3))], (2, 5, 5), "Conv2d.bias"),
        ([nir.Conv1d(K, np.ones(4))], (2, 5), "1 axes of the kernel"),
        ([nir.SumPool2d(2)], (4, 4), "must be .channels, height, width"),
        ([nir.SumPool2d(0)], (1, 4, 4), "SumPool2d.kernel_size is"),
        ([nir.Flatten(1)], (4,), "counted from 0, without the batch"),
        ([nir.Delay(1.5e-3)], (4,), "no whole number of steps"),
        ([nir.Delay(-1e-3)], (4,), "the least is 0"),
    ],
)
def test_a_field_that_does_not_fit_is_named(layers, shape, words):
    with pytest.raises((ValueError, TypeError), match=words):
        nir.init_state(layers, 1, dt=1e-3, input_shape=shape)


def test_what_is_no_list_of_layers_is_refused():
    with pytest.raises(TypeError, match=r"layers\[0\] is a ufunc"):
        nir.init_state([np.tanh, max], 1, dt=1e-3, input_shape=3)  # pyright: ignore
    with pytest.raises(TypeError, match="give a list"):
        nir.init_state(nir.LIF(1e-2), 1, dt=1e-3, input_shape=3)  # pyright: ignore


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"dt": 0.1}, "overshoot"),
        ({"dt": 1e-3, "method": "heun"}, "method is 'heun'"),
        ({"dt": 1e-3, "inputs": jnp.ones((4, 3))}, "time, batch"),
        ({"dt": 1e-3, "inputs": jnp.ones((4, 2, 5))}, "LIF.tau has the shape"),
        ({"dt": 1e-3, "state": []}, "take it from init_state"),
    ],
    ids=str,
)
def test_a_run_that_cannot_be_right_is_refused(how, words):
    inputs = how.pop("inputs", jnp.ones((4, 2, 3)))
    with pytest.raises(ValueError, match=words):
        nir.run([nir.LIF(np.full(3, 1e-2))], inputs, **how)
