"""Cases of several layers: in one body, with delay, downward."""

import jax
import jax.numpy as jnp
from jax import lax

from ._case import (
    HIDDEN,
    INPUTS,
    OUTPUTS,
    Draw,
    enter,
    spike,
    zeros,
)
from ._rates import plain


def leaky_layer(paths):
    """`step(weights, potential, x) -> potential, what is sent`, recurrent."""

    def step(p, u, x):
        drive = x @ p["in"] + paths.product(jnp.tanh(u), p["rec"]) + p["b"]
        u = 0.8 * paths.own(u) + drive
        return u, jnp.tanh(u)

    return step


def leaky_params(draw: Draw, inputs: int, units: int):
    found = {"in": draw.weight(inputs, units), "rec": draw.weight(units, units)}
    return found | {"b": draw.normal(units, size=0.3)}


def user_leaky(p, u, x):
    u = 0.8 * u + x @ p["in"] + jnp.tanh(u) @ p["rec"] + p["b"]
    return u, jnp.tanh(u)


@enter()
def stacked_leaky(draw):
    """Two recurrent layers in one body; the lower is taught within the step alone."""

    def step(p, state, x):
        lower, x = user_leaky(p["lower"], state[0], x)
        upper, x = user_leaky(p["upper"], state[1], x)
        return (lower, upper), x @ p["out"]

    def rewritten(paths):
        layer = leaky_layer(paths)

        def step(p, state, x):
            lower, x = layer(p["lower"], state[0], x)
            upper, x = paths.layer(layer, p["upper"], state[1], x)
            return (lower, upper), x @ p["out"]

        return plain(step, start)

    start = zeros(HIDDEN, 6)
    params = {"lower": leaky_params(draw, INPUTS, HIDDEN)}
    params["upper"] = leaky_params(draw, HIDDEN, 6)
    params["out"] = draw.weight(6, OUTPUTS)
    return plain(step, start), rewritten, params, draw.series()


@enter()
def stacked_leaky_with_skip(draw):
    """The read-out reads both layers: the lower has a path of its own to the loss."""

    def step(p, state, x):
        lower, a = user_leaky(p["lower"], state[0], x)
        upper, b = user_leaky(p["upper"], state[1], a)
        return (lower, upper), (a + b) @ p["out"]

    def rewritten(paths):
        layer = leaky_layer(paths)

        def step(p, state, x):
            lower, a = layer(p["lower"], state[0], x)
            upper, b = paths.layer(layer, p["upper"], state[1], a)
            return (lower, upper), (a + b) @ p["out"]

        return plain(step, start)

    start = zeros(HIDDEN, HIDDEN)
    params = {"lower": leaky_params(draw, INPUTS, HIDDEN)}
    params["upper"] = leaky_params(draw, HIDDEN, HIDDEN)
    params["out"] = draw.weight(HIDDEN, OUTPUTS)
    return plain(step, start), rewritten, params, draw.series()


@enter(same_as=("snap",))
def stacked_lif(draw):
    """Two feed-forward spiking layers in one body."""

    def lif(p, v, x):
        v = 0.9 * v + x @ p["in"]
        z = spike(v - 1)
        return v - lax.stop_gradient(z), z

    def step(p, state, x):
        lower, z = lif(p["lower"], state[0], x)
        upper, z = lif(p["upper"], state[1], z)
        return (lower, upper), z @ p["out"]

    def rewritten(paths):
        def step(p, state, x):
            lower, z = lif(p["lower"], paths.own(state[0]), x)
            upper, z = paths.layer(lif, p["upper"], paths.own(state[1]), z)
            return (lower, upper), z @ p["out"]

        return plain(step, start)

    start = zeros(HIDDEN, 6)
    params = {"lower": {"in": draw.weight(INPUTS, HIDDEN, size=2)}}
    params["upper"] = {"in": draw.weight(HIDDEN, 6, size=2)}
    params["out"] = draw.weight(6, OUTPUTS)
    return plain(step, start), rewritten, params, draw.series()


@enter()
def stack_with_delay(draw):
    """The upper layer reads what the lower sent one step before.

    Its synapse is no recurrent one: it teaches the lower layer's old state, within the
    step in which that is read.
    """

    def upper_step(p, u, x):
        u = jax.nn.sigmoid(p["tau"]) * u + x @ p["in"]
        return u, jnp.tanh(u)

    def step(p, state, x):
        lower, _ = user_leaky(p["lower"], state[0], x)
        upper, out = upper_step(p["upper"], state[1], jnp.tanh(state[0]))
        return (lower, upper), out @ p["out"]

    def rewritten(paths):
        layer = leaky_layer(paths)

        def own_upper(p, u, x):
            return upper_step(p, paths.own(u), x)

        def step(p, state, x):
            sent = jnp.tanh(paths.own(state[0]))
            lower, _ = layer(p["lower"], state[0], x)
            upper, out = paths.layer(own_upper, p["upper"], state[1], sent)
            return (lower, upper), out @ p["out"]

        return plain(step, start)

    start = zeros(HIDDEN, HIDDEN)
    params = {"lower": leaky_params(draw, INPUTS, HIDDEN)}
    params["upper"] = {"in": draw.weight(HIDDEN, HIDDEN), "tau": draw.normal(HIDDEN)}
    params["out"] = draw.weight(HIDDEN, OUTPUTS)
    return plain(step, start), rewritten, params, draw.series()


@enter()
def filter_on_top(draw):
    """A linear filter of one factor above a recurrent layer: a read-out, so exact."""

    def step_of(lower):
        def step(p, state, x):
            below, sent = lower(p["lower"], state[0], x)
            top = 0.6 * state[1] + sent @ p["up"]
            return (below, top), jnp.tanh(top) @ p["out"]

        return step

    def rewritten(paths):
        return plain(step_of(leaky_layer(paths)), start)

    start = zeros(HIDDEN, 6)
    params = {"lower": leaky_params(draw, INPUTS, HIDDEN)}
    params["up"] = draw.weight(HIDDEN, 6)
    params["out"] = draw.weight(6, OUTPUTS)
    return plain(step_of(user_leaky), start), rewritten, params, draw.series()


@enter(same_as=("snap",))
def downward_synapse(draw):
    """The lower layer reads, one step later, what the upper sent.

    The synapse down drives another group than it reads, but reaches that one through
    the synapse up within the same step: so it is recurrent, and passes nothing.
    """

    def lower_step(p, u, x):
        x, down = x
        u = 0.8 * u + x @ p["in"] + down @ p["down"]
        return u, jnp.tanh(u)

    def upper_step(p, u, x):
        u = 0.6 * u + x @ p["in"]
        return u, jnp.tanh(u)

    def step(p, state, x):
        lower, a = lower_step(p["lower"], state[0], (x, jnp.tanh(state[1])))
        upper, b = upper_step(p["upper"], state[1], a)
        return (lower, upper), b @ p["out"]

    def rewritten(paths):
        def lower_of(p, u, x):
            return lower_step(p, paths.own(u), x)

        def upper_of(p, u, x):
            return upper_step(p, paths.own(u), x)

        def step(p, state, x):
            down = jnp.tanh(paths.cut(state[1]))
            lower, a = paths.layer(lower_of, p["lower"], state[0], (x, down))
            upper, b = paths.layer(upper_of, p["upper"], state[1], a)
            return (lower, upper), b @ p["out"]

        return plain(step, start)

    start = zeros(HIDDEN, HIDDEN)
    params = {"lower": {"in": draw.weight(INPUTS, HIDDEN)}}
    params["lower"]["down"] = draw.weight(HIDDEN, HIDDEN)
    params["upper"] = {"in": draw.weight(HIDDEN, HIDDEN)}
    params["out"] = draw.weight(HIDDEN, OUTPUTS)
    return plain(step, start), rewritten, params, draw.series()


@enter()
def tied_layers(draw):
    """Both layers of a stack have the same weights, so each learns from both places."""

    def step(p, state, x):
        lower, x = user_leaky(p, state[0], x)
        upper, x = user_leaky(p, state[1], x)
        return (lower, upper), x @ p["out"]

    def rewritten(paths):
        layer = leaky_layer(paths)

        def step(p, state, x):
            lower, x = layer(p, state[0], x)
            upper, x = paths.layer(layer, p, state[1], x)
            return (lower, upper), x @ p["out"]

        return plain(step, start)

    start = zeros(INPUTS, INPUTS)
    params = leaky_params(draw, INPUTS, INPUTS)
    params["out"] = draw.weight(INPUTS, OUTPUTS)
    return plain(step, start), rewritten, params, draw.series()


@enter()
def two_populations(draw):
    """Excitatory and inhibitory units; each population is a group of its own."""

    def write(paths):
        def excite(p, u, x):
            x, inhibition = x
            sent = paths.product(jax.nn.relu(u), jnp.abs(p["ee"]))
            drive = x @ p["in"] + sent - inhibition @ jnp.abs(p["ei"])
            u = 0.8 * paths.own(u) + drive
            return u, jax.nn.relu(u)

        def inhibit(p, u, x):
            u = 0.7 * paths.own(u) + x @ jnp.abs(p["ie"])
            return u, jax.nn.relu(u)

        def step(p, state, x):
            e, i = state
            inhibition = jax.nn.relu(paths.own(i))
            e, sent = paths.layer(excite, p["e"], e, (x, inhibition))
            i, _ = paths.layer(inhibit, p["i"], i, jax.nn.relu(paths.own(state[0])))
            return (e, i), sent @ p["out"]

        return plain(step, start)

    def user(p, state, x):
        e, i = state
        drive = x @ p["e"]["in"] + jax.nn.relu(e) @ jnp.abs(p["e"]["ee"])
        new = 0.8 * e + drive - jax.nn.relu(i) @ jnp.abs(p["e"]["ei"])
        i = 0.7 * i + jax.nn.relu(e) @ jnp.abs(p["i"]["ie"])
        return (new, i), jax.nn.relu(new) @ p["out"]

    start = zeros(HIDDEN, 3)
    excitatory = {"in": draw.weight(INPUTS, HIDDEN), "ee": draw.weight(HIDDEN, HIDDEN)}
    excitatory["ei"] = draw.weight(3, HIDDEN)
    params = {"e": excitatory, "i": {"ie": draw.weight(HIDDEN, 3)}}
    params["out"] = draw.weight(HIDDEN, OUTPUTS)
    return plain(user, start), write, params, draw.series()
