"""e-prop finds each neuron to be a unit: it equals a loss with its recurrence cut."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import distance

import apical
from apical import spiking

pytestmark = pytest.mark.grid(keep=3)

T, B, SIZES = 12, 3, {"in": (4, 5), "recurrent": (5, 5), "readout": (5, 2)}
DRAW = np.random.default_rng(0)
PARAMS = {name: DRAW.normal(size=size) * 0.6 for name, size in SIZES.items()}
PARAMS |= {"decay": np.linspace(0.6, 0.95, 5), "threshold": np.linspace(0.8, 1.2, 5)}
X = (DRAW.random((T, B, 4)) < 0.5).astype(float)
Y = DRAW.normal(size=(T, B, 2))

ADAPT = {"adaptation_decay": 0.9, "adaptation_strength": 0.5}
NEURONS = {
    "lif": (spiking.lif, spiking.LIFState),
    "lif, zero": (partial(spiking.lif, reset="zero"), spiking.LIFState),
    "cuba_lif, attached": (
        partial(spiking.cuba_lif, synaptic_decay=0.6, detach_reset=False),
        spiking.CubaLIFState,
    ),
    "alif, zero": (partial(spiking.alif, reset="zero", **ADAPT), spiking.ALIFState),
}


def loss_of(name, cut=lambda spikes: spikes):
    neuron, kind = NEURONS[name]

    def loss_fn(params, x, y):
        def step(state, x):
            hidden, out = state
            current = x @ params["in"] + cut(hidden.spikes) @ params["recurrent"]
            told = {"decay": params["decay"], "threshold": params["threshold"]}
            hidden, z = neuron(hidden, current, spike=spiking.triangle(2.0), **told)
            out, v = spiking.leaky(out, z @ params["readout"], decay=0.8)
            return (hidden, out), v

        start = kind.initial((B, 5), x.dtype), jnp.zeros((B, 2), x.dtype)
        return jnp.mean((jax.lax.scan(step, start, x)[1] - y) ** 2)

    return loss_fn


@pytest.mark.parametrize("name", NEURONS)
def test_e_prop_is_the_gradient_without_recurrence(name):
    with jax.enable_x64(True):
        params, *args = jax.tree.map(jnp.asarray, (PARAMS, X, Y))
        rule = apical.rules.EProp()
        learner = apical.value_and_grad(loss_of(name), rule, batch_axes=1)
        state = learner.init(jax.random.key(0), params, *args)
        credit = jax.jit(learner)(params, state, *args)
        twin = jax.jit(jax.grad(loss_of(name, jax.lax.stop_gradient)))(params, *args)
        exact = jax.jit(jax.grad(loss_of(name)))(params, *args)
    for leaf in PARAMS:
        assert distance(credit.grads[leaf], twin[leaf]) < 1e-12
    assert distance(credit.grads, exact) > 1e-3
