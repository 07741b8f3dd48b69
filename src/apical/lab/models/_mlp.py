"""Multilayer perceptron (MLP) with ReLU or tanh."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
from jax import Array

from apical.lab.models._model import Model


class MLP(eqx.Module):
    """Fully connected layers with a nonlinearity between them."""

    hidden: tuple[eqx.nn.Linear, ...]
    readout: eqx.nn.Linear
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        sizes: tuple[int, ...],
        key: Array,
        activation: Callable[[Array], Array] = jax.nn.relu,
    ):
        self.activation = activation
        keys = jax.random.split(key, len(sizes) - 1)
        *hidden, self.readout = (
            eqx.nn.Linear(n_in, n_out, key=k)
            for n_in, n_out, k in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )
        self.hidden = tuple(hidden)

    def __call__(self, x: Array) -> Array:
        """Logits for `x` of `(examples, ...)`."""
        h = x.reshape(len(x), -1)
        for layer in self.hidden:
            h = self.activation(jax.vmap(layer)(h))
        return jax.vmap(self.readout)(h)


def _build(
    activation: Callable[[Array], Array],
    key: Array,
    shape: tuple[int, ...],
    classes: int,
) -> MLP:
    features = 1
    for length in shape:
        features *= length
    width = 128 if features <= 64 else 256
    return MLP((features, width, width, classes), key, activation)


def _model(activation: Callable[[Array], Array]) -> Model:
    build = partial(_build, activation)
    return Model(build, reads=("pictures", "vectors"), steps_per_call=64)


MODEL, TANH = _model(jax.nn.relu), _model(jax.nn.tanh)
