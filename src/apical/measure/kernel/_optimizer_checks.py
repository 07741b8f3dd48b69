"""Check that an optimiser's update is linear in the gradient and has no memory.

    update(g + h) = update(g) + update(h),     next state independent of g

Only then is the update of a batch the sum of the updates of its examples.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...rules._inner_optimizers import require_usable_optimizer, updates_of


def require_linear_optimizer(
    optimizer: optax.GradientTransformation, weights: Any
) -> None:
    """Refuse memory of gradients, decay or noise, and updates that are not linear.

    Args:
      optimizer: an optax transformation.
      weights: the learned leaves in their tree, None elsewhere.

    Raises:
      ValueError: for any of these; it names the optimiser's state or the reason.
    """
    require_usable_optimizer(optimizer, weights)
    one, two = (_drawn(weights, seed) for seed in (0, 1))
    both, nothing = jax.tree.map(np.add, one, two), jax.tree.map(np.zeros_like, one)

    @jax.jit
    def updates(weights: Any, *grads: Any) -> list[tuple[Any, Any]]:
        memory, loss = optimizer.init(weights), jnp.ones(())
        return [updates_of(optimizer, g, memory, weights, loss) for g in grads]

    found = updates(weights, one, two, both, nothing)
    (first, after), (second, other), (sum_, _), (rest, _) = found
    names = list(dict.fromkeys(_remembering(after, other)))
    if names:
        raise ValueError(
            "The optimiser keeps a memory of earlier gradients in its state "
            f"({', '.join(names)}), so an update is not the sum of those that the "
            "examples of its batch ask for. Momentum, Adam and other averages are "
            "refused: train with `optax.sgd(rate)`, whose rate may be a schedule or "
            "differ among the leaves."
        )
    if not _close(rest, jax.tree.map(np.zeros_like, rest), first):
        raise ValueError(
            "The optimiser moves parameters whose gradient is zero (weight decay or "
            "noise), and no training example accounts for that. Use "
            "`optax.sgd(rate)`, and add a penalty of weights to the loss function."
        )
    if not _close(sum_, jax.tree.map(np.add, first, second), sum_):
        raise ValueError(
            "The optimiser's update is not linear in the gradient (it takes signs, "
            "clips or normalises), so the update of a batch is not the sum of the "
            "updates of its examples. Use `optax.sgd(rate)`."
        )


def _drawn(weights: Any, seed: int) -> Any:
    draw = np.random.default_rng(seed)
    return jax.tree.map(lambda x: draw.normal(size=x.shape).astype(x.dtype), weights)


def _remembering(one: Any, two: Any) -> list[str]:
    """The innermost states of an optimiser that differ, by the names of their types."""
    pairs = zip(
        *(jax.tree.leaves(s, is_leaf=_innermost) for s in (one, two)), strict=True
    )
    return [
        type(a).__name__ if _innermost(a) else "an array"
        for a, b in pairs
        if any(map(_differ, jax.tree.leaves(a), jax.tree.leaves(b)))
    ]


def _innermost(tree: Any) -> bool:
    """Whether this is a named tuple that contains no other."""

    def is_other(part: Any) -> bool:
        return part is not tree and hasattr(part, "_fields")

    parts = jax.tree.leaves(tree, is_leaf=is_other)
    return hasattr(tree, "_fields") and not any(map(is_other, parts))


def _differ(a: jax.Array, b: jax.Array) -> bool:
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return bool(np.any(np.asarray(a) != np.asarray(b)))


def _close(found: Any, wanted: Any, scale: Any) -> bool:
    """Whether two updates agree, relative to the size of a third."""
    for leaves in zip(*map(jax.tree.leaves, (found, wanted, scale)), strict=True):
        a, b, c = map(np.asarray, leaves)
        bound = 64 * jnp.finfo(a.dtype).eps * np.max(np.abs(c), initial=0)
        if np.max(np.abs(a - b), initial=0) > bound:
            return False
    return True
