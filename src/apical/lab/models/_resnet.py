"""Small residual network (ResNet): a stem, three residual blocks, global mean.

    block(h) = relu(shortcut(p) + norm(conv(relu(norm(conv(p))))))
    p = mean_of_four(h)

Every block halves the image and doubles the channels; as in ResNets for large images,
the stem halves it too. The shortcut is a 1 x 1 convolution.

Source: He, Zhang, Ren & Sun 2016.
"""

from itertools import pairwise

import equinox as eqx
import jax
from jax import Array

from apical.lab.models._layers import (
    BatchNorm,
    Statistics,
    maximum_of_four,
    mean_of_four,
    no_statistics,
)
from apical.lab.models._model import Model, require_halvings

Pair = tuple[Statistics, Statistics]


class ResidualBlock(eqx.Module):
    """Two convolutions with batch norm, added to a shortcut."""

    convolutions: tuple[eqx.nn.Conv2d, eqx.nn.Conv2d]
    norms: tuple[BatchNorm, BatchNorm]
    shortcut: eqx.nn.Conv2d

    def __init__(self, n_in: int, n_out: int, key: Array):
        first, second, third = jax.random.split(key, 3)
        self.convolutions = (_three(n_in, n_out, first), _three(n_out, n_out, second))
        self.norms = (BatchNorm(n_out), BatchNorm(n_out))
        self.shortcut = eqx.nn.Conv2d(n_in, n_out, 1, use_bias=False, key=third)

    def __call__(self, h: Array, running: Pair, training: bool) -> tuple[Array, Pair]:
        """Half as many rows and columns, and the new running statistics."""
        # The backward pass of strided convolutions is slow on CPUs.
        h = mean_of_four(h)
        branch = jax.vmap(self.convolutions[0])(h)
        branch, first = self.norms[0](branch, running[0], training)
        branch = jax.vmap(self.convolutions[1])(jax.nn.relu(branch))
        branch, second = self.norms[1](branch, running[1], training)
        return jax.nn.relu(jax.vmap(self.shortcut)(h) + branch), (first, second)


class ResNet(eqx.Module):
    """A stem and three residual blocks, with batch norm."""

    stem: eqx.nn.Conv2d
    norm: BatchNorm
    blocks: tuple[ResidualBlock, ...]
    readout: eqx.nn.Linear

    def __init__(
        self, channels: int, widths: tuple[int, ...], classes: int, key: Array
    ):
        stem, last, *keys = jax.random.split(key, len(widths) + 1)
        self.stem, self.norm = _three(channels, widths[0], stem), BatchNorm(widths[0])
        self.blocks = tuple(
            ResidualBlock(n_in, n_out, k)
            for (n_in, n_out), k in zip(pairwise(widths), keys, strict=True)
        )
        self.readout = eqx.nn.Linear(widths[-1], classes, key=last)

    def __call__(
        self, x: Array, running: tuple[Statistics, tuple[Pair, ...]], training: bool
    ) -> tuple[Array, tuple[Statistics, tuple[Pair, ...]]]:
        """Logits for pictures `x` of `(examples, channels, height, width)`."""
        stem, pairs = running
        h, stem = self.norm(jax.vmap(self.stem)(x), stem, training)
        h, updated = jax.nn.relu(h), []
        if min(h.shape[2:]) >= 16:  # smaller images are not halved
            h = maximum_of_four(h)
        for block, pair in zip(self.blocks, pairs, strict=True):
            h, pair = block(h, pair, training)
            updated.append(pair)
        return jax.vmap(self.readout)(h.mean((2, 3))), (stem, tuple(updated))


def _three(n_in: int, n_out: int, key: Array) -> eqx.nn.Conv2d:
    return eqx.nn.Conv2d(n_in, n_out, 3, padding=1, use_bias=False, key=key)


def _build(
    key: Array, shape: tuple[int, ...], classes: int
) -> tuple[ResNet, tuple[Statistics, tuple[Pair, ...]]]:
    require_halvings("resnet", shape, times=3)
    widths = (8, 16, 32, 64)
    pairs = tuple((no_statistics(width), no_statistics(width)) for width in widths[1:])
    return ResNet(shape[0], widths, classes, key), (no_statistics(widths[0]), pairs)


MODEL = Model(_build, reads=("pictures",), steps_per_call=1, convolves=True)
