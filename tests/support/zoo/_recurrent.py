"""Models with a loop: through time, through depth, and one inside the other."""

import jax
import jax.numpy as jnp
from jax import lax

from ._bare import dense, layer, layers
from ._model import Draw, Model, cross_entropy, enter, squared

RECURRENT: dict[str, Model] = {}
BATCH, TIME, WIDE, HIDDEN = 4, 5, 3, 6


def series(draw: Draw) -> tuple[jax.Array, jax.Array]:
    return draw.normal(BATCH, TIME, WIDE), draw.normal(BATCH, 2)


def unrolled(step, width: int, x: jax.Array, carries: int = 1):
    """Scan `step` over the time axis of `x`, from zeros."""
    zeros = (jnp.zeros((x.shape[0], width), x.dtype),) * carries
    start = zeros[0] if carries == 1 else zeros
    return lax.scan(step, start, jnp.swapaxes(x, 0, 1))


@enter(RECURRENT, synapses=3)
def rnn(draw):
    def loss(params, x, y):
        def step(h, x):
            return jnp.tanh(h @ params["u"] + dense(params["in"], x)), None

        return squared(dense(params["out"], unrolled(step, HIDDEN, x)[0]), y)

    params = {"in": layer(draw, WIDE, HIDDEN), "u": draw.weight(HIDDEN, HIDDEN)}
    return loss, params | {"out": layer(draw, HIDDEN, 2)}, series(draw)


@enter(RECURRENT, synapses=7)
def gru(draw):
    """A read-out at every step; three gates with two weights each."""

    def loss(params, x, y):
        def gate(name, x, h):
            return dense(params[name], x) + h @ params[name]["u"]

        def step(h, x):
            update = jax.nn.sigmoid(gate("update", x, h))
            reset = jax.nn.sigmoid(gate("reset", x, h))
            h = (1 - update) * h + update * jnp.tanh(gate("new", x, reset * h))
            return h, h

        _, states = unrolled(step, HIDDEN, x)
        out = dense(params["out"], states)  # (time, batch, 2)
        return squared(jnp.swapaxes(out, 0, 1), y)

    params = {name: layer(draw, WIDE, HIDDEN) for name in ("update", "reset", "new")}
    for name in params:
        params[name]["u"] = draw.weight(HIDDEN, HIDDEN)
    args = (draw.normal(BATCH, TIME, WIDE), draw.normal(BATCH, TIME, 2))
    return loss, params | {"out": layer(draw, HIDDEN, 2)}, args


def lstm_cell(gates: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array]:
    i, f, o, g = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def fused_step(params: dict[str, jax.Array]):
    def step(carry, x):
        h, c = carry
        h, c = lstm_cell(dense(params, jnp.concatenate([x, h], axis=-1)), c)
        return (h, c), h

    return step


@enter(RECURRENT, synapses=2)
def lstm(draw):
    """One matrix for the four gates, over the input and the state side by side."""

    def loss(params, x, y):
        (h, _), _ = unrolled(fused_step(params["cell"]), HIDDEN, x, 2)
        return squared(dense(params["out"], h), y)

    params = {"cell": layer(draw, WIDE + HIDDEN, 4 * HIDDEN)}
    return loss, params | {"out": layer(draw, HIDDEN, 2)}, series(draw)


@enter(RECURRENT, synapses=3)
def lstm_hoisted(draw):
    """The input is projected for all steps at once, before the loop."""

    def loss(params, x, y):
        def step(carry, drive):
            h, c = lstm_cell(drive + carry[0] @ params["u"], carry[1])
            return (h, c), None

        (h, _), _ = unrolled(step, HIDDEN, dense(params["in"], x), 2)
        return squared(dense(params["out"], h), y)

    params = {"in": layer(draw, WIDE, 4 * HIDDEN)}
    params |= {"u": draw.weight(HIDDEN, 4 * HIDDEN), "out": layer(draw, HIDDEN, 2)}
    return loss, params, series(draw)


@enter(RECURRENT, synapses=3)
def lstm_stacked(draw):
    """Two loops, one after the other; the states of the first feed the second."""

    def loss(params, x, labels):
        _, lower = unrolled(fused_step(params["lower"]), HIDDEN, x, 2)
        lower = jnp.swapaxes(lower, 0, 1)
        (h, _), _ = unrolled(fused_step(params["upper"]), 7, lower, 2)
        return cross_entropy(dense(params["out"], h), labels)

    params = {"lower": layer(draw, WIDE + HIDDEN, 4 * HIDDEN)}
    params |= {"upper": layer(draw, HIDDEN + 7, 28), "out": layer(draw, 7, 3)}
    args = (draw.normal(BATCH, TIME, WIDE), draw.ids(BATCH, below=3))
    return loss, params, args


def stack(draw: Draw, transform):
    """Three residual layers whose parameters are scanned over."""

    def loss(params, x, y):
        def body(stream, each):
            drive = stream @ each["up"] + each["b"]
            return stream + 0.5 * jnp.tanh(drive) @ each["down"], None

        stream, _ = lax.scan(
            transform(body), dense(params["embed"], x), params["blocks"]
        )
        return squared(dense(params["out"], jnp.tanh(stream)), y)

    blocks = {"up": draw.weight(3, 6, 7, fan_in=6), "b": draw.bias(3, 7)}
    blocks |= {"down": draw.weight(3, 7, 6, fan_in=7)}
    params = {"embed": layer(draw, 5, 6), "blocks": blocks, "out": layer(draw, 6, 2)}
    return loss, params, (draw.normal(4, 5), draw.normal(4, 2))


@enter(RECURRENT, synapses=4)
def scanned_stack(draw):
    """Residual layers, their parameters stacked and scanned over."""
    return stack(draw, lambda body: body)


@enter(RECURRENT, synapses=4)
def scanned_stack_remat(draw):
    """The same with the body recomputed in the backward pass."""
    return stack(draw, jax.checkpoint)


@enter(RECURRENT, synapses=5)
def nested_scan(draw):
    """A loop over two layers inside a loop over time."""

    def loss(params, x, y):
        def through(h, each):
            return jnp.tanh(dense(each, h)), None

        def step(h, x):
            mixed = jnp.tanh(h @ params["u"] + dense(params["in"], x))
            h, _ = lax.scan(through, mixed, params["blocks"])
            return h, dense(params["side"], h)

        h, side = unrolled(step, HIDDEN, x)
        return squared(dense(params["out"], h) + jnp.mean(side, axis=0), y)

    blocks = {"w": draw.weight(2, HIDDEN, HIDDEN, fan_in=HIDDEN)}
    blocks |= {"b": draw.bias(2, HIDDEN)}
    params = {"in": layer(draw, WIDE, HIDDEN), "u": draw.weight(HIDDEN, HIDDEN)}
    params |= {"blocks": blocks, "side": layer(draw, HIDDEN, 2)}
    return loss, params | {"out": layer(draw, HIDDEN, 2)}, series(draw)


@enter(RECURRENT, synapses=4)
def rnn_over_examples(draw):
    """A recurrent loss of one example, mapped over the batch: scan in vmap."""

    def example(params, x, y):
        def step(h, x):
            return jnp.tanh(h @ params["u"] + dense(params["in"], x)), None

        h, _ = lax.scan(step, jnp.zeros(HIDDEN, x.dtype), x)
        for each in params["out"]:
            h = dense(each, jax.nn.softplus(h))
        return 0.5 * jnp.sum((h - y) ** 2)

    def loss(params, x, y):
        return jnp.mean(jax.vmap(example, in_axes=(None, 0, 0))(params, x, y))

    params = {"in": layer(draw, WIDE, HIDDEN), "u": draw.weight(HIDDEN, HIDDEN)}
    return loss, params | {"out": layers(draw, HIDDEN, 5, 2)}, series(draw)
