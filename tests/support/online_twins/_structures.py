"""Cases of units laid out in other ways, and of cells with more than one product."""

import jax
import jax.numpy as jnp

from ._case import EXAMPLES, HIDDEN, INPUTS, OUTPUTS, enter, zeros
from ._rates import plain
from ._spikes import both

HEADS, EACH = 2, 3


@enter()
def row_vectors(draw):
    """States are `(examples, 1, units)`; a bias is broadcast over two axes."""

    def write(product, own):
        def step(p, u, x):
            drive = x[:, None] @ p["in"] + product(jnp.tanh(u), p["rec"]) + p["b"]
            u = 0.8 * own(u) + drive
            return u, (jnp.tanh(u) @ p["out"])[:, 0]

        return step

    params = {"in": draw.weight(INPUTS, HIDDEN), "rec": draw.weight(HIDDEN, HIDDEN)}
    params |= {"b": draw.normal(1, HIDDEN), "out": draw.weight(HIDDEN, OUTPUTS)}
    return both(write, jnp.zeros((EXAMPLES, 1, HIDDEN)), params, draw.series())


@enter()
def heads(draw):
    """Units by head, `(examples, heads, each)`; each head has synapses of its own."""

    def write(product, own):
        def step(p, u, x):
            drive = (x @ p["in"]).reshape(-1, EACH, HEADS).swapaxes(1, 2)
            drive += jax.vmap(product, (1, 0), 1)(jnp.tanh(u), p["rec"])
            u = jax.nn.sigmoid(p["decay"])[:, None] * own(u) + drive
            return u, jnp.tanh(u).reshape(-1, HEADS * EACH) @ p["out"]

        return step

    params = {"in": draw.weight(INPUTS, HEADS * EACH)}
    params["rec"] = draw.weight(HEADS, EACH, EACH, size=2)
    params |= {"decay": draw.normal(HEADS), "out": draw.weight(HEADS * EACH, OUTPUTS)}
    return both(write, jnp.zeros((EXAMPLES, HEADS, EACH)), params, draw.series())


@enter()
def units_first(draw):
    """States are `(units, examples)`: weights stand on the left of the product."""

    def write(product, own):
        def step(p, u, x):
            drive = p["in"] @ x.T + p["b"][:, None]
            u = 0.8 * own(u) + drive + product(jnp.tanh(u).T, p["rec"].T).T
            return u, (p["out"] @ jnp.tanh(u)).T

        return step

    params = {"in": draw.weight(HIDDEN, INPUTS), "rec": draw.weight(HIDDEN, HIDDEN)}
    params |= {"b": draw.normal(HIDDEN), "out": draw.weight(OUTPUTS, HIDDEN)}
    return both(write, jnp.zeros((HIDDEN, EXAMPLES)), params, draw.series())


@enter(same_as=("snap",))
def masked_weights(draw):
    """No unit drives itself, weights are positive: functions of parameters alone."""
    apart = 1 - jnp.eye(HIDDEN)

    def write(product, own):
        def step(p, u, x):
            rec = jax.nn.softplus(p["rec"]) * apart
            u = 0.8 * own(u) + x @ p["in"] + product(jnp.tanh(u), rec)
            return u, jnp.tanh(u) @ p["out"]

        return step

    params = {"in": draw.weight(INPUTS, HIDDEN), "rec": draw.weight(HIDDEN, HIDDEN)}
    params["out"] = draw.weight(HIDDEN, OUTPUTS)
    return both(write, zeros(HIDDEN), params, draw.series())


@enter(same_as=("snap",))
def hidden_layer_in_the_cell(draw):
    """`u' = a u + tanh([x, u] W) V`: the inner layer reaches units through a synapse.

    So W learns from the same step alone, and V through its trace.
    """

    def core(p, u, hidden):
        u = 0.8 * u + hidden @ p["v"]
        return u, u

    def step(p, u, x):
        hidden = jnp.tanh(jnp.concatenate([x, u], -1) @ p["w"])
        u, _ = core(p["core"], u, hidden)
        return u, jnp.tanh(u) @ p["out"]

    def rewritten(paths):
        def own_core(p, u, hidden):
            return core(p, paths.own(u), hidden)

        def step(p, u, x):
            hidden = jnp.tanh(jnp.concatenate([x, paths.cut(u)], -1) @ p["w"])
            u, now = paths.layer(own_core, p["core"], u, hidden)
            return u, jnp.tanh(now) @ p["out"]

        return plain(step, zeros(HIDDEN))

    params = {"w": draw.weight(INPUTS + HIDDEN, 6), "out": draw.weight(HIDDEN, OUTPUTS)}
    params["core"] = {"v": draw.weight(6, HIDDEN)}
    return plain(step, zeros(HIDDEN)), rewritten, params, draw.series()
