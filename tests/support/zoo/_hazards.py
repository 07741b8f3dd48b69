"""Models where feedback weights, or JAX's own gradient, are impossible.

In every problem a weight, `w_opaque`, meets an activity somewhere that a
transformation of the traced program cannot rewrite: it has to refuse, with an error
that contains the name of the leaf. `w_below` always lies under it, so feedback
through it would matter.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ._model import Draw, Model, Problem, enter, squared

_TABLE: dict[str, Model] = {}


def sandwich(draw: Draw, middle: Callable, *extra: jax.Array) -> Problem:
    """Put `middle(h, w_opaque, *extra)` between two ordinary layers."""

    def loss(params, x, y, *extra):
        h = jnp.tanh(x @ params["w_below"])
        h = jnp.tanh(middle(h, params["w_opaque"], *extra))
        return squared(h @ params["w_above"], y)

    params = {"w_below": draw.weight(5, 6), "w_opaque": draw.weight(6, 6)}
    params |= {"w_above": draw.weight(6, 3)}
    return loss, params, (draw.normal(4, 5), draw.normal(4, 3), *extra)


@jax.custom_vjp
def dot_with_vjp(h: jax.Array, w: jax.Array) -> jax.Array:
    return h @ w


dot_with_vjp.defvjp(
    lambda h, w: (h @ w, (h, w)), lambda kept, g: (g @ kept[1].T, kept[0].T @ g)
)


@jax.custom_jvp
def dot_with_jvp(h: jax.Array, w: jax.Array) -> jax.Array:
    return h @ w


@dot_with_jvp.defjvp
def _dot_jvp(primals, tangents):
    (h, w), (dh, dw) = primals, tangents
    return h @ w, dh @ w + h @ dw


@enter(_TABLE, synapses=3)
def weight_in_custom_vjp(draw):
    return sandwich(draw, dot_with_vjp)


@enter(_TABLE, synapses=3)
def weight_in_custom_jvp(draw):
    return sandwich(draw, dot_with_jvp)


@enter(_TABLE, synapses=2, either=True)
def multiply_and_sum(draw):
    """A dot in all but name."""
    return sandwich(draw, lambda h, w: (h[:, :, None] * w).sum(1))


@enter(_TABLE, synapses=2)
def masked_per_example(draw):
    """Every example has its own mask of the weight."""

    def middle(h, w, mask):
        return jnp.einsum("bi,bij->bj", h, w * mask)

    return sandwich(draw, middle, draw.mask(4, 6, 6))


@enter(_TABLE, synapses=3, reversible=False)
def while_loop(draw):
    """A forward pass with an open end: JAX has no gradient for it."""

    def middle(h, w):
        def body(state):
            return state[0] + 1, jnp.tanh(state[1] @ w)

        return lax.while_loop(lambda state: state[0] < 3, body, (0, h))[1]

    return sandwich(draw, middle)


@enter(_TABLE, synapses=3, reversible=False)
def pure_callback(draw):
    """Numpy between two layers: no gradient comes back to `w_opaque`."""

    def middle(h, w):
        shape = jax.ShapeDtypeStruct(h.shape, h.dtype)
        method = "broadcast_all"
        return jax.pure_callback(np.sin, shape, h @ w, vmap_method=method)

    return sandwich(draw, middle)


@enter(_TABLE, synapses=2)
def triangular_solve(draw):
    """Linear in the activity, and neither a dot nor a convolution."""

    def middle(h, w):
        options = {"left_side": False, "lower": True, "unit_diagonal": True}
        return lax.linalg.triangular_solve(w / 2, h, **options)

    return sandwich(draw, middle)


@enter(_TABLE, synapses=4)
def tied_and_opaque(draw):
    """One weight, once in a dot that can be rewritten and once where it cannot."""
    return sandwich(draw, lambda h, w: dot_with_vjp(jnp.tanh(h @ w), w))


# name -> the problem, and the paths of the leaves that a refusal has to name
OPAQUE: dict[str, tuple[Model, tuple[str, ...]]] = {
    name: (model, ("w_opaque",)) for name, model in _TABLE.items()
}
