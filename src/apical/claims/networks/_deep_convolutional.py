"""Any number of convolutions with tanh and a readout."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

_HALVINGS = 2  # by the first layers: pictures of 32 x 32 then have 8 x 8 places


class DeepConvolutionalNet(eqx.Module):
    """Convolutions of 3 x 3 with tanh, of which the first two halve the picture.

    Weights are normal with variance 1 / (number of inputs) and biases are 0, so that
    activities neither grow nor vanish with depth. The readout is of whole pictures of
    the last layer.
    """

    convolutions: tuple[eqx.nn.Conv2d, ...]
    readout: eqx.nn.Linear

    def __init__(
        self, shape: tuple[int, ...], layers: int, width: int, classes: int, key: Array
    ):
        channels, height, _ = shape
        *keys, last = jax.random.split(key, layers + 1)
        made = []
        for place, own in enumerate(keys):
            stride = 2 if place < _HALVINGS else 1
            height = -(-height // stride)
            layer = eqx.nn.Conv2d(channels, width, 3, stride=stride, padding=1, key=own)
            made.append(_normal(layer, 9 * channels, own))
            channels = width
        self.convolutions = tuple(made)
        features = width * height**2
        self.readout = _normal(
            eqx.nn.Linear(features, classes, key=last), features, last
        )

    def __call__(self, x: Array) -> Array:
        """Logits for square pictures `x` of `(examples, channels, height, width)`."""
        h = x
        for layer in self.convolutions:
            h = jnp.tanh(jax.vmap(layer)(h))
        return jax.vmap(self.readout)(h.reshape(len(h), -1))


def deep_convolutional_net(
    layers: int, width: int
) -> Callable[..., DeepConvolutionalNet]:
    """A builder of a network with this many convolutions, of this many channels."""
    return lambda key, shape, classes: DeepConvolutionalNet(
        shape, layers, width, classes, key
    )


def _normal(layer: Any, inputs: int, key: Array) -> Any:
    weight = jax.random.normal(key, layer.weight.shape) / math.sqrt(inputs)
    parts = (weight, jnp.zeros_like(layer.bias))
    return eqx.tree_at(lambda made: (made.weight, made.bias), layer, parts)
