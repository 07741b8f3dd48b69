"""Fully connected networks, by nonlinearity and normalisation."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from apical.lab.models._layers import BatchNorm, Statistics, no_statistics
from apical.lab.models._mlp import MLP


class BatchNormMLP(eqx.Module):
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


class LayerNormMLP(eqx.Module):
    """Fully connected layers, each with a layer norm before it."""

    norms: tuple[eqx.nn.LayerNorm, ...]
    layers: tuple[eqx.nn.Linear, ...]
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self, sizes: tuple[int, ...], activation: Callable[[Array], Array], key: Array
    ):
        self.layers, self.activation = tuple(_layers(sizes, key)), activation
        # Without gain and bias: the layer that follows has both.
        bare = {"use_weight": False, "use_bias": False}
        self.norms = tuple(eqx.nn.LayerNorm(width, **bare) for width in sizes[:-1])

    def __call__(self, x: Array) -> Array:
        """Outputs for `x` of `(examples, ...)`."""
        h = x.reshape(len(x), -1)
        for place, (norm, layer) in enumerate(
            zip(self.norms, self.layers, strict=True)
        ):
            h = self.activation(h) if place else h
            h = jax.vmap(layer)(jax.vmap(norm)(h))
        return h


def layer_norm_mlp(
    activation: Callable[[Array], Array], *widths: int
) -> Callable[..., LayerNormMLP]:
    """A builder of a network with layer norm, these hidden widths and activation."""
    return lambda key, shape, classes: LayerNormMLP(
        _sizes(shape, widths, classes), activation, key
    )


def mlp(activation: Callable[[Array], Array], *widths: int) -> Callable[..., MLP]:
    """A builder of a network with these hidden widths and activation."""
    return lambda key, shape, classes: MLP(
        _sizes(shape, widths, classes), key, activation
    )


def relu_mlp(*widths: int) -> Callable[..., MLP]:
    """A builder of a network with these hidden widths and ReLU, without batch norm."""
    return mlp(jax.nn.relu, *widths)


def batch_norm_mlp(*widths: int) -> Callable[..., Any]:
    """A builder of a network with these hidden widths, ReLU and batch norm."""

    def build(key: Array, shape: tuple[int, ...], classes: int) -> Any:
        running = tuple(no_statistics(width) for width in widths)
        return BatchNormMLP(_sizes(shape, widths, classes), key), running

    return build


def sigmoid_mlp(width: int) -> Callable[..., SigmoidMLP]:
    """A builder of a network with one hidden layer of sigmoids."""
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


# ---- Any number of tanh layers


class TanhNet(eqx.Module):
    """Layers of tanh and a readout, with initial biases of 0.

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
    """A builder of a network with this number of layers of weights."""

    def build(key: Array, shape: tuple[int, ...], classes: int) -> TanhNet:
        hidden = (width,) * (layers - 1)
        return TanhNet((math.prod(shape), *hidden, classes), key)

    return build


def _layer(n_in: int, n_out: int, key: Array) -> eqx.nn.Linear:
    layer = eqx.nn.Linear(n_in, n_out, key=key)
    weight = jax.random.normal(key, (n_out, n_in)) / math.sqrt(n_in)
    parts = (weight, jnp.zeros(n_out))
    return eqx.tree_at(lambda made: (made.weight, made.bias), layer, parts)
