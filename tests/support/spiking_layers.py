"""Two layers of spiking units in plain JAX, and sums over their spikes by hand."""

import jax
import jax.numpy as jnp
import numpy as np

import apical

STEPS, EXAMPLES, WIDTHS = 30, 2, (5, 4, 3)


@jax.custom_jvp
def spike(v):
    return (v > 0).astype(v.dtype)


@spike.defjvp
def _(primals, tangents):
    (v,), (dv,) = primals, tangents
    return spike(v), dv / (1 + jnp.abs(v)) ** 2


def _numbers(seed, *shape):
    return np.random.default_rng((seed, *shape)).uniform(size=shape)


PARAMS = {
    "first": jnp.asarray(0.8 * _numbers(1, 5, 4), jnp.float32),
    "bias": jnp.full(4, 0.05, jnp.float32),
    "second": jnp.asarray(1.2 * _numbers(2, 4, 3), jnp.float32),
}
X = jnp.asarray(_numbers(3, STEPS, EXAMPLES, 5) < 0.3, jnp.float32)
STILL = tuple(jnp.zeros((EXAMPLES, n), jnp.float32) for n in WIDTHS[1:])


def unit_step(v, current):
    """A leaky unit that subtracts its threshold of 1: its potential and its spike."""
    v = 0.8 * v + current
    z = spike(v - 1)
    return v - z, z


def step_of(params, state, x):
    """One step of both layers; the second one's spikes are marked."""
    (v, u) = state
    v, z = unit_step(v, x @ params["first"] + params["bias"])
    u, y = unit_step(u, z @ params["second"])
    y = apical.node(y, "out")
    return (v, u), (z, y)


def loss_fn(params, state, x):
    """A window of steps from a state; `aux` has the last state and all spikes."""
    state, (z, y) = jax.lax.scan(lambda s, x: step_of(params, s, x), state, x)
    loss = jnp.sum(jnp.mean(y, axis=0) ** 2) / x.shape[1]
    return loss, {"state": state, "hidden": z, "out": y}


def one_step(params, state, x):
    """One step without a loop."""
    state, (z, y) = step_of(params, state, x)
    return jnp.sum(y**2) / len(x), {"state": state, "hidden": z, "out": y}


TOLD = {"has_aux": True, "batch_axes": (0, 1)}
STREAM = {**TOLD, "carry": (0, "state")}


def learner_of(rule, loss_fn=loss_fn, **keywords):
    return apical.value_and_grad(loss_fn, rule, **{**TOLD, **keywords})


def change(rule, loss_fn=loss_fn, params=PARAMS, args=(STILL, X), **keywords):
    """The change dw that a rule asks for in one call, by the names of parameters."""
    learner = learner_of(rule, loss_fn, **keywords)
    state = learner.init(jax.random.key(0), params, *args)
    credit = jax.jit(learner)(params, state, *args)
    return jax.tree.map(lambda g: -np.asarray(g), credit.grads), credit


def ends():
    """The input and the spikes of both layers, `[steps, examples, units]`."""
    _, aux = loss_fn(PARAMS, STILL, X)
    x, z, y = (np.asarray(a, float) for a in (X, aux["hidden"], aux["out"]))
    assert 0.1 < z.mean() < 0.9 and 0.1 < y.mean() < 0.9
    return {"first": (x, z), "second": (z, y)}


def sum_over_synapses(one, x, z):
    """`one(times of the input, times of the unit)` for every pair, mean over examples.

    Times are the steps of spikes, in order.
    """
    found = np.zeros((x.shape[2], z.shape[2]))
    for b in range(x.shape[1]):
        for i, j in np.ndindex(*found.shape):
            found[i, j] += one(np.flatnonzero(x[:, b, i]), np.flatnonzero(z[:, b, j]))
    return found / x.shape[1]
