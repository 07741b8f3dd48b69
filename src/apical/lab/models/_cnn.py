"""Convolutional network (CNN): two blocks with batch norm, and a linear readout."""

import equinox as eqx
import jax
from jax import Array

from apical.lab.models._layers import (
    BatchNorm,
    Statistics,
    maximum_of_four,
    no_statistics,
)
from apical.lab.models._model import Model, require_halvings


class Block(eqx.Module):
    """Convolution, batch norm, ReLU and 2 x 2 maximum."""

    convolution: eqx.nn.Conv2d
    norm: BatchNorm

    def __init__(self, n_in: int, n_out: int, key: Array):
        # Batch norm takes the mean away: a bias before it would do nothing.
        self.convolution = eqx.nn.Conv2d(
            n_in, n_out, 3, padding=1, use_bias=False, key=key
        )
        self.norm = BatchNorm(n_out)

    def __call__(
        self, h: Array, running: Statistics, training: bool
    ) -> tuple[Array, Statistics]:
        """Half as many rows and columns, and the new running statistics."""
        h = jax.vmap(self.convolution)(h)  # (examples, channels, height, width)
        h, running = self.norm(h, running, training)
        return maximum_of_four(jax.nn.relu(h)), running


class CNN(eqx.Module):
    """Two blocks of convolution with batch norm, and a linear readout."""

    blocks: tuple[Block, ...]
    readout: eqx.nn.Linear

    def __init__(
        self, shape: tuple[int, ...], widths: tuple[int, ...], classes: int, key: Array
    ):
        channels, height, width = shape
        *keys, last = jax.random.split(key, len(widths) + 1)
        ends = zip((channels, *widths[:-1]), widths, keys, strict=True)
        self.blocks = tuple(Block(n_in, n_out, k) for n_in, n_out, k in ends)
        halvings = 2 ** len(widths)
        features = widths[-1] * (height // halvings) * (width // halvings)
        self.readout = eqx.nn.Linear(features, classes, key=last)

    def __call__(
        self, x: Array, running: tuple[Statistics, ...], training: bool
    ) -> tuple[Array, tuple[Statistics, ...]]:
        """Logits for pictures `x` of `(examples, channels, height, width)`."""
        h, updated = x, []
        for block, statistics in zip(self.blocks, running, strict=True):
            h, statistics = block(h, statistics, training)
            updated.append(statistics)
        return jax.vmap(self.readout)(h.reshape(len(h), -1)), tuple(updated)


def _build(
    key: Array, shape: tuple[int, ...], classes: int
) -> tuple[CNN, tuple[Statistics, ...]]:
    require_halvings("cnn", shape, times=2)
    widths = (8, 16) if shape[1] <= 8 else (16, 32)
    running = tuple(no_statistics(width) for width in widths)
    return CNN(shape, widths, classes, key), running


MODEL = Model(_build, reads=("pictures",), steps_per_call=1, convolves=True)
