"""The rules of apical learn the layers, e-prop in `run` itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apical
from apical import spiking
from apical.interop import nir

pytestmark = pytest.mark.grid(keep=3)

RNG = np.random.default_rng(23)
DT, DECAY = 1e-4, 0.9


def normal(scale, *shape):
    return RNG.normal(0, scale, shape).astype(np.float32)


WEIGHTS = {
    **{"in": normal(0.6, 6, 5), "bias": normal(0.1, 6)},
    **{"back": normal(0.4, 6, 6), "out": normal(0.5, 2, 6)},
}
X = (RNG.random((30, 3, 5)) < 0.4).astype(np.float32)
Y = normal(1.0, 30, 3, 2)
SPIKE = spiking.triangle(height=0.3)


def loss_fn(weights, x, y):
    layers = [
        nir.Affine(weights["in"], weights["bias"]),
        nir.Recurrent(
            nir.lif_from_decay(DECAY, dt=DT, reset="zero"), nir.Linear(weights["back"])
        ),
        *(nir.Linear(weights["out"]), nir.li_from_decay(DECAY, dt=DT)),
    ]
    return jnp.mean((nir.run(layers, x, dt=DT, spike=SPIKE)[1] - y) ** 2)


def loss_of_plain_functions(weights, x, y, cut=False):
    """The same network by `apical.spiking`; if cut, without recurrent credit."""

    def step(carry, now):
        hidden, out = carry
        before = jax.lax.stop_gradient(hidden.spikes) if cut else hidden.spikes
        current = now @ weights["in"].T + weights["bias"] + before @ weights["back"].T
        hidden, z = spiking.lif(hidden, current, decay=DECAY, reset="zero", spike=SPIKE)
        out, read = spiking.leaky(out, z @ weights["out"].T, decay=DECAY)
        return (hidden, out), read

    start = spiking.LIFState.initial((3, 6)), jnp.zeros((3, 2))
    return jnp.mean((jax.lax.scan(step, start, x)[1] - y) ** 2)


def gradient(loss, **how):
    value, grads = jax.jit(jax.value_and_grad(lambda w: loss(w, X, Y, **how)))(WEIGHTS)
    return float(value), grads


def learned(rule):
    learner = apical.value_and_grad(loss_fn, rule, batch_axes=1)
    state = learner.init(jax.random.key(0), WEIGHTS, X, Y)
    return jax.jit(learner)(WEIGHTS, state, X, Y).grads


def close(a, b):
    return {
        name: bool(np.allclose(a[name], b[name], rtol=1e-3, atol=1e-5)) for name in a
    }


def test_backpropagation_through_the_layers_is_that_of_plain_functions():
    (value, ours), (same, plain) = map(gradient, (loss_fn, loss_of_plain_functions))
    assert value == pytest.approx(same, rel=1e-5)
    assert all(close(ours, plain).values())
    assert all(close(learned(apical.rules.Backpropagation()), ours).values())


def test_e_prop_on_the_layers_is_backpropagation_without_recurrent_credit():
    _, cut = gradient(loss_of_plain_functions, cut=True)
    _, whole = gradient(loss_fn)
    found = learned(apical.rules.EProp())
    assert all(close(found, cut).values())
    assert close(found, whole) == {
        name: name == "out" for name in ("in", "bias", "back", "out")
    }


def test_feedback_alignment_reaches_the_layers_below_the_readout_alone():
    _, whole = gradient(loss_fn)
    found = learned(apical.rules.FeedbackAlignment())
    assert close(found, whole) == {
        name: name == "out" for name in ("in", "bias", "back", "out")
    }
