"""Cases of plain JAX: units that spike."""

import jax
import jax.numpy as jnp
from jax import lax

from ._case import EXAMPLES, HIDDEN, INPUTS, OUTPUTS, Draw, enter, spike, zeros
from ._rates import plain


def spiking_params(draw: Draw, **more):
    found = {"in": draw.weight(INPUTS, HIDDEN, size=2)}
    found["rec"] = draw.weight(HIDDEN, HIDDEN, size=1.5)
    return found | {"out": draw.weight(HIDDEN, OUTPUTS)} | more


def both(write, start, params, series):
    """`write(product, own)` is a step; the user's, with products and the identity."""

    def rewritten(paths):
        return plain(write(paths.product, paths.own), start)

    return plain(write(jnp.matmul, lambda x: x), start), rewritten, params, series


@enter()
def lif(draw):
    """Reset by subtraction, without a derivative; learned time constant and bias."""

    def step(p, state, x):
        v, z = state
        decay = jax.nn.sigmoid(p["tau"])
        drive = x @ p["in"] + z @ p["rec"] + p["b"]
        v = decay * v + drive - lax.stop_gradient(z)
        z = spike(v - 1)
        return (v, z), z @ p["out"]

    def rewritten(paths):
        def step(p, state, x):
            v, z = state
            decay = jax.nn.sigmoid(p["tau"])
            drive = x @ p["in"] + paths.product(z, p["rec"]) + p["b"]
            v = decay * paths.own(v) + drive - lax.stop_gradient(z)
            z = spike(v - 1)
            return (v, z), z @ p["out"]

        return plain(step, start)

    start = zeros(HIDDEN, HIDDEN)
    params = spiking_params(draw, tau=draw.normal(shift=1.5, size=0.1))
    params["b"] = draw.normal(HIDDEN, size=0.3)
    return plain(step, start), rewritten, params, draw.series()


@enter()
def lif_reset_with_derivative(draw):
    """The reset is differentiated: the spike is a state that the unit itself reads."""

    def write(product, own):
        def step(p, state, x):
            v, z = state
            v = 0.9 * own(v) + x @ p["in"] + product(z, p["rec"]) - own(z)
            z = spike(v - 1)
            return (v, z), z @ p["out"]

        return step

    start = zeros(HIDDEN, HIDDEN)
    return both(write, start, spiking_params(draw), draw.series())


@enter()
def lif_reset_to_zero(draw):
    """`v' = a v (1 - z) + ...`; a decay for each unit; a learned first potential."""

    def write(product, own):
        def step(p, state, x):
            v, z = state
            rest = own(v) * (1 - lax.stop_gradient(z))
            v = jnp.exp(-p["rate"]) * rest + x @ p["in"] + product(z, p["rec"])
            z = spike(v - 1)
            return (v, z), z @ p["out"]

        return step

    def start(p):
        first = jnp.broadcast_to(p["start"], (EXAMPLES, HIDDEN))
        return first, zeros(HIDDEN)

    params = spiking_params(draw, rate=jnp.abs(draw.normal(HIDDEN, size=0.1)))
    params["start"] = draw.normal(HIDDEN, size=0.5)
    return both(write, start, params, draw.series())


@enter()
def cuba_lif(draw):
    """A current that decays drives the potential; synapses feed the current."""

    def write(product, own):
        def step(p, state, x):
            i, v, z = state
            i = 0.7 * own(i) + x @ p["in"] + product(z, p["rec"])
            v = 0.9 * own(v) + i - lax.stop_gradient(z)
            z = spike(v - 1)
            return (i, v, z), z @ p["out"]

        return step

    start = zeros(HIDDEN, HIDDEN, HIDDEN)
    return both(write, start, spiking_params(draw), draw.series())


@enter()
def alif(draw):
    """Each spike raises the threshold; potential, adaptation and spike are apart."""

    def write(product, own):
        def step(p, state, x):
            v, a, z = state
            a = 0.95 * own(a) + own(z)
            drive = x @ p["in"] + product(z, p["rec"])
            v = 0.9 * own(v) + drive - lax.stop_gradient(z)
            z = spike(v - 1 - 0.3 * a)
            return (v, a, z), z @ p["out"]

        return step

    start = zeros(HIDDEN, HIDDEN, HIDDEN)
    return both(write, start, spiking_params(draw), draw.series())


@enter()
def packed_alif(draw):
    """Potential and adaptation in one array; the spike follows from the old state."""

    def write(product, own):
        def spikes(state):
            return spike(state[:, :HIDDEN] - 1 - 0.3 * state[:, HIDDEN:])

        def step(p, state, x):
            v, a, z = own(state)[:, :HIDDEN], own(state)[:, HIDDEN:], spikes(own(state))
            drive = x @ p["in"] + product(spikes(state), p["rec"])
            v, a = 0.9 * v + drive - lax.stop_gradient(z), 0.95 * a + z
            return jnp.concatenate([v, a], -1), z @ p["out"]

        return step

    return both(write, zeros(2 * HIDDEN), spiking_params(draw), draw.series())


@enter()
def alif_on_one_axis(draw):
    """Potential, adaptation and spike stacked on a leading axis, `(3, examples, 5)`."""

    def write(product, own):
        def step(p, state, x):
            v, a, z = own(state)
            drive = x @ p["in"] + product(state[2], p["rec"])
            a = 0.95 * a + z
            v = 0.9 * v + drive - lax.stop_gradient(z)
            z = spike(v - 1 - 0.3 * a)
            return jnp.stack([v, a, z]), z @ p["out"]

        return step

    start = jnp.zeros((3, EXAMPLES, HIDDEN))
    return both(write, start, spiking_params(draw), draw.series())


@enter(name="lif_shift_register")
def shift_register(draw):
    """Spikes arrive two steps later at recurrent synapses, one later at the read-out.

    What the read-out reads late is a state of the unit: it is taught back to the spike.
    """

    def write(product, own):
        def step(p, state, x):
            v, late = state
            drive = x @ p["in"] + product(late[1], p["rec"])
            v = 0.9 * own(v) + drive - lax.stop_gradient(late[0])
            out = own(late)[0] @ p["out"]
            late = jnp.concatenate([spike(v - 1)[None], own(late)[:-1]])
            return (v, late), out

        return step

    def start(p):
        return zeros(HIDDEN), jnp.zeros((2, EXAMPLES, HIDDEN))

    return both(write, start, spiking_params(draw), draw.series())


@enter(name="lif_ring_buffer")
def ring_buffer(draw):
    """Spikes arrive three steps later, from a buffer written at a counter's place."""

    def write(product, own):
        def step(p, state, x):
            v, z, late, count = state
            place = count % 3
            arrived = lax.dynamic_index_in_dim(late, place, 0, keepdims=False)
            drive = x @ p["in"] + product(arrived, p["rec"])
            v = 0.9 * own(v) + drive - lax.stop_gradient(z)
            z = spike(v - 1)
            late = lax.dynamic_update_index_in_dim(own(late), z, place, 0)
            return (v, z, late, count + 1), z @ p["out"]

        return step

    def start(p):
        return (*zeros(HIDDEN, HIDDEN), jnp.zeros((3, EXAMPLES, HIDDEN)), 0)

    return both(write, start, spiking_params(draw), draw.series())


@enter(same_as=("backpropagation", "snap"))
def spike_before_integration(draw):
    """The spike follows from the potential before this step's input; no recurrence."""

    def write(product, own):
        def step(p, v, x):
            z = spike(own(v) - 1)
            return 0.9 * own(v) + x @ p["in"] - z, z @ p["out"]

        return step

    params = spiking_params(draw)
    params.pop("rec")
    return both(write, zeros(HIDDEN), params, draw.series())


@enter()
def spike_before_integration_recurrent(draw):
    """The same with a recurrent synapse that reads the spike just sent."""

    def write(product, own):
        def step(p, v, x):
            z = spike(own(v) - 1)
            drive = x @ p["in"] + product(spike(v - 1), p["rec"])
            return 0.9 * own(v) + drive - z, z @ p["out"]

        return step

    return both(write, zeros(HIDDEN), spiking_params(draw), draw.series())
