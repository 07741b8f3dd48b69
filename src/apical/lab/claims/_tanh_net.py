"""Fully connected layers of tanh, in any number."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array


class TanhNet(eqx.Module):
    """As many layers as asked for, the readout among them, without biases at first.

    Weights are normal with variance 1 / (number of inputs), so that activities neither
    grow nor vanish with depth.
    """

    layers: tuple[eqx.nn.Linear, ...]

    def __init__(self, sizes: tuple[int, ...], key: Array):
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(
            _layer(n_in, n_out, k)
            for n_in, n_out, k in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )

    def __call__(self, x: Array) -> Array:
        """Logits for `x` of `(examples, ...)`."""
        h = x.reshape(len(x), -1)
        *hidden, readout = self.layers
        for layer in hidden:
            h = jnp.tanh(jax.vmap(layer)(h))
        return jax.vmap(readout)(h)


def tanh_net(layers: int, width: int) -> Callable[..., TanhNet]:
    """What makes a network with so many layers of weights."""

    def build(key: Array, shape: tuple[int, ...], classes: int) -> TanhNet:
        hidden = (width,) * (layers - 1)
        return TanhNet((math.prod(shape), *hidden, classes), key)

    return build


def _layer(n_in: int, n_out: int, key: Array) -> eqx.nn.Linear:
    layer = eqx.nn.Linear(n_in, n_out, key=key)
    weight = jax.random.normal(key, (n_out, n_in)) / math.sqrt(n_in)
    parts = (weight, jnp.zeros(n_out))
    return eqx.tree_at(lambda made: (made.weight, made.bias), layer, parts)
