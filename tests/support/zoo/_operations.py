"""Two synapses with one operation between them.

It lies between the two (`BETWEEN`), or is what the upper weight goes through or is
used in (`WEIGHTED`): since a weight lies below, its feedback matters.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ._convolutions import CONVOLUTIONS
from ._model import Draw, Model, add, squared

OPERATIONS: dict[str, Model] = {}
BF16, F32 = jnp.bfloat16, jnp.float32


def problem(draw: Draw, loss_of: Callable, params: dict, x: jax.Array):
    """Give a prediction a target of the same shape."""
    shape = jax.eval_shape(loss_of, params, x).shape
    y = draw.normal(*shape)
    return lambda params, x, y: squared(loss_of(params, x), y), params, (x, y)


def between(operation: Callable[[jax.Array], jax.Array]) -> Callable:
    def build(draw):
        def predict(params, x):
            h = operation(x @ params["below"] + params["bias"])
            return h @ params["above"]

        width = jax.eval_shape(operation, jax.ShapeDtypeStruct((4, 6), F32)).shape[1]
        params = {"below": draw.weight(5, 6), "bias": draw.bias(6)}
        params |= {"above": draw.weight(width, 3)}
        return problem(draw, predict, params, draw.normal(4, 5))

    return build


def weighted(operation: Callable, *shape: int, fan_in: int = 6) -> Callable:
    def build(draw):
        def predict(params, x):
            h = jnp.tanh(x @ params["below"] + params["bias"])
            return operation(h, params["above"])

        params = {"below": draw.weight(5, 6), "bias": draw.bias(6)}
        params |= {"above": draw.weight(*shape, fan_in=fan_in)}
        return problem(draw, predict, params, draw.normal(4, 5))

    return build


def max_pool(h: jax.Array) -> jax.Array:
    return lax.reduce_window(h, -jnp.inf, lax.max, (1, 2), (1, 2), "VALID")


BETWEEN: dict[str, Callable[[jax.Array], jax.Array]] = {
    "identity": lambda h: h,
    "times_one": lambda h: jnp.tanh(h * 1.0),
    "cast": lambda h: jnp.tanh(h).astype(jnp.float16).astype(F32),
    "cumsum": lambda h: jnp.cumsum(h, axis=1),
    "sort": lambda h: jnp.sort(h, axis=1),
    "top_k": lambda h: lax.top_k(h, 3)[0],
    "softmax": jax.nn.softmax,
    "logsumexp": lambda h: jax.nn.logsumexp(h.reshape(-1, 3, 2), axis=2),
    "gelu": jax.nn.gelu,
    "max_pool": max_pool,
    "associative_scan": lambda h: lax.associative_scan(
        jnp.multiply, 1 + 0.3 * jnp.tanh(h), axis=1
    ),
    "dynamic_slice": lambda h: lax.dynamic_slice_in_dim(jnp.tanh(h), 1, 4, axis=1),
    "where": lambda h: jnp.where(h > 0, h, 0.1 * h),
    "clip": lambda h: jnp.clip(h, -0.8, 0.8),
    "concatenate": lambda h: jnp.concatenate([jnp.tanh(h), jnp.sin(h)], axis=1),
    "columns": lambda h: jnp.tanh(h)[:, np.array([4, 0, 2])],
    "product": lambda h: h * jnp.roll(jnp.tanh(h), 1, axis=1),
}


def scan_over_weights(h, w):
    return lax.scan(lambda h, w: (jnp.tanh(h @ w), None), h, w)[0]


def scan_carries_weight(h, w):
    def step(carry, _):
        h, w = carry
        return (jnp.tanh(h @ w), 0.9 * w), None

    return lax.scan(step, (h, w), length=3)[0][0]


def scan_closes_over_weight(h, w):
    return lax.scan(lambda h, _: (jnp.tanh(h @ w), None), h, length=3)[0]


def fori_loop(h, w):
    return lax.fori_loop(0, 3, lambda i, h: jnp.tanh(h @ w), h)


def fori_loop_indexed(h, w):
    return lax.fori_loop(0, 3, lambda i, h: jnp.tanh(h @ w[i]), h)


def cond(h, w):
    uses = (lambda h: h @ w, lambda h: jnp.tanh(h) @ (2 * w))
    return lax.cond(jnp.sum(h * h) > 0, *uses, h)


def switch(h, w):
    uses = [lambda h: h @ w, lambda h: -h @ w, lambda h: jnp.sin(h) @ w]
    return lax.switch((jnp.sum(h * h) > 0) + 1, uses, h)


def batched_dot(h, w):
    dimensions = (((2,), (1,)), ((1,), (0,)))
    out = lax.dot_general(h.reshape(-1, 2, 3), w, dimensions)  # (group, batch, out)
    return jnp.moveaxis(out, 0, 1)


def over_examples(h, w):
    return jax.vmap(lambda h: w.T @ h)(h)


def half_precision(h, w):
    return (h.astype(BF16) @ w.astype(BF16)).astype(F32)


def preferred(h, w):
    low = jnp.dot(h.astype(BF16), w.astype(BF16), preferred_element_type=F32)
    return jnp.tanh(low)


MASK = np.arange(18).reshape(6, 3) % 4 > 0
ROWS = np.array([3, 0, 6, 4, 1, 6])
FIXED = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)

# name -> operation, shape of the upper weight, synapses, what else to know
WEIGHTED: dict[str, tuple] = {
    "dot": (lambda h, w: h @ w, (6, 3), 2),
    "transposed_weight": (lambda h, w: h @ w.T, (3, 6), 2),
    "weight_on_the_left": (lambda h, w: (w @ h.T).T, (3, 6), 2),
    "batched_dot": (batched_dot, (2, 3, 4), 2),
    "batched_einsum": (
        lambda h, w: jnp.einsum("bgi,gio->bgo", h.reshape(-1, 2, 3), w),
        (2, 3, 4),
        2,
    ),
    "einsum_three_indices": (
        lambda h, w: jnp.einsum("bi,jik->bjk", h, w),
        (2, 6, 3),
        2,
    ),
    "bilinear": (lambda h, w: jnp.einsum("bi,ijk,bj->bk", h, w, h), (6, 6, 3), 2),
    "preferred_element_type": (preferred, (6, 3), 2, {"exact": False}),
    "bfloat16": (half_precision, (6, 3), 2, {"exact": False}),
    "reshaped_weight": (lambda h, w: h @ w.reshape(6, 3), (2, 9), 2),
    "sliced_weight": (lambda h, w: h @ w[1:7], (8, 3), 2),
    "tied_weight": (lambda h, w: jnp.tanh(h @ w) @ w.T, (6, 3), 3),
    "concatenated_weight": (
        lambda h, w: h @ jnp.concatenate([w, w[::-1]], axis=1),
        (6, 3),
        2,
    ),
    "weight_beside_constant": (lambda h, w: h @ jnp.concatenate([w, FIXED]), (4, 3), 2),
    "halved_weight": (lambda h, w: h @ (w / 2), (6, 3), 2),
    "masked_weight": (lambda h, w: h @ (w * MASK), (6, 3), 2),
    "selected_weight": (lambda h, w: h @ jnp.where(MASK, w, 0.5), (6, 3), 2),
    "gathered_weight": (lambda h, w: h @ w[ROWS], (7, 3), 2),
    "symmetric_weight": (lambda h, w: h @ (w + w.T), (6, 6), 2),
    "product_of_weights": (lambda h, w: h @ (w @ w.T), (6, 3), 2),
    "softmax_weight": (lambda h, w: h @ jax.nn.softmax(w), (6, 3), 2),
    "scan_consts": (scan_closes_over_weight, (6, 6), 2),
    "scan_xs": (scan_over_weights, (3, 6, 6), 2),
    "scan_carry": (scan_carries_weight, (6, 6), 2),
    "fori_loop": (fori_loop, (6, 6), 2),
    "fori_loop_indexed": (fori_loop_indexed, (3, 6, 6), 2),
    "cond": (cond, (6, 3), 3),
    "switch": (switch, (6, 3), 4),
    "remat": (jax.checkpoint(lambda h, w: jnp.tanh(h @ w)), (6, 3), 2),
    "jit": (jax.jit(lambda h, w: jnp.tanh(h @ w)), (6, 3), 2),
    "vmapped_weight": (
        jax.vmap(lambda h, w: h @ w, in_axes=(None, 0), out_axes=1),
        (3, 6, 2),
        2,
    ),
    "vmap_over_examples": (over_examples, (6, 3), 2),
}

for name, operation in BETWEEN.items():
    rounded = {"exact": False} if name == "cast" else {}
    add(OPERATIONS, f"between_{name}", between(operation), synapses=2, **rounded)

for name, (operation, shape, synapses, *facts) in WEIGHTED.items():
    build = weighted(operation, *shape)
    add(OPERATIONS, name, build, synapses=synapses, **(facts[0] if facts else {}))

OPERATIONS.update(CONVOLUTIONS)
