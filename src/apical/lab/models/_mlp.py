"""Fully connected layers with ReLU."""

import equinox as eqx
import jax
from jax import Array

from apical.lab.models._model import Model


class MLP(eqx.Module):
    """Fully connected layers with ReLU between them."""

    hidden: tuple[eqx.nn.Linear, ...]
    readout: eqx.nn.Linear

    def __init__(self, sizes: tuple[int, ...], key: Array):
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
            h = jax.nn.relu(jax.vmap(layer)(h))
        return jax.vmap(self.readout)(h)


def _build(key: Array, shape: tuple[int, ...], classes: int) -> MLP:
    features = 1
    for length in shape:
        features *= length
    width = 128 if features <= 64 else 256
    return MLP((features, width, width, classes), key)


MODEL = Model(_build, reads=("pictures", "vectors"), steps_per_call=64)
