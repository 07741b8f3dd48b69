"""Parts of models that equinox lacks or that are slow on CPUs: norm, pooling, steps."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array


class Statistics(NamedTuple):
    """Mean and variance of each channel."""

    mean: Array
    variance: Array


class BatchNorm(eqx.Module):
    """Batch norm as a pure function of the running statistics.

        y = gain (x - mean) / sqrt(variance + 1e-5) + bias

    Source: Ioffe & Szegedy 2015.
    """

    gain: Array
    bias: Array

    def __init__(self, channels: int):
        self.gain, self.bias = jnp.ones(channels), jnp.zeros(channels)

    def __call__(
        self, h: Array, running: Statistics, training: bool
    ) -> tuple[Array, Statistics]:
        """Normalise `(examples, channels, height, width)`; new running statistics."""
        used, running = batch_statistics(h, running, training)
        scale = self.gain * jax.lax.rsqrt(used.variance + 1e-5)
        h = (h - _by_channel(used.mean)) * _by_channel(scale) + _by_channel(self.bias)
        return h, running


def no_statistics(channels: int) -> Statistics:
    """Initial statistics: mean 0, variance 1."""
    return Statistics(jnp.zeros(channels), jnp.ones(channels))


def batch_statistics(
    h: Array, running: Statistics, training: bool, momentum: float = 0.9
) -> tuple[Statistics, Statistics]:
    """The statistics to normalise with, and the new running statistics."""
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
    # Reshape and max: the backward pass of `reduce_window` is 20 times slower on CPUs.
    return _squares(h).max((3, 5))


def mean_of_four(h: Array) -> Array:
    """Mean over 2 x 2 squares; an odd last row or column is dropped."""
    return _squares(h).mean((3, 5))


def on_last_axis(layer: eqx.nn.Linear, x: Array) -> Array:
    """Apply a linear layer to the last axis."""
    h = x @ layer.weight.T
    return h if layer.bias is None else h + layer.bias


def in_time_order(x: Array, width: int) -> Array:
    """The steps of characters or sequences, `(time, examples, width)`.

    Args:
        x: characters `(examples, time)`, which become one-hot, or sequences
            `(examples, time, width)`.
        width: the number of characters or channels.
    """
    if jnp.issubdtype(x.dtype, jnp.integer):
        return jax.nn.one_hot(x.T, width)
    return x.swapaxes(0, 1)


def incoming_width(shape: tuple[int, ...], symbols: int) -> int:
    """The width of a step of the input of a recurrent model.

    Args:
        shape: of an example: `(time,)` for characters, `(time, channels)` for
            sequences.
        symbols: the number of characters.
    """
    return shape[1] if len(shape) == 2 else symbols


def _squares(h: Array) -> Array:
    n, c, height, width = h.shape
    h = h[:, :, : height // 2 * 2, : width // 2 * 2]
    return h.reshape(n, c, height // 2, 2, width // 2, 2)


def _by_channel(v: Array) -> Array:
    return v[:, None, None]
