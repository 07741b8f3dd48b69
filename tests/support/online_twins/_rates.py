"""Cases of plain JAX: units with graded activities and diagonal linear units."""

import jax
import jax.numpy as jnp
from jax import lax

from ._case import (
    BACKPROPAGATION,
    EXAMPLES,
    HIDDEN,
    INPUTS,
    OUTPUTS,
    Draw,
    by_time,
    enter,
    spike,
    squared,
    zeros,
)

ONLY_DIAGONAL = ("backpropagation", "snap")


def plain(step, start):
    """The loss of `step(params, carry, x) -> carry, out` scanned over time."""

    def loss(params, x, y):
        begin = start(params) if callable(start) else start
        _, out = lax.scan(lambda h, x: step(params, h, x), begin, by_time(x))
        return squared(by_time(out), y)

    return loss


def rate_params(draw: Draw, *, bias: bool = True):
    found = {"in": draw.weight(INPUTS, HIDDEN), "rec": draw.weight(HIDDEN, HIDDEN)}
    found["out"] = draw.weight(HIDDEN, OUTPUTS)
    return found | ({"b": draw.normal(HIDDEN, size=0.3)} if bias else {})


@enter(same_as=("truncated",))
def vanilla(draw):
    """A unit that remembers nothing itself: e-prop is one step of backpropagation."""

    def step(p, h, x):
        h = jnp.tanh(x @ p["in"] + h @ p["rec"] + p["b"])
        return h, h @ p["out"]

    def rewritten(paths):
        def step(p, h, x):
            h = jnp.tanh(x @ p["in"] + paths.product(h, p["rec"]) + p["b"])
            return h, h @ p["out"]

        return plain(step, zeros(HIDDEN))

    return plain(step, zeros(HIDDEN)), rewritten, rate_params(draw), draw.series()


@enter()
def leaky(draw):
    """A potential that leaks; tanh of it is what is sent."""

    def step(p, u, x):
        u = 0.8 * u + x @ p["in"] + jnp.tanh(u) @ p["rec"] + p["b"]
        return u, jnp.tanh(u) @ p["out"]

    def rewritten(paths):
        def step(p, u, x):
            drive = x @ p["in"] + paths.product(jnp.tanh(u), p["rec"]) + p["b"]
            u = 0.8 * paths.own(u) + drive
            return u, jnp.tanh(u) @ p["out"]

        return plain(step, zeros(HIDDEN))

    return plain(step, zeros(HIDDEN)), rewritten, rate_params(draw), draw.series()


@enter()
def leaky_rate(draw):
    """The unit of RFLO: `h' = (1 - 1/τ) h + (1/τ) tanh(drive)`."""

    def step(p, h, x):
        h = 0.75 * h + 0.25 * jnp.tanh(x @ p["in"] + h @ p["rec"])
        return h, h @ p["out"]

    def rewritten(paths):
        def step(p, h, x):
            drive = x @ p["in"] + paths.product(h, p["rec"])
            h = 0.75 * paths.own(h) + 0.25 * jnp.tanh(drive)
            return h, h @ p["out"]

        return plain(step, zeros(HIDDEN))

    params = rate_params(draw, bias=False)
    return plain(step, zeros(HIDDEN)), rewritten, params, draw.series()


@enter()
def learned_decay(draw):
    """A decay for each unit and one gain for all, both learned."""

    def decays(p):
        return jax.nn.sigmoid(p["tau"]), jnp.exp(p["gain"])

    def step(p, u, x):
        a, gain = decays(p)
        u = a * u + (1 - a) * gain * (x @ p["in"] + jnp.tanh(u) @ p["rec"])
        return u, jnp.tanh(u) @ p["out"]

    def rewritten(paths):
        def step(p, u, x):
            a, gain = decays(p)
            drive = x @ p["in"] + paths.product(jnp.tanh(u), p["rec"])
            u = a * paths.own(u) + (1 - a) * gain * drive
            return u, jnp.tanh(u) @ p["out"]

        return plain(step, zeros(HIDDEN))

    params = rate_params(draw, bias=False) | {"gain": draw.normal(shift=0.5)}
    params["tau"] = draw.normal(HIDDEN, shift=1.0)
    return plain(step, zeros(HIDDEN)), rewritten, params, draw.series()


def gru_params(draw: Draw):
    found = rate_params(draw) | {"b": draw.normal(3 * HIDDEN, size=0.3)}
    found["in"] = draw.weight(INPUTS, 3 * HIDDEN)
    return found | {"rec": draw.weight(HIDDEN, 3 * HIDDEN)}


def gru_step(p, h, x, paths=BACKPROPAGATION, sent=lambda h: h):
    """Gates side by side; the reset gate multiplies what the synapse says."""
    a, u = x @ p["in"] + p["b"], paths.product(sent(h), p["rec"])
    (ar, az, an), (ur, uz, un) = jnp.split(a, 3, -1), jnp.split(u, 3, -1)
    update, new = jax.nn.sigmoid(az + uz), jnp.tanh(an + jax.nn.sigmoid(ar + ur) * un)
    return new + update * (paths.own(h) - new)


@enter()
def gru(draw):
    def step(p, h, x):
        h = gru_step(p, h, x)
        return h, h @ p["out"]

    def rewritten(paths):
        def step(p, h, x):
            h = gru_step(p, h, x, paths)
            return h, h @ p["out"]

        return plain(step, zeros(HIDDEN))

    return plain(step, zeros(HIDDEN)), rewritten, gru_params(draw), draw.series()


@enter()
def learned_start(draw):
    """The first state of a GRU is a parameter: taught through the units' own path."""

    def start(p):
        return jnp.broadcast_to(p["start"], (EXAMPLES, HIDDEN))

    def step(p, h, x):
        h = gru_step(p, h, x)
        return h, h @ p["out"]

    def rewritten(paths):
        def step(p, h, x):
            h = gru_step(p, h, x, paths)
            return h, h @ p["out"]

        return plain(step, start)

    params = gru_params(draw) | {"start": draw.normal(HIDDEN)}
    return plain(step, start), rewritten, params, draw.series()


@enter()
def packed_lstm(draw):
    """Hidden and cell state side by side in one array, one matrix for all gates."""

    def cell(p, h, c, x, paths):
        gates = paths.beside(x, h, p["w"]) + p["b"]
        i, f, g, o = jnp.split(gates, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return jnp.concatenate([h, c], -1), h @ p["out"]

    def step(p, state, x):
        return cell(p, state[:, :HIDDEN], state[:, HIDDEN:], x, BACKPROPAGATION)

    def rewritten(paths):
        def step(p, state, x):
            h, c = state[:, :HIDDEN], state[:, HIDDEN:]
            return cell(p, h, paths.own(c), x, paths)

        return plain(step, zeros(2 * HIDDEN))

    params = {"w": draw.weight(INPUTS + HIDDEN, 4 * HIDDEN)}
    params |= {"b": draw.normal(4 * HIDDEN, size=0.3)}
    params["out"] = draw.weight(HIDDEN, OUTPUTS)
    return plain(step, zeros(2 * HIDDEN)), rewritten, params, draw.series()


# ------------------------------------------------------------ diagonal linear units


def lru_params(draw: Draw, inputs: int = INPUTS, outputs: int = OUTPUTS):
    return {
        "nu": draw.normal(HIDDEN, size=0.3, shift=-1),
        "theta": draw.normal(HIDDEN),
        "in": draw.weight(2, inputs, HIDDEN),
        "out": draw.weight(2, HIDDEN, outputs),
        "skip": draw.weight(inputs, outputs),
    }


def lru_step(p, h, x):
    """`h' = λ h + γ B x` with |λ| < 1, all complex; the real part of `C h` is sent."""
    lam = jnp.exp(-jnp.exp(p["nu"]) + 1j * p["theta"])
    gain = jnp.sqrt(1 - jnp.abs(lam) ** 2)
    h = lam * h + gain * (x @ (p["in"][0] + 1j * p["in"][1]))
    return h, (h @ (p["out"][0] + 1j * p["out"][1])).real + x @ p["skip"]


def complex_zeros():
    return zeros(HIDDEN).astype(jnp.result_type(complex))


@enter(same_as=ONLY_DIAGONAL)
def lru(draw):
    """No recurrent synapse: the online rules are backpropagation."""
    loss = plain(lru_step, lambda p: complex_zeros())

    def rewritten(paths):
        return plain(lambda p, h, x: lru_step(p, paths.own(h), x), complex_zeros())

    return loss, rewritten, lru_params(draw), draw.series()


@enter(same_as=ONLY_DIAGONAL)
def lru_as_two_real_states(draw):
    """Real and imaginary part are two states of one unit."""

    def step(p, state, x):
        u, v = state
        size = jnp.exp(-jnp.exp(p["nu"]))
        a, b = size * jnp.cos(p["theta"]), size * jnp.sin(p["theta"])
        u, v = a * u - b * v + x @ p["in"][0], b * u + a * v + x @ p["in"][1]
        return (u, v), u @ p["out"][0] - v @ p["out"][1]

    start = zeros(HIDDEN, HIDDEN)

    def rewritten(paths):
        return plain(lambda p, state, x: step(p, paths.own(state), x), start)

    params = lru_params(draw)
    params.pop("skip")
    return plain(step, start), rewritten, params, draw.series()


@enter(same_as=("snap",))
def stacked_lru(draw):
    """Two blocks of LRU and gelu in one body: the lower is taught within the step."""

    def upper(p, h, x):
        return lru_step(p, h, jax.nn.gelu(x))

    def step(p, state, x):
        lower, x = lru_step(p[0], state[0], x)
        top, out = upper(p[1], state[1], x)
        return (lower, top), out

    def rewritten(paths):
        def step(p, state, x):
            lower, x = lru_step(p[0], paths.own(state[0]), x)
            top, out = paths.layer(upper, p[1], paths.own(state[1]), x)
            return (lower, top), out

        return plain(step, lambda p: (complex_zeros(), complex_zeros()))

    loss = plain(step, lambda p: (complex_zeros(), complex_zeros()))
    params = [lru_params(draw, outputs=3), lru_params(draw, inputs=3)]
    return loss, rewritten, params, draw.series()


@enter()
def gated_by_threshold(draw):
    """An event-based gated unit: it sends its state when that is above a threshold."""

    def sent(h):
        return h * spike(h - 0.1)

    def step(p, h, x):
        h = gru_step(p, h, x, sent=sent)
        return h, sent(h) @ p["out"]

    def rewritten(paths):
        def step(p, h, x):
            h = gru_step(p, h, x, paths, sent)
            return h, sent(h) @ p["out"]

        return plain(step, zeros(HIDDEN))

    return plain(step, zeros(HIDDEN)), rewritten, gru_params(draw), draw.series()
