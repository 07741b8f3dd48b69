"""Feed-forward models written with plain arrays."""

from itertools import pairwise

import jax
import jax.numpy as jnp
from jax import lax

from ._model import Draw, Model, cross_entropy, enter, squared

BARE: dict[str, Model] = {}
CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")


def dense(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return x @ params["w"] + params["b"]


def layer(draw: Draw, rows: int, columns: int) -> dict[str, jax.Array]:
    return {"w": draw.weight(rows, columns), "b": draw.bias(columns)}


def layers(draw: Draw, *widths: int) -> list[dict[str, jax.Array]]:
    return [layer(draw, rows, columns) for rows, columns in pairwise(widths)]


def normalised(x: jax.Array) -> jax.Array:
    mean = jnp.mean(x, axis=-1, keepdims=True)
    return (x - mean) * lax.rsqrt(jnp.var(x, axis=-1, keepdims=True) + 1e-3)


def layer_norm(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return params["gain"] * normalised(x) + params["shift"]


def gains(draw: Draw, width: int) -> dict[str, jax.Array]:
    return {"gain": draw.gain(width), "shift": draw.bias(width)}


@enter(BARE, synapses=3)
def mlp_tanh(draw):
    def loss(params, x, y):
        for each in params[:-1]:
            x = jnp.tanh(dense(each, x))
        return squared(dense(params[-1], x), y)

    return loss, layers(draw, 5, 7, 6, 3), (draw.normal(4, 5), draw.normal(4, 3))


@enter(BARE, synapses=3)
def mlp_relu(draw):
    """Softmax and cross-entropy on integer labels."""

    def loss(params, x, labels):
        for each in params[:-1]:
            x = jax.nn.relu(dense(each, x))
        return cross_entropy(dense(params[-1], x), labels)

    return loss, layers(draw, 6, 8, 7, 3), (draw.normal(5, 6), draw.ids(5, below=3))


@enter(BARE, synapses=3)
def array_list(draw):
    """Parameters are a list of bare arrays, weights and biases in turn."""

    def loss(params, x, y):
        w1, b1, w2, b2, w3 = params
        return squared(jax.nn.gelu(jnp.tanh(x @ w1 + b1) @ w2 + b2) @ w3, y)

    weights = [draw.weight(5, 6), draw.bias(6), draw.weight(6, 7), draw.bias(7)]
    args = (draw.normal(4, 5), draw.normal(4, 2))
    return loss, [*weights, draw.weight(7, 2)], args


@enter(BARE, synapses=6)
def mlp_residual(draw):
    """Two blocks on a stream of width 6 that no synapse's output owns."""

    def loss(params, x, y):
        stream = dense(params["embed"], x)
        for up, down in params["blocks"]:
            stream = stream + dense(down, jnp.tanh(dense(up, stream)))
        return squared(dense(params["out"], stream), y)

    blocks = [tuple(layers(draw, 6, 7, 6)) for _ in range(2)]
    params = {"embed": layer(draw, 5, 6), "blocks": blocks, "out": layer(draw, 6, 3)}
    return loss, params, (draw.normal(4, 5), draw.normal(4, 3))


@enter(BARE, synapses=3)
def mlp_layer_norm(draw):
    def loss(params, x, y):
        h = jnp.tanh(layer_norm(params["norm1"], dense(params["in"], x)))
        h = jax.nn.gelu(layer_norm(params["norm2"], dense(params["mid"], h)))
        return squared(dense(params["out"], h), y)

    params = {"in": layer(draw, 5, 7), "norm1": gains(draw, 7)}
    params |= {"mid": layer(draw, 7, 6), "norm2": gains(draw, 6)}
    params |= {"out": layer(draw, 6, 3)}
    return loss, params, (draw.normal(4, 5), draw.normal(4, 3))


def convolve(weight: jax.Array, x: jax.Array, **options) -> jax.Array:
    options = {"window_strides": (1, 1), "padding": "SAME", **options}
    return lax.conv_general_dilated(
        x, weight, dimension_numbers=CHANNELS_LAST, **options
    )


def pooled(x: jax.Array, operation: str) -> jax.Array:
    window = ((1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    if operation == "max":
        return lax.reduce_window(x, -jnp.inf, lax.max, *window)
    return lax.reduce_window(x, 0.0, lax.add, *window) / 4


def batch_norm(params: dict, running: dict, x: jax.Array) -> tuple[jax.Array, dict]:
    """Normalise by the batch at hand, and return the moved running statistics."""
    axes = tuple(range(x.ndim - 1))
    found = {"mean": jnp.mean(x, axes), "var": jnp.var(x, axes)}
    moved = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, running, found)
    scaled = (x - found["mean"]) * lax.rsqrt(found["var"] + 1e-3)
    return params["gain"] * scaled + params["shift"], moved


def running(*widths: int) -> list[dict[str, jax.Array]]:
    return [{"mean": jnp.zeros(width), "var": jnp.ones(width)} for width in widths]


@enter(BARE, synapses=4, batch_axes=(None, 0, 0), has_aux=True, separable=False)
def conv_batch_norm(draw):
    """Stride, groups, dilation, max and average pooling; statistics in aux."""

    def loss(params, stats, x, labels):
        h = convolve(params["strided"], x, window_strides=(1, 2), padding="VALID")
        h, first = batch_norm(params["norm1"], stats[0], h)
        h = pooled(jnp.tanh(h), "max")
        h = convolve(params["grouped"], h, feature_group_count=2)
        h, second = batch_norm(params["norm2"], stats[1], h)
        h = convolve(params["dilated"], jax.nn.gelu(h), rhs_dilation=(2, 1))
        h = pooled(jnp.tanh(h + params["bias"]), "mean")
        logits = dense(params["out"], h.reshape(h.shape[0], -1))
        return cross_entropy(logits, labels), [first, second]

    params = {"strided": draw.weight(3, 3, 2, 4), "norm1": gains(draw, 4)}
    params |= {"grouped": draw.weight(2, 2, 2, 6), "norm2": gains(draw, 6)}
    params |= {"dilated": draw.weight(2, 3, 6, 5), "bias": draw.bias(5)}
    params |= {"out": layer(draw, 10, 3)}
    args = (running(4, 6), draw.normal(4, 10, 9, 2), draw.ids(4, below=3))
    return loss, params, args


@enter(BARE, synapses=5, batch_axes=(None, 0, 0), has_aux=True, separable=False)
def conv_residual(draw):
    """A block with a projection on its skip, batch norm before each activation."""

    def loss(params, stats, x, y):
        stream = jnp.tanh(convolve(params["stem"], x) + params["bias"])
        h = convolve(params["conv1"], stream, window_strides=(2, 2))
        h, first = batch_norm(params["norm1"], stats[0], h)
        h, second = batch_norm(
            params["norm2"], stats[1], convolve(params["conv2"], jnp.tanh(h))
        )
        skip = convolve(params["skip"], stream, window_strides=(2, 2))
        h = jnp.mean(jnp.tanh(h + skip), axis=(1, 2))
        return squared(dense(params["out"], h), y), {"running": [first, second]}

    params = {"stem": draw.weight(3, 3, 2, 4), "bias": draw.bias(4)}
    params |= {"conv1": draw.weight(3, 3, 4, 5), "norm1": gains(draw, 5)}
    params |= {"conv2": draw.weight(3, 3, 5, 6), "norm2": gains(draw, 6)}
    params |= {"skip": draw.weight(1, 1, 4, 6), "out": layer(draw, 6, 3)}
    return loss, params, (running(5, 6), draw.normal(4, 6, 7, 2), draw.normal(4, 3))
