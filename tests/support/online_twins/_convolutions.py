"""Cases of convolutional cells, of flax and of haiku."""

import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
from jax import lax

from ._case import (
    BACKPROPAGATION,
    EXAMPLES,
    OUTPUTS,
    TIME,
    Draw,
    by_time,
    enter,
    spike,
    squared,
)
from ._frameworks import lstm

CHANNELS, FILTERS, WIDE = 2, 3, 4
ALONG = ("NWC", "WIO", "NWC")
ACROSS = ("NHWC", "HWIO", "NHWC")


def pictures(draw: Draw, *space: int):
    x = draw.normal(EXAMPLES, TIME, *space, CHANNELS)
    return x, draw.normal(EXAMPLES, TIME, OUTPUTS)


def convolved(x, w, b, layout):
    strides = (1,) * (x.ndim - 2)
    return lax.conv_general_dilated(x, w, strides, "SAME", dimension_numbers=layout) + b


def recurrent(paths, h, w, layout):
    """A convolution of the carry; a unit's own weight is the one in the middle."""
    middle = w[tuple((size - 1) // 2 for size in w.shape[:-2])]
    found = convolved(paths.cut(h), w, 0, layout)
    return found + paths.own_part(h, middle)


def read(states, out):
    """A dense layer on the mean over space, `(examples, time, outputs)`."""
    return jnp.mean(states, axis=tuple(range(2, states.ndim - 1))) @ out


def conv_lstm(paths, layout, cell, x, space):
    """The states of a convolutional LSTM; `cell` has w and b by `input` and `state`."""

    def step(carry, x):
        h, c = carry
        drive = convolved(x, *cell["input"], layout)
        w, b = cell["state"]
        drive = drive + recurrent(paths, h, w, layout) + b
        i, g, f, o = jnp.split(drive, 4, -1)
        return lstm(paths, (i, f + 1, g, o), c)

    start = jnp.zeros((EXAMPLES, *space, FILTERS))
    return by_time(lax.scan(step, (start, start), by_time(x))[1])


@enter()
def linen_conv_lstm(draw):
    kind = jnp.result_type(float)

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            cell = nn.ConvLSTMCell(FILTERS, (3,), param_dtype=kind, name="cell")
            out = self.param("out", nn.initializers.normal(), (FILTERS, OUTPUTS), kind)
            return read(nn.RNN(cell)(x), out)

    network, (x, y) = Network(), pictures(draw, WIDE)
    params = draw.like(jax.eval_shape(network.init, jax.random.key(0), x))

    def loss(params, x, y):
        return squared(network.apply(params, x), y)

    def rewritten(paths):
        def loss(params, x, y):
            p = params["params"]
            pairs = {"input": p["cell"]["ih"], "state": p["cell"]["hh"]}
            cell = {key: (each["kernel"], each["bias"]) for key, each in pairs.items()}
            states = conv_lstm(paths, ALONG, cell, x, (WIDE,))
            return squared(read(states, p["out"]), y)

        return loss

    return loss, rewritten, params, (x, y)


@enter()
def haiku_conv_lstm(draw):
    def network(x):
        core = hk.Conv2DLSTM((WIDE, 3), FILTERS, (3, 2))
        begin = core.initial_state(EXAMPLES)
        states, _ = hk.dynamic_unroll(core, x, begin, time_major=False)
        shape, start = (FILTERS, OUTPUTS), hk.initializers.RandomNormal()
        return read(states, hk.get_parameter("out", shape, x.dtype, start))

    forward, (x, y) = (
        hk.without_apply_rng(hk.transform(network)),
        pictures(draw, WIDE, 3),
    )
    params = draw.like(jax.eval_shape(forward.init, jax.random.key(0), x))

    def loss(params, x, y):
        return squared(forward.apply(params, x), y)

    def rewritten(paths):
        def loss(params, x, y):
            cell = {}
            for key, name in (("input", "input"), ("state", "hidden")):
                each = params[f"conv2_dlstm/{name}_to_hidden"]
                cell[key] = each["w"], each["b"]
            states = conv_lstm(paths, ACROSS, cell, x, (WIDE, 3))
            (out,) = params["~"].values()
            return squared(read(states, out), y)

        return loss

    return loss, rewritten, params, (x, y)


@enter()
def convolutional_lif(draw):
    """Spiking units on a line, with a recurrent convolution."""

    def loss_of(paths):
        def loss(p, x, y):
            def step(carry, x):
                v, z = carry
                drive = convolved(x, p["in"], p["b"], ALONG)
                drive = drive + recurrent(paths, z, p["rec"], ALONG)
                v = 0.9 * paths.own(v) + drive - lax.stop_gradient(z)
                z = spike(v - 1)
                return (v, z), z

            start = jnp.zeros((EXAMPLES, WIDE, FILTERS))
            states = by_time(lax.scan(step, (start, start), by_time(x))[1])
            return squared(read(states, p["out"]), y)

        return loss

    params = {"in": draw.weight(3, CHANNELS, FILTERS, size=2)}
    params["rec"] = draw.weight(3, FILTERS, FILTERS)
    params |= {"b": draw.normal(FILTERS, size=0.3)}
    params["out"] = draw.weight(FILTERS, OUTPUTS)
    return loss_of(BACKPROPAGATION), loss_of, params, pictures(draw, WIDE)
