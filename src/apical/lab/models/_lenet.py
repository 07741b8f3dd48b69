"""LeNet-5, adapted to small images.

    5 x 5 convolution to 6, tanh, maximum of four
    5 x 5 convolution to 16, tanh, maximum of four
    120, tanh, 84, tanh, classes

Unlike in the paper, both convolutions keep the size of the image, so that 8 x 8 is not
too small; the second one reads every channel, and the readout is linear.

Source: LeCun, Bottou, Bengio & Haffner 1998.
"""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from apical.lab.models._layers import maximum_of_four
from apical.lab.models._model import Model, require_halvings


class LeNet(eqx.Module):
    """Two convolutions with pooling, and three fully connected layers."""

    convolutions: tuple[eqx.nn.Conv2d, ...]
    layers: tuple[eqx.nn.Linear, ...]

    def __init__(self, shape: tuple[int, ...], classes: int, key: Array):
        channels, height, width = shape
        first, second, *rest = jax.random.split(key, 5)
        self.convolutions = (
            eqx.nn.Conv2d(channels, 6, 5, padding=2, key=first),
            eqx.nn.Conv2d(6, 16, 5, padding=2, key=second),
        )
        widths = (16 * (height // 4) * (width // 4), 120, 84, classes)
        self.layers = tuple(
            eqx.nn.Linear(n_in, n_out, key=k)
            for (n_in, n_out), k in zip(pairwise(widths), rest, strict=True)
        )

    def __call__(self, x: Array) -> Array:
        """Logits for pictures `x` of `(examples, channels, height, width)`."""
        h = x
        for convolution in self.convolutions:
            h = maximum_of_four(jnp.tanh(jax.vmap(convolution)(h)))
        h = h.reshape(len(h), -1)
        *hidden, readout = self.layers
        for layer in hidden:
            h = jnp.tanh(jax.vmap(layer)(h))
        return jax.vmap(readout)(h)


def _build(key: Array, shape: tuple[int, ...], classes: int) -> LeNet:
    require_halvings("lenet", shape, times=2)
    return LeNet(shape, classes, key)


MODEL = Model(_build, reads=("pictures",), steps_per_call=1, convolves=True)
