"""A residual network, with or without depth scaling (Innocenti et al. 2025)."""

import math
from collections.abc import Callable
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

import apical


class ResidualNet(eqx.Module):
    """Each layer adds a branch `W relu(h)` to the stream h, whose values are nodes.

    Attributes:
        weights: into the stream, of the branches, and out of the stream.
        factors: what each weight is multiplied by.
    """

    weights: tuple[Array, ...]
    factors: tuple[float, ...] = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        """Logits for `x` of `(examples, ...)`."""
        pairs = zip(self.factors, self.weights, strict=True)
        first, *branches, last = (factor * weight for factor, weight in pairs)
        h = apical.node(x.reshape(len(x), -1) @ first, "stream 0")
        for i, weight in enumerate(branches, start=1):
            h = apical.node(h + jax.nn.relu(h) @ weight, f"stream {i}")
        return h @ last


def residual_net(branches: int, width: int, scaled: bool) -> Callable[..., ResidualNet]:
    """A builder of a network with this number of branches, scaled or as drawn."""

    def build(key: Array, shape: tuple[int, ...], classes: int) -> ResidualNet:
        sizes = (math.prod(shape), *(width,) * (branches + 1), classes)
        keys = jax.random.split(key, len(sizes) - 1)
        weights = tuple(
            jax.random.normal(k, pair) / math.sqrt(pair[0])
            for k, pair in zip(keys, pairwise(sizes), strict=True)
        )
        net = ResidualNet(weights, (1.0,) * len(weights))
        return _scaled(net, sizes[0]) if scaled else net

    return build


def _scaled(net: ResidualNet, inputs: int) -> ResidualNet:
    def loss_fn(weights: tuple[Array, ...], x: Array) -> Array:
        return jnp.mean(ResidualNet(weights, net.factors)(x) ** 2)

    found = apical.depth_scaled(loss_fn, net.weights, jnp.zeros((1, inputs)))
    return ResidualNet(found.params, tuple(found.factors.values()))
