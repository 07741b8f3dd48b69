"""NEST's e-prop numbers, with nothing but `lif`, `leaky`, `triangle` and `jax.grad`.

Regression of a sum of sines by 100 recurrent neurons, five updates by gradient descent,
random feedback. e-prop is backpropagation of a loss whose recurrent synapses read the
spikes of the step before as constants. The losses are those of the model
`eprop_iaf_bsshslm_2020` (Bellec et al. 2020), which NEST tests against the authors'
TensorFlow code; the inputs are drawn in the same order.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apical import spiking

GOLDEN = [
    *(101.964356999041, 103.466731126205, 103.340607074771),
    *(103.680244037686, 104.412775748752),
]
T, N = 1000, 100
DECAY, THRESHOLD, GAMMA = spiking.decay_factor(30.0), 0.03, 0.3
RATE, STRENGTH = 0.01, 300.0
E_PROP = spiking.triangle(THRESHOLD, height=GAMMA / THRESHOLD)


def drawn():
    """Weights, feedback weights, input spikes and target, in the order of the test."""
    draw = np.random.RandomState(1)

    def weights(rows, columns):
        found = draw.randn(rows, columns) / np.sqrt(N)
        return found.astype(np.float32).astype(float)

    w = {"in": weights(N, N), "rec": weights(N, N), "out": weights(N, 1)}
    feedback = weights(N, 1)
    np.fill_diagonal(w["rec"], 0)
    x = (draw.rand(T, N) < 0.05).astype(float)
    x[0] = 0
    sizes, phases = draw.uniform(0.5, 2.0, 4), draw.uniform(0, 2 * np.pi, 4)
    y = sum(
        a * np.sin(np.linspace(p, p + 2 * np.pi * (T // period), T))
        for a, p, period in zip(sizes, phases, (1000, 500, 333, 200), strict=True)
    )
    y = y - y[0]
    return w, feedback, x, y / np.abs(y).max()


@jax.custom_vjp
def readout(z, w, feedback):
    """Z @ w, whose signal returns through other weights."""
    return z @ w


readout.defvjp(
    lambda z, w, feedback: (z @ w, (z, feedback)),
    lambda kept, e: (kept[1] @ e, jnp.outer(kept[0], e), jnp.zeros_like(kept[1])),
)


def losses(w, feedback, x, y, spike=E_PROP):
    """What is descended, and its part that is compared: half the squared error."""

    def step(state, x):
        lif, out = state
        current = x @ w["in"] + jax.lax.stop_gradient(lif.spikes) @ w["rec"]
        kind = {"decay": DECAY, "threshold": THRESHOLD, "spike": spike}
        lif, z = spiking.lif(lif, (1 - DECAY) * current, **kind)
        drive = (1 - DECAY) * readout(z, w["out"], feedback)
        out, _ = spiking.leaky(out, drive, decay=DECAY)
        return (lif, out), (z, out)

    start = spiking.LIFState.initial((N,)), jnp.zeros(1)
    _, (z, out) = jax.lax.scan(step, start, x)
    error = 0.5 * jnp.sum((out[:, 0] - y) ** 2)
    return error + 0.5 * STRENGTH * jnp.sum((jnp.mean(z, 0) - RATE) ** 2), error


def five_updates(spike=E_PROP):
    with jax.enable_x64(True):
        w, *rest = jax.tree.map(jnp.asarray, drawn())
        grad = jax.jit(jax.grad(partial(losses, spike=spike), has_aux=True))
        found = []
        for _ in range(5):
            by_w, error = grad(w, *rest)
            found.append(float(error))
            by_w["rec"] = by_w["rec"] * (1 - jnp.eye(N))
            w = jax.tree.map(lambda w, g: w - 1e-4 * g, w, by_w)
        return found


def test_the_losses_of_five_updates_are_those_of_nest():
    np.testing.assert_allclose(five_updates(), GOLDEN, rtol=0, atol=1e-10)


@pytest.mark.parametrize("change", ["height", "half_width"])
def test_another_pseudo_derivative_gives_other_losses(change):
    told = {"half_width": THRESHOLD, "height": GAMMA / THRESHOLD}
    told[change] *= 1.01
    found = five_updates(spiking.triangle(**told))
    assert found[0] == pytest.approx(GOLDEN[0], abs=1e-10)
    assert abs(found[-1] - GOLDEN[-1]) > 1e-4
