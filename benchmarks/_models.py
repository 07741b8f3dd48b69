"""The models that are timed: ordinary JAX loss functions over plain pytrees.

Each is written as a user would write it, without any apical code. Data and
labels are random, since only time is measured; their scales are those of a fresh
network, so that no activity underflows (denormal numbers are slow on a CPU).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@dataclass(frozen=True)
class Model:
    """A loss function with the parameters and the batch that it is timed on."""

    name: str
    loss: Callable[..., jax.Array]
    params: Any
    args: tuple[jax.Array, jax.Array]
    convolutional: bool = False


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean over all leading axes of the softmax cross-entropy."""
    scores = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(scores, labels[..., None], axis=-1))


def multilayer_loss(
    params: list[dict[str, jax.Array]],
    x: jax.Array,
    labels: jax.Array,
    activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
) -> jax.Array:
    """Dense layers with a nonlinearity between them."""
    h = x
    for layer in params[:-1]:
        h = activation(affine(layer, h))
    return cross_entropy(affine(params[-1], h), labels)


def lenet_loss(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    """LeNet-5 on colour images: two convolutions, then three dense layers."""
    h = _pool(jax.nn.relu(_convolve(params["conv1"], x)))  # (N, 14, 14, 6)
    h = _pool(jax.nn.relu(_convolve(params["conv2"], h)))  # (N, 5, 5, 16)
    return multilayer_loss(params["dense"], h.reshape(h.shape[0], -1), labels)


def lstm_loss(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    """An LSTM read at its last step; the time loop is one `lax.scan`."""

    def step(carry: Any, x_t: jax.Array) -> tuple[Any, None]:
        h, c = carry
        gates = x_t @ params["input"] + h @ params["hidden"] + params["bias"]
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zero = jnp.zeros((x.shape[0], params["hidden"].shape[0]))
    (h, _), _ = lax.scan(step, (zero, zero), jnp.swapaxes(x, 0, 1))
    return cross_entropy(affine(params["readout"], h), labels)


def transformer_loss(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    """One pre-norm block between a projection and a class for every token."""
    h = block_output(params, affine(params["embed"], x))  # (N, T, width)
    return cross_entropy(affine(params["readout"], h), labels)


def block_output(block: Any, h: jax.Array) -> jax.Array:
    """A pre-norm block: attention of four heads, and two dense layers with GELU."""
    h = h + _attention(block, normalise(block["norm1"], h))
    hidden = jax.nn.gelu(affine(block["up"], normalise(block["norm2"], h)))
    return h + affine(block["down"], hidden)


def affine(layer: Any, h: jax.Array) -> jax.Array:
    """A dense layer."""
    return h @ layer["w"] + layer["b"]


def _convolve(layer: Any, h: jax.Array) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    out = lax.conv_general_dilated(
        h, layer["w"], (1, 1), "VALID", dimension_numbers=numbers
    )
    return out + layer["b"]


def _pool(h: jax.Array) -> jax.Array:
    """The maximum over squares of two by two.

    By reshape and max: the backward pass of `reduce_window` is select-and-scatter, and
    on XLA:CPU takes longer than all the rest of this network together, in backprop
    and in every rule, and would dominate the measurement.
    """
    n, height, width, channels = h.shape
    return h.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def normalise(layer: Any, h: jax.Array) -> jax.Array:
    """Layer normalisation."""
    mean = h.mean(axis=-1, keepdims=True)
    variance = jnp.square(h - mean).mean(axis=-1, keepdims=True)
    return (h - mean) * lax.rsqrt(variance + 1e-5) * layer["gain"] + layer["b"]


def _attention(params: Any, h: jax.Array, heads: int = 4) -> jax.Array:
    n, t, width = h.shape

    def project(name: str) -> jax.Array:
        return affine(params[name], h).reshape(n, t, heads, width // heads)

    query, key, value = project("query"), project("key"), project("value")
    scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) / (width // heads) ** 0.5
    mixed = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), value)
    return affine(params["mix"], mixed.reshape(n, t, width))


def transformer_block(rng: np.random.Generator, width: int) -> dict[str, Any]:
    """The parameters of one block."""
    square = ("query", "key", "value", "mix")
    norm = {"gain": jnp.ones(width), "b": jnp.zeros(width)}
    return {
        **{name: dense(rng, width, width, gain=1.0) for name in square},
        "up": dense(rng, width, 4 * width),
        "down": dense(rng, 4 * width, width, gain=1.0),
        "norm1": norm,
        "norm2": norm,
    }


def weights(rng: np.random.Generator, *shape: int, gain: float = 2.0) -> jax.Array:
    """Normal numbers with the variance gain / fan-in."""
    scale = (gain / np.prod(shape[:-1])) ** 0.5
    return jnp.asarray(scale * rng.standard_normal(shape), jnp.float32)


def dense(
    rng: np.random.Generator, rows: int, columns: int, gain: float = 2.0
) -> dict[str, jax.Array]:
    """A dense layer without bias at first."""
    w = weights(rng, rows, columns, gain=gain)
    return {"w": w, "b": jnp.zeros(columns)}


def random_batch(
    rng: np.random.Generator, shape: tuple[int, ...], labels: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Normal numbers, and labels of ten classes."""
    x = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    return x, jnp.asarray(rng.integers(0, 10, labels))


def _multilayer(name: str, sizes: list[int], batch: int = 128) -> Model:
    rng = np.random.default_rng(0)
    pairs = itertools.pairwise(sizes)
    params = [dense(rng, rows, columns) for rows, columns in pairs]
    args = random_batch(rng, (batch, sizes[0]), (batch,))
    return Model(name, multilayer_loss, params, args)


def _lenet() -> Model:
    rng = np.random.default_rng(0)
    sizes = [(400, 120), (120, 84), (84, 10)]
    params = {
        "conv1": {"w": weights(rng, 5, 5, 3, 6), "b": jnp.zeros(6)},
        "conv2": {"w": weights(rng, 5, 5, 6, 16), "b": jnp.zeros(16)},
        "dense": [dense(rng, *size) for size in sizes],
    }
    args = random_batch(rng, (64, 32, 32, 3), (64,))
    return Model("cnn", lenet_loss, params, args, True)


def _lstm() -> Model:
    rng = np.random.default_rng(0)
    params = {
        "input": weights(rng, 64, 512, gain=1.0),
        "hidden": weights(rng, 128, 512, gain=1.0),
        "bias": jnp.zeros(512),
        "readout": dense(rng, 128, 10),
    }
    return Model("lstm", lstm_loss, params, random_batch(rng, (64, 32, 64), (64,)))


def _transformer() -> Model:
    rng = np.random.default_rng(0)
    params = {
        "embed": dense(rng, 32, 128, gain=1.0),
        **transformer_block(rng, 128),
        "readout": dense(rng, 128, 10),
    }
    args = random_batch(rng, (8, 64, 32), (8, 64))
    return Model("transformer", transformer_loss, params, args)


MODELS: dict[str, Callable[[], Model]] = {
    "mlp": lambda: _multilayer("mlp", [784, 256, 256, 10]),
    "cnn": _lenet,
    "lstm": _lstm,
    "transformer": _transformer,
    "deep": lambda: _multilayer("deep", [128] * 20 + [10]),
    "digits": lambda: _multilayer("digits", [64, 128, 128, 10]),
}
