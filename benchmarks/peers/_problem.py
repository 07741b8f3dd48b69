"""A network as plain arrays, with its batch, from which every worker builds its model.

A kernel of four axes is a convolution (height, width, in, out; no padding), with tanh
and the maximum over squares of two by two after it. All others are dense, with tanh
between them. The loss of an example is half its squared error.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Problem(NamedTuple):
    """Weights and biases of each layer, and the batch."""

    weights: list[np.ndarray]
    biases: list[np.ndarray]
    x: np.ndarray
    y: np.ndarray

    @classmethod
    def read(cls, path: str) -> "Problem":
        """From a file that `save` wrote."""
        with np.load(path) as found:
            numbers = range(sum(name.startswith("w") for name in found.files))
            weights = [found[f"w{i}"] for i in numbers]
            return cls(
                weights, [found[f"b{i}"] for i in numbers], found["x"], found["y"]
            )

    def save(self, path: str) -> None:
        """To a file that `read` reads."""
        arrays: dict[str, Any] = {f"w{i}": w for i, w in enumerate(self.weights)}
        arrays |= {f"b{i}": b for i, b in enumerate(self.biases)}
        np.savez(path, x=self.x, y=self.y, **arrays)

    @property
    def params(self) -> list[tuple[jax.Array, jax.Array]]:
        """Weights and biases, as `loss_fn` takes them."""
        pairs = zip(self.weights, self.biases, strict=True)
        return [(jnp.asarray(w), jnp.asarray(b)) for w, b in pairs]

    @property
    def args(self) -> tuple[jax.Array, jax.Array]:
        """The batch, as `loss_fn` takes it."""
        return jnp.asarray(self.x), jnp.asarray(self.y)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each layer's output for one example."""
        shape, found = self.x.shape[1:], []
        for weight in self.weights:
            if weight.ndim == 4:
                sides = zip(shape, weight.shape[:2], strict=False)
                shape = (*((n - k + 1) // 2 for n, k in sides), weight.shape[-1])
            else:
                shape = weight.shape[-1:]
            found.append(shape)
        return found


def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The network as a user of JAX would write it."""
    h = x
    for weight, bias in params[:-1]:
        h = jnp.tanh(_layer(weight, h) + bias)
        h = pooled(h) if h.ndim == 4 else h
    weight, bias = params[-1]
    return jnp.mean(jnp.sum((_layer(weight, h) + bias - y) ** 2, axis=-1)) / 2


def _layer(weight: jax.Array, h: jax.Array) -> jax.Array:
    if weight.ndim == 2:
        return h.reshape(h.shape[0], -1) @ weight
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        h, weight, (1, 1), "VALID", dimension_numbers=numbers
    )


def pooled(h: jax.Array) -> jax.Array:
    """The maximum over squares of two by two.

    The same in every library: the backward pass of `reduce_window` would take longer
    than everything else.
    """
    n, height, width, channels = h.shape
    return h.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
