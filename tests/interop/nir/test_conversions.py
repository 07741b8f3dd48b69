"""Neurons from decays are those of `apical.spiking`; R moves into the weights."""

from functools import partial

import jax
import numpy as np
import pytest

from apical import spiking
from apical.interop import nir

pytestmark = pytest.mark.grid(keep=3)

RNG = np.random.default_rng(7)
X = (RNG.random((80, 3, 6)) < 0.4).astype(np.float32)
DT = 1e-4


def spikes_of(layers, **how):
    return np.asarray(nir.run(layers, X, dt=DT, **how)[1])


@pytest.mark.parametrize("method", ["euler", "exact"])
def test_neurons_from_decays_keep_that_part_of_their_potential(method):
    decay, x = np.float32([0.9, 0.5, 0.99]), np.zeros((3, 1, 3), np.float32)
    x[0] = 0.5
    how = {"dt": DT, "method": method}
    whole = nir.run([nir.li_from_decay(decay, **how)], x, **how)[1]
    assert np.allclose(whole[:, 0], [0.5 * decay**t for t in range(3)], rtol=1e-5)
    part = nir.run([nir.li_from_decay(decay, **how, scale_input=True)], x, **how)[1]
    assert np.allclose(part, whole * (1 - decay), rtol=1e-4)


def scanned(step, state, x, **how):
    return np.asarray(jax.lax.scan(partial(step, **how), state, x)[1])


@pytest.mark.parametrize("method", ["euler", "exact"])
def test_neurons_from_decays_are_those_of_apical_spiking(method):
    decay, synaptic = np.linspace(0.5, 0.97, 6), np.linspace(0.9, 0.3, 6)
    x, how = 1.5 * X, {"dt": DT, "method": method}
    fixed = {"reset": "zero", "threshold": 0.9}
    lif = scanned(
        *(spiking.lif, spiking.LIFState.initial((3, 6)), x),
        **{"decay": decay, **fixed},
    )
    ours = nir.run([nir.lif_from_decay(decay, **fixed, **how)], x, **how)[1]
    assert 100 < lif.sum() < lif.size / 2
    assert np.array_equal(ours, lif)
    cuba = scanned(
        *(spiking.cuba_lif, spiking.CubaLIFState.initial((3, 6)), 0.3 * x),
        **{"decay": decay, "synaptic_decay": synaptic, **fixed},
    )
    made = nir.cuba_lif_from_decay(synaptic, decay, **fixed, **how)
    assert 100 < cuba.sum() < cuba.size / 2
    assert np.array_equal(nir.run([made], 0.3 * x, **how)[1], cuba)
    subtracted = {"decay": decay, "threshold": 0.9}  # as `lif` resets by default
    other = scanned(*(spiking.lif, spiking.LIFState.initial((3, 6)), x), **subtracted)
    assert not np.array_equal(other, lif)


def test_subtraction_cannot_be_said_in_nir():
    for make in (nir.lif_from_decay, partial(nir.cuba_lif_from_decay, 0.5)):
        with pytest.raises(ValueError, match="NIR has no field for it"):
            make(0.9, dt=DT, reset="subtract")
        with pytest.raises(ValueError, match="reset is 'sub'"):
            make(0.9, dt=DT, reset="sub")
        with pytest.raises(TypeError, match="reset"):
            make(0.9, dt=DT)
        assert make(0.9, dt=DT, reset=-0.2).v_reset == -0.2


def network(**parts):
    """Layers with R other than 1 after every kind of weights."""
    w, v = RNG.normal(0, 0.8, (4, 6)), RNG.normal(0, 0.5, (4, 4))
    b = RNG.normal(0, 0.2, 4)
    r = {"r": np.array([5.0, 8.0, 10.0, 12.0]), "tau": 1e-3}
    cuba = nir.CubaLIF(tau_syn=5e-4, tau_mem=1e-3, r=10.0, w_in=5.0)
    return [
        nir.Affine(w, b),
        nir.Recurrent(nir.LIF(**r), nir.Affine(v, b)),
        *(nir.Linear(v + np.eye(4)), nir.LIF(**r)),
        *(nir.Scale(0.8), nir.IF(r=5000.0)),
        *(nir.Linear(np.eye(4)), cuba, nir.Scale(np.ones(4)), nir.LI(1e-3, 3.0)),
    ]


def test_r_of_1_with_larger_weights_is_the_same_network():
    layers = network()
    portable = nir.absorb_resistance(layers)
    neurons = [getattr(each, "neurons", each) for each in portable]
    assert [n.r for n in neurons if hasattr(n, "r")] == [1, 1, 1, 10, 1]
    expected = spikes_of(layers)
    assert np.abs(expected).max() > 0.05
    assert np.allclose(spikes_of(portable), expected, rtol=1e-4, atol=1e-6)
    # The recurrent weights must grow as well.
    lost = [*portable]
    lost[1] = nir.Recurrent(lost[1].neurons, layers[1].synapses)
    assert not np.allclose(spikes_of(lost), expected, rtol=1e-4, atol=1e-6)


def test_r_moves_into_convolutions_by_channel():
    x = RNG.random((20, 2, 2, 5, 5)).astype(np.float32)
    conv = nir.Conv2d(RNG.normal(0, 1, (3, 2, 3, 3)), RNG.normal(0, 1, 3), padding=1)
    r = np.broadcast_to(np.array([2.0, 4.0, 8.0])[:, None, None], (3, 5, 5))
    layers = [conv, nir.LIF(tau=1e-3, r=r)]
    portable = nir.absorb_resistance(layers, input_shape=(2, 5, 5))
    found, expected = (nir.run(each, x, dt=DT)[1] for each in (portable, layers))
    assert 0 < expected.sum() < expected.size
    assert np.array_equal(found, expected)  # powers of 2 round nothing
    uneven = nir.LIF(tau=1e-3, r=np.arange(75.0).reshape(3, 5, 5))
    with pytest.raises(ValueError, match="differs within a channel"):
        nir.absorb_resistance([conv, uneven], input_shape=(2, 5, 5))


@pytest.mark.parametrize(
    ("before", "words"),
    [([], "no weights before it"), ([nir.Delay(0.0)], "a Delay before it")],
)
def test_r_needs_weights_to_go_to(before, words):
    with pytest.raises(ValueError, match=words):
        nir.absorb_resistance([*before, nir.LIF(tau=1e-2, r=2.0)], input_shape=3)
    same = [*before, nir.LIF(tau=1e-2)]
    assert nir.absorb_resistance(same, input_shape=3)[-1] is same[-1]
