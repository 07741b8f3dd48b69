"""The networks of Millidge, Tschantz & Buckley 2020.

pictures   6 of 5 x 5, maximum of four, 16 of 5 x 5, 200, 150, classes; ReLU
names      h[t] = tanh(W x[t] + U h[t-1] + b), 256 of them; classes from the last
text       a long short-term memory of 1056 cells: the lab's own, in another width
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from apical.lab.models._layers import maximum_of_four, on_last_axis
from apical.lab.models._lstm import LSTM
from apical.lab.models._mlp import MLP

LETTERS = 57  # upper and lower case and five marks


class ConvolutionalNet(eqx.Module):
    """Two convolutions without padding and three fully connected layers."""

    convolutions: tuple[eqx.nn.Conv2d, eqx.nn.Conv2d]
    layers: MLP

    def __init__(self, shape: tuple[int, ...], classes: int, key: Array):
        channels, height, width = shape
        first, second, rest = jax.random.split(key, 3)
        self.convolutions = (
            eqx.nn.Conv2d(channels, 6, 5, key=first),
            eqx.nn.Conv2d(6, 16, 5, key=second),
        )
        features = 16 * ((height - 4) // 2 - 4) * ((width - 4) // 2 - 4)
        self.layers = MLP((features, 200, 150, classes), rest)

    def __call__(self, x: Array) -> Array:
        """Logits for pictures `x` of `(examples, channels, height, width)`."""
        first, second = self.convolutions
        h = maximum_of_four(jax.nn.relu(jax.vmap(first)(x)))
        return self.layers(jax.nn.relu(jax.vmap(second)(h)))


class RecurrentNet(eqx.Module):
    """A recurrent network that reads letters and classifies the whole."""

    incoming: eqx.nn.Linear
    recurrent: eqx.nn.Linear
    readout: eqx.nn.Linear
    unrolled: bool = eqx.field(static=True)

    def __init__(self, width: int, classes: int, key: Array, unrolled: bool = False):
        first, second, third = jax.random.split(key, 3)
        self.incoming = eqx.nn.Linear(LETTERS, width, key=first)
        self.recurrent = eqx.nn.Linear(width, width, use_bias=False, key=second)
        self.readout = eqx.nn.Linear(width, classes, key=third)
        self.unrolled = unrolled

    def __call__(self, x: Array) -> Array:
        """Logits `(examples, classes)` for letters `(examples, time)`."""

        def step(h: Array, incoming: Array) -> tuple[Array, None]:
            return jnp.tanh(incoming + on_last_axis(self.recurrent, h)), None

        incoming = on_last_axis(self.incoming, jax.nn.one_hot(x.T, LETTERS))
        h = jnp.zeros((len(x), self.recurrent.weight.shape[1]))
        if self.unrolled:  # a node for each time step
            for each in incoming:
                h, _ = step(h, each)
        else:
            h, _ = jax.lax.scan(step, h, incoming)
        return jax.vmap(self.readout)(h)


def convolutional_net(
    key: Array, shape: tuple[int, ...], classes: int
) -> ConvolutionalNet:
    """The network for pictures; a builder, as the lab expects of models."""
    return ConvolutionalNet(shape, classes, key)


def recurrent_net(width: int, unrolled: bool = False):
    """A builder of the network for names, in this width."""

    def build(key: Array, shape: tuple[int, ...], classes: int) -> RecurrentNet:
        del shape
        return RecurrentNet(width, classes, key, unrolled)

    return build


def lstm_net(width: int):
    """A builder of the network for text, in this width."""

    def build(key: Array, shape: tuple[int, ...], classes: int) -> LSTM:
        del shape
        return LSTM(classes, width, classes, key)

    return build
