"""Free-prediction predictive coding on dense layers, written by hand in JAX.

    energy of one example = sum over hidden n of |v_n - relu(v_{n-1} W_n + b_n)|^2 / 2
                            + loss of the last layer at v_last
    v_n <- v_n - rate * d energy / d v_n,  T times, from the feed-forward values
    gradients = d (mean energy) / d parameters at the last values

The reference for the library's free predictions. The arithmetic is the same: per
step one forward pass and one backward pass (to the data) of every layer above the
first, whose prediction depends on the data alone and is computed once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ._models import cross_entropy

Layers = list[dict[str, jax.Array]]
Values = list[jax.Array]


def free_predictions(
    steps: int, rate: float, unroll: int = 1
) -> Callable[[Layers, jax.Array, jax.Array], tuple[jax.Array, Layers]]:
    """The loss of the feed-forward pass and the gradients after `steps` steps."""

    def learner(
        params: Layers, x: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, Layers]:
        values, loss = _forward(params, x, labels)
        first = values[0]

        def step(values: Values, _: None) -> tuple[Values, None]:
            slopes = jax.grad(_energy, argnums=1)(params, values, first, labels)
            # The mean over the batch would make the rate depend on its size.
            size = x.shape[0]
            moved = [v - rate * size * s for v, s in zip(values, slopes, strict=True)]
            return moved, None

        values, _ = lax.scan(step, values, None, length=steps, unroll=unroll)
        return loss, jax.grad(_energy_of_parameters)(params, values, x, labels)

    return learner


def _layer(layer: Any, h: jax.Array) -> jax.Array:
    return jax.nn.relu(h @ layer["w"] + layer["b"])


def _forward(
    params: Layers, x: jax.Array, labels: jax.Array
) -> tuple[Values, jax.Array]:
    values, h = [], x
    for layer in params[:-1]:
        h = _layer(layer, h)
        values.append(h)
    return values, cross_entropy(h @ params[-1]["w"] + params[-1]["b"], labels)


def _energy(
    params: Layers, values: Values, first: jax.Array, labels: jax.Array
) -> jax.Array:
    """The mean energy; `first` is the first layer's prediction, made once."""
    below = [_layer(p, v) for p, v in zip(params[1:-1], values[:-1], strict=True)]
    errors = [v - p for v, p in zip(values, [first, *below], strict=True)]
    squares = sum(jnp.sum(jnp.square(error)) for error in errors)
    logits = values[-1] @ params[-1]["w"] + params[-1]["b"]
    return squares / (2 * labels.shape[0]) + cross_entropy(logits, labels)


def _energy_of_parameters(
    params: Layers, values: Values, x: jax.Array, labels: jax.Array
) -> jax.Array:
    return _energy(params, values, _layer(params[0], x), labels)
