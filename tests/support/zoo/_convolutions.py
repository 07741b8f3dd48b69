"""Convolutions over time in every shape, each above another synapse."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from ._model import Draw, Model, add, squared

CONVOLUTIONS: dict[str, Model] = {}


def convolve(x: jax.Array, w: jax.Array, stride: int = 1, **options) -> jax.Array:
    options = {"padding": "SAME", **options}
    dimensions = ("NWC", "WIO", "NWC")
    return lax.conv_general_dilated(
        x, w, (stride,), dimension_numbers=dimensions, **options
    )


def with_options(**options) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return lambda x, w: convolve(x, w, **options)


def transposed(x: jax.Array, w: jax.Array) -> jax.Array:
    dimensions = ("NWC", "WIO", "NWC")
    return lax.conv_transpose(x, w, (2,), "SAME", dimension_numbers=dimensions)


def examples_grouped(x: jax.Array, w: jax.Array) -> jax.Array:
    """One kernel for each half of time: a convolution under vmap over weights."""
    halves = jnp.stack([x[:, :4], x[:, 4:]])  # (half, batch, time, channel)
    return jnp.moveaxis(jax.vmap(convolve)(halves, w), 0, 1)


OPERATION: dict[str, tuple[Callable, tuple[int, ...]]] = {
    "conv": (with_options(), (3, 4, 5)),
    "conv_strided": (with_options(stride=2, padding="VALID"), (3, 4, 5)),
    "conv_grouped": (with_options(feature_group_count=2), (3, 2, 6)),
    "conv_depthwise": (with_options(feature_group_count=4), (3, 1, 8)),
    "conv_dilated": (with_options(rhs_dilation=(2,)), (3, 4, 5)),
    "conv_spread": (with_options(lhs_dilation=(2,), padding=[(1, 2)]), (3, 4, 5)),
    "conv_transposed": (transposed, (3, 4, 5)),
    "conv_flipped_weight": (lambda x, w: convolve(x, w[::-1] / 2), (3, 4, 5)),
    "conv_vmapped_weight": (examples_grouped, (2, 3, 4, 5)),
}


def above_dense(operation: Callable, shape: tuple[int, ...]) -> Callable:
    def build(draw: Draw):
        def predict(params, x):
            return operation(jnp.tanh(x @ params["below"]), params["above"])

        params = {"below": draw.weight(3, 4), "above": draw.weight(*shape, fan_in=8)}
        x = draw.normal(4, 8, 3)
        y = draw.normal(*jax.eval_shape(predict, params, x).shape)
        return lambda params, x, y: squared(predict(params, x), y), params, (x, y)

    return build


for name, (operation, shape) in OPERATION.items():
    add(CONVOLUTIONS, name, above_dense(operation, shape), synapses=2)
