"""Cases of loops of every spelling, and of what a loop carries beside its units."""

import jax
import jax.numpy as jnp
from jax import lax

from ._case import (
    HIDDEN,
    OUTPUTS,
    TIME,
    Draw,
    by_time,
    enter,
    spike,
    squared,
    zeros,
)
from ._rates import gru_params, gru_step, rate_params
from ._spikes import spiking_params


def gru_problem(draw: Draw, run, more=()):
    """`run(cell, params, x)` scans `cell(params, h, x) -> h`; its states are read."""

    def loss_of(cell):
        def loss(p, x, y, *more):
            return squared(by_time(run(cell, p, by_time(x), *more) @ p["out"]), y)

        return loss

    def rewritten(paths):
        return loss_of(lambda p, h, x: gru_step(p, h, x, paths))

    user = loss_of(lambda p, h, x: gru_step(p, h, x))
    return user, rewritten, gru_params(draw), (*draw.series(), *more)


@enter()
def unrolled(draw):
    def run(cell, p, x):
        return lax.scan(lambda h, x: (cell(p, h, x),) * 2, zeros(HIDDEN), x, unroll=4)[
            1
        ]

    return gru_problem(draw, run)


@enter()
def reverse(draw):
    def run(cell, p, x):
        return lax.scan(
            lambda h, x: (cell(p, h, x),) * 2, zeros(HIDDEN), x, reverse=True
        )[1]

    return gru_problem(draw, run)


@enter()
def checkpointed(draw):
    """The body is computed again on the way back."""

    def run(cell, p, x):
        body = jax.checkpoint(lambda h, x: (cell(p, h, x),) * 2)
        return lax.scan(body, zeros(HIDDEN), x)[1]

    return gru_problem(draw, run)


@enter()
def jitted_body(draw):
    def run(cell, p, x):
        body = jax.jit(lambda h, x: (cell(p, h, x),) * 2)
        return lax.scan(body, zeros(HIDDEN), x)[1]

    return gru_problem(draw, run)


@enter()
def nested(draw):
    """A loop over chunks of a loop over steps: one loop over time, in two."""

    def run(cell, p, x):
        def chunk(h, x):
            return lax.scan(lambda h, x: (cell(p, h, x),) * 2, h, x)

        chunks = x.reshape(TIME // 4, 4, *x.shape[1:])
        states = lax.scan(chunk, zeros(HIDDEN), chunks)[1]
        return states.reshape(TIME, *states.shape[2:])

    return gru_problem(draw, run)


@enter()
def nested_checkpointed(draw):
    """The same, each chunk computed again on the way back."""

    def run(cell, p, x):
        @jax.checkpoint
        def chunk(h, x):
            return lax.scan(lambda h, x: (cell(p, h, x),) * 2, h, x)

        chunks = x.reshape(TIME // 4, 4, *x.shape[1:])
        states = lax.scan(chunk, zeros(HIDDEN), chunks)[1]
        return states.reshape(TIME, *states.shape[2:])

    return gru_problem(draw, run)


@enter(batch_axes=(0, 0, 0))
def masked(draw):
    """Sequences of different length: a finished one keeps its state."""

    def loss_of(cell):
        def loss(p, x, y, length):
            def body(carry, x):
                h, t = carry
                h = jnp.where((t < length)[:, None], cell(p, h, x), h)
                return (h, t + 1), None

            (h, _), _ = lax.scan(body, (zeros(HIDDEN), 0), by_time(x))
            return squared(h @ p["out"], y[:, -1])

        return loss

    def rewritten(paths):
        def cell(p, h, x):
            return gru_step(p, h, x, paths)

        def loss(p, x, y, length):
            h = zeros(HIDDEN)
            for t in range(TIME):
                h = jnp.where((t < length)[:, None], cell(p, h, x[:, t]), paths.own(h))
            return squared(h @ p["out"], y[:, -1])

        return loss

    lengths = jnp.array([TIME, 3, 6])
    user = loss_of(lambda p, h, x: gru_step(p, h, x))
    return user, rewritten, gru_params(draw), (*draw.series(), lengths)


@enter(batch_axes=1)
def time_major(draw):
    """Arguments are `(time, examples, width)`, so the examples are on axis 1."""

    def loss_of(cell):
        def loss(p, x, y):
            def body(h, x):
                h = cell(p, h, x)
                return h, h @ p["out"]

            return squared(lax.scan(body, zeros(HIDDEN), x)[1], y)

        return loss

    def rewritten(paths):
        return loss_of(lambda p, h, x: gru_step(p, h, x, paths))

    user = loss_of(lambda p, h, x: gru_step(p, h, x))
    return user, rewritten, gru_params(draw), by_time(draw.series())


@enter()
def one_example_at_a_time(draw):
    """The loss of one example, mapped: the loop is inside of `vmap`."""

    def loss_of(cell):
        def example(p, x, y):
            def body(h, x):
                h = cell(p, h, x)
                return h, h @ p["out"]

            return jnp.mean((lax.scan(body, jnp.zeros(HIDDEN), x)[1] - y) ** 2)

        def loss(p, x, y):
            return jnp.mean(jax.vmap(example, (None, 0, 0))(p, x, y))

        return loss

    def rewritten(paths):
        return loss_of(lambda p, h, x: gru_step(p, h, x, paths))

    user = loss_of(lambda p, h, x: gru_step(p, h, x))
    return user, rewritten, gru_params(draw), draw.series()


# ------------------------------------------------------------ beside the units


@enter()
def loss_in_the_carry(draw):
    """The loss is summed in the loop, beside a counter that picks the target."""

    def loss_of(product, own):
        def loss(p, x, y):
            targets = by_time(y)

            def body(carry, x):
                u, step, total = carry
                drive = x @ p["in"] + product(jnp.tanh(u), p["rec"]) + p["b"]
                u = 0.8 * own(u) + drive
                error = jnp.tanh(u) @ p["out"] - targets[step]
                return (u, step + 1, total + jnp.mean(error**2)), None

            (_, steps, total), _ = lax.scan(body, (zeros(HIDDEN), 0, 0.0), by_time(x))
            return total / steps

        return loss

    def rewritten(paths):
        return loss_of(paths.product, paths.own)

    return loss_of(jnp.matmul, same), rewritten, rate_params(draw), draw.series()


def same(x):
    return x


def lif_with_readout(read, start):
    """A recurrent LIF with `read(params, readout, z) -> readout, out` in its carry."""

    def loss_of(product, own, read):
        def loss(p, x, y):
            def body(carry, x):
                v, z, o = carry
                drive = x @ p["in"] + product(z, p["rec"])
                v = 0.9 * own(v) + drive - lax.stop_gradient(z)
                z = spike(v - 1)
                o, out = read(p, o, z)
                return (v, z, o), out

            begin = (*zeros(HIDDEN, HIDDEN), start)
            return squared(by_time(lax.scan(body, begin, by_time(x))[1]), y)

        return loss

    return loss_of


@enter()
def leaky_readout(draw):
    """A read-out with a memory of one constant factor: reversed exactly in time."""

    def read(p, o, z):
        o = 0.8 * o + 0.2 * (z @ p["out"] + p["b"])
        return o, o

    loss_of = lif_with_readout(read, zeros(OUTPUTS))

    def rewritten(paths):
        return loss_of(paths.product, paths.own, read)

    params = spiking_params(draw) | {"b": draw.normal(OUTPUTS)}
    return loss_of(jnp.matmul, same, read), rewritten, params, draw.series()


@enter()
def learned_readout(draw):
    """The one factor of the read-out's memory is a parameter."""

    def read(p, o, z):
        decay = jax.nn.sigmoid(p["decay"])
        o = decay * o + (1 - decay) * (z @ p["out"])
        return o, o

    loss_of = lif_with_readout(read, zeros(OUTPUTS))

    def rewritten(paths):
        return loss_of(paths.product, paths.own, read)

    params = spiking_params(draw) | {"decay": draw.normal(shift=1.0)}
    return loss_of(jnp.matmul, same, read), rewritten, params, draw.series()


@enter()
def readout_of_a_readout(draw):
    """A low-pass filter of a leaky read-out; both are reversed exactly in time."""

    def read(p, state, z):
        o, low = state
        o = 0.8 * o + z @ p["out"]
        low = 0.5 * low + 0.5 * o
        return (o, low), low

    loss_of = lif_with_readout(read, zeros(OUTPUTS, OUTPUTS))

    def rewritten(paths):
        return loss_of(paths.product, paths.own, read)

    return (
        loss_of(jnp.matmul, same, read),
        rewritten,
        spiking_params(draw),
        draw.series(),
    )


@enter()
def filtered_spikes(draw):
    """The spikes themselves are filtered before they are read: part of the unit."""

    def read(p, low, z):
        low = 0.8 * low + z
        return low, low @ p["out"]

    loss_of = lif_with_readout(read, zeros(HIDDEN))

    def rewritten(paths):
        def own(p, low, z):
            return read(p, paths.own(low), z)

        return loss_of(paths.product, paths.own, own)

    return (
        loss_of(jnp.matmul, same, read),
        rewritten,
        spiking_params(draw),
        draw.series(),
    )


@enter()
def spike_counts(draw):
    """The counts of spikes at the end are read: an average over time in the carry."""

    def loss_of(product, own):
        def loss(p, x, y):
            def body(carry, x):
                v, z, count = carry
                drive = x @ p["in"] + product(z, p["rec"])
                v = 0.9 * own(v) + drive - lax.stop_gradient(z)
                z = spike(v - 1)
                return (v, z, count + z), None

            begin = zeros(HIDDEN, HIDDEN, HIDDEN)
            (_, _, count), _ = lax.scan(body, begin, by_time(x))
            return squared(count / TIME @ p["out"], y[:, -1])

        return loss

    def rewritten(paths):
        return loss_of(paths.product, paths.own)

    return loss_of(jnp.matmul, same), rewritten, spiking_params(draw), draw.series()
