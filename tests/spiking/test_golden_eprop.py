"""NEST's e-prop numbers, with nothing but `apical.spiking` and `jax.grad`.

e-prop is backpropagation of a loss whose recurrent synapses read the spikes of the step
before as constants; the published runs send errors back by random weights. So the
losses of five updates hold each neuron, its pseudo-derivative and its reset to 1e-10.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.nest_eprop import RECALL, evidence, losses_of, regression

from apical import spiking


@jax.custom_vjp
def readout(z, w, feedback):
    """Z @ w, whose error returns through other weights."""
    return z @ w


readout.defvjp(
    lambda z, w, feedback: (z @ w, (z, feedback)),
    lambda kept, e: (e @ kept[1].T, kept[0].T @ e, jnp.zeros_like(kept[1])),
)


def recurrent(params, spikes):
    apart = 1 - jnp.eye(len(params["rec"]))  # no neuron reaches itself
    return jax.lax.stop_gradient(spikes) @ (params["rec"] * apart)


def regression_loss(params, feedback, x, y, spike):
    decay = spiking.decay_factor(30.0)

    def step(state, x):
        lif, out = state
        current = x @ params["in"] + recurrent(params, lif.spikes)
        kind = {"decay": decay, "threshold": 0.03, "spike": spike}
        lif, z = spiking.lif(lif, (1 - decay) * current, **kind)
        drive = (1 - decay) * readout(z, params["out"], feedback)
        out, _ = spiking.leaky(out, drive, decay=decay)
        return (lif, out), (z, out)

    start = spiking.LIFState.initial((1, 100)), jnp.zeros((1, 1))
    _, (z, out) = jax.lax.scan(step, start, jnp.swapaxes(x, 0, 1))
    task = 0.5 * jnp.sum((jnp.swapaxes(out, 0, 1) - y) ** 2)
    return task + 150 * jnp.sum((spiking.firing_rate(z) - 0.01) ** 2), task


def evidence_loss(params, feedback, x, y, spike):
    decay, slow = spiking.decay_factor(20.0), spiking.decay_factor(2000.0)
    strength = 1.7 * (1 - slow) / (1 - decay) * (jnp.arange(100) >= 50)

    def step(state, x):
        alif, counter, out = state
        current = x @ params["in"] + recurrent(params, alif.spikes)
        alif, z = spiking.alif(
            alif,
            current,
            decay=decay,
            adaptation_decay=slow,
            adaptation_strength=strength,
            threshold=0.6,
            spike=spike,
        )
        counter, z = spiking.refractory(counter, z, steps=4)
        alif = alif._replace(spikes=z)
        drive = (1 - decay) * readout(z, params["out"], feedback)
        out, _ = spiking.leaky(out, drive, decay=decay)
        return (alif, counter, out), (z, out)

    start = (
        spiking.ALIFState.initial((1, 100)),
        jnp.zeros((1, 100), int),
        jnp.zeros((1, 2)),
    )
    _, (z, out) = jax.lax.scan(step, start, jnp.swapaxes(x, 0, 1))
    logs = jax.nn.log_softmax(jnp.swapaxes(out, 0, 1)[:, -RECALL:])
    task = -jnp.mean(jnp.take_along_axis(logs, y[:, None, None], axis=-1))
    return task + jnp.sum((spiking.firing_rate(z) - 0.01) ** 2), task


RUNS = {
    "lif": (regression, regression_loss, 0.03),
    "alif": (evidence, evidence_loss, 0.6),
}


def losses(name, height=0.3):
    make, loss, threshold = RUNS[name]
    with jax.enable_x64(True):
        golden = make()
        spike = spiking.triangle(threshold, height=height / threshold)

        @jax.jit
        def credit(params, x, y):
            grads, task = jax.grad(loss, has_aux=True)(
                params, golden.feedback, x, y, spike
            )
            return task, grads

        return losses_of(golden, credit), golden.losses


@pytest.mark.parametrize("name", RUNS)
def test_the_losses_of_five_updates_are_those_of_nest(name):
    found, golden = losses(name)
    np.testing.assert_allclose(found, golden, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", RUNS)
def test_another_pseudo_derivative_gives_other_losses(name):
    found, golden = losses(name, height=0.303)
    assert found[0] == pytest.approx(golden[0], abs=1e-10)
    assert max(np.abs(np.subtract(found, golden))) > 1e-6
