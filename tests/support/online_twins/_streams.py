"""Losses of windows and of single steps of a sequence, with the state handed on.

The gradients of windows, weighted by their length and summed, are those of the whole:
a rule that keeps its traces from call to call must say so, and one that forgets them
says something else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ._case import (
    BACKPROPAGATION,
    EXAMPLES,
    HIDDEN,
    INPUTS,
    OUTPUTS,
    TIME,
    Draw,
    Paths,
    by_time,
    gradient,
    spike,
    squared,
    zeros,
)
from ._rates import gru_params, gru_step
from ._spikes import spiking_params


@dataclass(frozen=True)
class Stream:
    """A cell whose carry is an argument and comes back in aux.

    Attributes:
        name: its key in `STREAMS`.
        step: `step(params, carry, x, paths) -> carry, out`.
        start: the first carry, its arrays with the examples on axis 0.
        params: the parameters.
        args: inputs and targets of the whole sequence, `(examples, time, width)`.
    """

    name: str
    step: Callable[..., Any]
    start: Any
    params: Any
    args: tuple[jax.Array, jax.Array]

    def window(self, params: Any, carry: Any, x: jax.Array, y: jax.Array):
        """`(loss, {"carry": carry})` of a few steps; x and y as in `args`."""

        def body(carry, x):
            return self.step(params, carry, x, BACKPROPAGATION)

        carry, out = lax.scan(body, carry, by_time(x))
        return squared(by_time(out), y), {"carry": carry}

    def single(self, params: Any, carry: Any, x: jax.Array, y: jax.Array):
        """The same of one step, with no loop; x and y are `(examples, width)`."""
        carry, out = self.step(params, carry, x, BACKPROPAGATION)
        return squared(out, y), {"carry": carry}

    def pieces(self, *lengths: int) -> list[tuple[jax.Array, jax.Array]]:
        """Windows of these lengths, one after the other, of the whole sequence."""
        ends = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
        if ends[-1] != TIME:
            raise ValueError(f"windows of {lengths} are not {TIME} steps")
        x, y = self.args
        return [(x[:, a:b], y[:, a:b]) for a, b in pairwise(ends)]

    def whole(self, paths: Paths) -> Any:
        """The gradient of the mean over the whole sequence, by paths."""

        def loss(params, x, y):
            def body(carry, x):
                return self.step(params, carry, x, paths)

            return squared(by_time(lax.scan(body, self.start, by_time(x))[1]), y)

        return gradient(loss, self.params, *self.args)


STREAMS: dict[str, Callable[[], Stream]] = {}


def stream(build):
    """Decorate `build(draw) -> (step, start, params)`: a row of `STREAMS`."""

    def make() -> Stream:
        draw = Draw(2000 + list(STREAMS).index(build.__name__))
        step, start, params = build(draw)
        return Stream(build.__name__, step, start, params, draw.series())

    STREAMS[build.__name__] = make
    return build


@stream
def gru(draw):
    def step(p, h, x, paths):
        h = gru_step(p, h, x, paths)
        return h, h @ p["out"]

    return step, zeros(HIDDEN), gru_params(draw)


@stream
def lstm(draw):
    def step(p, state, x, paths):
        h, c = state
        gates = x @ p["in"] + paths.product(h, p["rec"]) + p["b"]
        i, f, g, o = jnp.split(gates, 4, -1)
        c = jax.nn.sigmoid(f) * paths.own(c) + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h @ p["out"]

    params = {"in": draw.weight(INPUTS, 4 * HIDDEN), "b": draw.normal(4 * HIDDEN)}
    params["rec"] = draw.weight(HIDDEN, 4 * HIDDEN)
    return step, zeros(HIDDEN, HIDDEN), params | {"out": draw.weight(HIDDEN, OUTPUTS)}


@stream
def alif(draw):
    def step(p, state, x, paths):
        v, a, z = (state[name] for name in "vaz")
        a = 0.95 * paths.own(a) + paths.own(z)
        drive = x @ p["in"] + paths.product(z, p["rec"])
        decay = jax.nn.sigmoid(p["tau"])
        v = decay * paths.own(v) + drive - lax.stop_gradient(z)
        z = spike(v - 1 - 0.3 * a)
        return {"v": v, "a": a, "z": z}, z @ p["out"]

    start = dict(zip("vaz", zeros(HIDDEN, HIDDEN, HIDDEN), strict=True))
    return step, start, spiking_params(draw, tau=draw.normal(HIDDEN, shift=1.5))


@stream
def lif_with_leaky_readout(draw):
    """The read-out remembers too, from one call to the next."""

    def step(p, state, x, paths):
        v, z, out = state
        drive = x @ p["in"] + paths.product(z, p["rec"])
        v = 0.9 * paths.own(v) + drive - lax.stop_gradient(z)
        z = spike(v - 1)
        out = 0.8 * out + 0.2 * (z @ p["out"])
        return (v, z, out), out

    start = (*zeros(HIDDEN, HIDDEN), jnp.zeros((EXAMPLES, OUTPUTS)))
    return step, start, spiking_params(draw)


@stream
def encoder_below_leaky(draw):
    """A dense layer below the units, in the same step."""

    def core(p, u, x, paths):
        drive = x @ p["in"] + paths.product(jnp.tanh(u), p["rec"])
        u = 0.8 * paths.own(u) + drive
        return u, jnp.tanh(u)

    def step(p, u, x, paths):
        x = jax.nn.relu(x @ p["encoder"])
        u, sent = paths.layer(lambda *a: core(*a, paths), p["cell"], u, x)
        return u, sent @ p["out"]

    params = {"encoder": draw.weight(INPUTS, 6), "out": draw.weight(HIDDEN, OUTPUTS)}
    params["cell"] = {"in": draw.weight(6, HIDDEN), "rec": draw.weight(HIDDEN, HIDDEN)}
    return step, zeros(HIDDEN), params
