"""Fully connected nets of the claims, with and without batch norm."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

import apical
from apical.lab.models._layers import (
    BatchNorm,
    Statistics,
    maximum_of_four,
    no_statistics,
    on_last_axis,
)
from apical.lab.models._lstm import LSTM
from apical.lab.models._mlp import MLP


class NormedMLP(eqx.Module):
    """Fully connected layers, each with batch norm before its ReLU."""

    hidden: tuple[eqx.nn.Linear, ...]
    norms: tuple[BatchNorm, ...]
    readout: eqx.nn.Linear

    def __init__(self, sizes: tuple[int, ...], key: Array):
        *hidden, self.readout = _layers(sizes, key)
        self.hidden = tuple(hidden)
        self.norms = tuple(BatchNorm(width) for width in sizes[1:-1])

    def __call__(
        self, x: Array, running: tuple[Statistics, ...], training: bool
    ) -> tuple[Array, tuple[Statistics, ...]]:
        """Logits for `x` of `(examples, ...)`, and the new running statistics."""
        h, updated = x.reshape(len(x), -1), []
        for layer, norm, old in zip(self.hidden, self.norms, running, strict=True):
            drive = jax.vmap(layer)(h)
            normed, new = norm(drive[:, :, None, None], old, training)
            h = jax.nn.relu(normed[:, :, 0, 0])
            updated.append(new)
        return jax.vmap(self.readout)(h), tuple(updated)


class SigmoidMLP(eqx.Module):
    """One hidden layer; sigmoid there and at the output (Lillicrap et al. 2016)."""

    hidden: eqx.nn.Linear
    readout: eqx.nn.Linear

    def __init__(self, sizes: tuple[int, ...], key: Array):
        self.hidden, self.readout = _layers(sizes, key)

    def __call__(self, x: Array) -> Array:
        """Outputs between 0 and 1 for `x` of `(examples, ...)`."""
        h = jax.nn.sigmoid(jax.vmap(self.hidden)(x.reshape(len(x), -1)))
        return jax.nn.sigmoid(jax.vmap(self.readout)(h))


class LayerNormedMLP(eqx.Module):
    """Fully connected layers, each of which reads what a layer norm has passed."""

    norms: tuple[eqx.nn.LayerNorm, ...]
    layers: tuple[eqx.nn.Linear, ...]
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self, sizes: tuple[int, ...], activation: Callable[[Array], Array], key: Array
    ):
        self.layers, self.activation = tuple(_layers(sizes, key)), activation
        # Without gains and biases of their own: the layer behind has both.
        plain = {"use_weight": False, "use_bias": False}
        self.norms = tuple(eqx.nn.LayerNorm(width, **plain) for width in sizes[:-1])

    def __call__(self, x: Array) -> Array:
        """Outputs for `x` of `(examples, ...)`."""
        h = x.reshape(len(x), -1)
        for place, (norm, layer) in enumerate(
            zip(self.norms, self.layers, strict=True)
        ):
            h = self.activation(h) if place else h
            h = jax.vmap(layer)(jax.vmap(norm)(h))
        return h


def layer_normed(
    activation: Callable[[Array], Array], *widths: int
) -> Callable[..., LayerNormedMLP]:
    """What builds such a net of these hidden widths with this function between."""
    return lambda key, shape, classes: LayerNormedMLP(
        _sizes(shape, widths, classes), activation, key
    )


def activated(activation: Callable[[Array], Array], *widths: int) -> Callable[..., MLP]:
    """What builds a net of these hidden widths with this function between them."""
    return lambda key, shape, classes: MLP(
        _sizes(shape, widths, classes), key, activation
    )


def plain(*widths: int) -> Callable[..., MLP]:
    """What builds a net of these hidden widths with ReLU, without batch norm."""
    return activated(jax.nn.relu, *widths)


def normed(*widths: int) -> Callable[..., Any]:
    """What builds a net of these hidden widths, with batch norm."""

    def build(key: Array, shape: tuple[int, ...], classes: int) -> Any:
        running = tuple(no_statistics(width) for width in widths)
        return NormedMLP(_sizes(shape, widths, classes), key), running

    return build


def sigmoid(width: int) -> Callable[..., SigmoidMLP]:
    """What builds a net of sigmoids with so many hidden units."""
    return lambda key, shape, classes: SigmoidMLP(_sizes(shape, (width,), classes), key)


def _sizes(
    shape: tuple[int, ...], widths: tuple[int, ...], classes: int
) -> tuple[int, ...]:
    return (math.prod(shape), *widths, classes)


def _layers(sizes: tuple[int, ...], key: Array) -> list[eqx.nn.Linear]:
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        eqx.nn.Linear(n_in, n_out, key=k)
        for (n_in, n_out), k in zip(pairwise(sizes), keys, strict=True)
    ]


# ---- The networks of Millidge, Tschantz & Buckley 2020.
#
# pictures   6 of 5 x 5, maximum of four, 16 of 5 x 5, 200, 150, classes; ReLU
# names      h[t] = tanh(W x[t] + U h[t-1] + b), 256 of them; classes from the last
# text       a long short-term memory of 1056 cells: the lab's own, in another width

LETTERS = 57  # upper and lower case and five marks


class PictureNet(eqx.Module):
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


class NameNet(eqx.Module):
    """A recurrent network that reads letters and then says one class."""

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
        if self.unrolled:  # a node for each time: nothing is hidden in a loop
            for each in incoming:
                h, _ = step(h, each)
        else:
            h, _ = jax.lax.scan(step, h, incoming)
        return jax.vmap(self.readout)(h)


def picture_net(key: Array, shape: tuple[int, ...], classes: int) -> PictureNet:
    """The network for pictures, made as the lab makes its models."""
    return PictureNet(shape, classes, key)


def name_net(width: int, unrolled: bool = False):
    """What makes the network for names in this width."""

    def build(key: Array, shape: tuple[int, ...], classes: int) -> NameNet:
        del shape
        return NameNet(width, classes, key, unrolled)

    return build


def text_net(width: int):
    """What makes the network for text in this width."""

    def build(key: Array, shape: tuple[int, ...], classes: int) -> LSTM:
        del shape
        return LSTM(classes, width, key)

    return build


# ---- A residual net without biases, with or without depth scaling (Innocenti et al.).


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
    """What makes a net with so many branches, with depth scaling or as it is drawn."""

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


# ---- Fully connected layers of tanh, in any number.


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
