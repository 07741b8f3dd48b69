"""The models: ordinary equinox modules that know nothing of learning rules.

A model is called as `model(x, running, training)` and returns the logits and new
running statistics, so that batch norm stays a pure function: statistics come in as an
argument of the loss and leave as its auxiliary output.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

Shape = tuple[int, int, int]


class Classifier(Protocol):
    """What the lab asks of a model; `readout` is its last layer."""

    @property
    def readout(self) -> Any:
        """The layer that the control lets learn."""
        ...

    def __call__(self, x: Array, running: Any, training: bool) -> tuple[Array, Any]:
        """Logits for a batch, and new running statistics."""
        ...


class MLP(eqx.Module):
    """Fully connected layers with ReLU. It has no running statistics."""

    hidden: tuple[eqx.nn.Linear, ...]
    readout: eqx.nn.Linear

    def __init__(self, sizes: tuple[int, ...], key: Array):
        keys = jax.random.split(key, len(sizes) - 1)
        *hidden, self.readout = (
            eqx.nn.Linear(n_in, n_out, key=k)
            for n_in, n_out, k in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )
        self.hidden = tuple(hidden)

    def __call__(self, x: Array, running: tuple, training: bool) -> tuple[Array, tuple]:
        """Logits for pictures `x` of `(examples, channels, height, width)`."""
        h = x.reshape(len(x), -1)
        for layer in self.hidden:
            h = jax.nn.relu(jax.vmap(layer)(h))
        return jax.vmap(self.readout)(h), running


class Block(eqx.Module):
    """Convolution, batch norm, ReLU and 2 x 2 maximum."""

    convolution: eqx.nn.Conv2d
    gain: Array
    bias: Array

    def __init__(self, n_in: int, n_out: int, key: Array):
        # Batch norm takes the mean away: a bias before it would do nothing.
        self.convolution = eqx.nn.Conv2d(
            n_in, n_out, 3, padding=1, use_bias=False, key=key
        )
        self.gain, self.bias = jnp.ones(n_out), jnp.zeros(n_out)

    def __call__(
        self, h: Array, running: "Statistics", training: bool
    ) -> tuple[Array, "Statistics"]:
        """Half as many rows and columns, and the new running statistics."""
        h = jax.vmap(self.convolution)(h)  # (examples, channels, height, width)
        used, running = batch_statistics(h, running, training)
        scale = self.gain * jax.lax.rsqrt(used.variance + 1e-5)
        h = (h - _by_channel(used.mean)) * _by_channel(scale) + _by_channel(self.bias)
        return maximum_of_four(jax.nn.relu(h)), running


class CNN(eqx.Module):
    """Two blocks of convolution with batch norm, and a linear readout."""

    blocks: tuple[Block, ...]
    readout: eqx.nn.Linear

    def __init__(self, shape: Shape, widths: tuple[int, ...], classes: int, key: Array):
        channels, height, width = shape
        *keys, last = jax.random.split(key, len(widths) + 1)
        ends = zip((channels, *widths[:-1]), widths, keys, strict=True)
        self.blocks = tuple(Block(n_in, n_out, k) for n_in, n_out, k in ends)
        halvings = 2 ** len(widths)
        features = widths[-1] * (height // halvings) * (width // halvings)
        self.readout = eqx.nn.Linear(features, classes, key=last)

    def __call__(
        self, x: Array, running: "tuple[Statistics, ...]", training: bool
    ) -> "tuple[Array, tuple[Statistics, ...]]":
        """Logits for pictures `x` of `(examples, channels, height, width)`."""
        h, updated = x, []
        for block, statistics in zip(self.blocks, running, strict=True):
            h, statistics = block(h, statistics, training)
            updated.append(statistics)
        return jax.vmap(self.readout)(h.reshape(len(h), -1)), tuple(updated)


class Statistics(NamedTuple):
    """Mean and variance of each channel."""

    mean: Array
    variance: Array


def batch_statistics(
    h: Array, running: Statistics, training: bool, momentum: float = 0.9
) -> tuple[Statistics, Statistics]:
    """The statistics to normalise with, and the running ones to keep."""
    if not training:
        return running, running
    batch = Statistics(h.mean((0, 2, 3)), h.var((0, 2, 3)))
    kept = jax.tree.map(
        lambda old, new: momentum * old + (1 - momentum) * jax.lax.stop_gradient(new),
        running,
        batch,
    )
    return batch, kept


def maximum_of_four(h: Array) -> Array:
    """Maximum over 2 x 2 squares; an odd last row or column is dropped."""
    n, c, height, width = h.shape
    h = h[:, :, : height // 2 * 2, : width // 2 * 2]
    # Reshape and max: the back-pass of `reduce_window` is some 20 times slower on CPUs.
    return h.reshape(n, c, height // 2, 2, width // 2, 2).max((3, 5))


def _by_channel(v: Array) -> Array:
    return v[:, None, None]


def training_loss(
    model: Classifier, running: Any, x: Array, y: Array
) -> tuple[Array, Any]:
    """Cross-entropy with the statistics of the batch, and new running statistics."""
    logits, running = model(x, running, training=True)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return losses.mean(), running


def evaluation_loss(
    model: Classifier, running: Any, x: Array, y: Array
) -> tuple[Array, Any]:
    """Cross-entropy with the running statistics, which stay as they are."""
    logits, running = model(x, running, training=False)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return losses.mean(), running


class Model(NamedTuple):
    """How to build a model, and how many training steps one compiled call makes."""

    build: Callable[[Array, Shape, int], tuple[Classifier, Any]]
    steps_per_call: int
    convolves: bool = False


def _mlp(key: Array, shape: Shape, classes: int) -> tuple[MLP, tuple]:
    features = shape[0] * shape[1] * shape[2]
    width = 128 if features <= 64 else 256
    return MLP((features, width, width, classes), key), ()


def _cnn(key: Array, shape: Shape, classes: int) -> tuple[CNN, tuple[Statistics, ...]]:
    widths = (8, 16) if shape[1] <= 8 else (16, 32)
    running = tuple(Statistics(jnp.zeros(n), jnp.ones(n)) for n in widths)
    return CNN(shape, widths, classes, key), running


MODELS: dict[str, Model] = {
    "mlp": Model(_mlp, steps_per_call=64),
    # XLA runs convolutions inside a loop 10 to 50 times slower on CPUs.
    "cnn": Model(_cnn, steps_per_call=1, convolves=True),
}
