"""Check that an optimiser's update is linear in the gradient and has no memory.

    update(g + h) = update(g) + update(h),     next state independent of g

Only then is the update of a batch the sum of the updates of its examples.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
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
    memory, loss = optimizer.init(weights), jnp.ones(())

    def updates(grads: Any) -> tuple[Any, Any]:
        return updates_of(optimizer, grads, memory, weights, loss)

    one, two = (_drawn(weights, seed) for seed in (0, 1))
    (first, after), (second, other) = updates(one), updates(two)
    names = list(dict.fromkeys(_remembering(after, other)))
    if names:
        raise ValueError(
            "The optimiser keeps a memory of earlier gradients in its state "
            f"({', '.join(names)}), so an update is not the sum of those that the "
            "examples of its batch ask for. Momentum, Adam and other averages are "
            "refused: train with `optax.sgd(rate)`, whose rate may be a schedule or "
            "differ among the leaves."
        )
    rest = updates(jax.tree.map(jnp.zeros_like, weights))[0]
    if not _close(rest, jax.tree.map(jnp.zeros_like, rest), first):
        raise ValueError(
            "The optimiser moves parameters whose gradient is zero (weight decay or "
            "noise), and no training example accounts for that. Use "
            "`optax.sgd(rate)`, and add a penalty of weights to the loss function."
        )
    both = updates(jax.tree.map(jnp.add, one, two))[0]
    if not _close(both, jax.tree.map(jnp.add, first, second), both):
        raise ValueError(
            "The optimiser's update is not linear in the gradient (it takes signs, "
            "clips or normalises), so the update of a batch is not the sum of the "
            "updates of its examples. Use `optax.sgd(rate)`."
        )


def _drawn(weights: Any, seed: int) -> Any:
    leaves, treedef = jax.tree.flatten(weights)
    keys = jax.random.split(jax.random.key(seed), max(len(leaves), 1))
    pairs = zip(keys, leaves, strict=False)
    return treedef.unflatten([jax.random.normal(k, x.shape, x.dtype) for k, x in pairs])


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


def _differ(a: Any, b: Any) -> bool:
    if jnp.issubdtype(jnp.result_type(a), jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return bool(jnp.any(a != b))


def _close(found: Any, wanted: Any, scale: Any) -> bool:
    """Whether two updates agree, relative to the size of a third."""
    for a, b, c in zip(*map(jax.tree.leaves, (found, wanted, scale)), strict=True):
        bound = 64 * jnp.finfo(a.dtype).eps * jnp.max(jnp.abs(c), initial=0.0)
        if bool(jnp.max(jnp.abs(a - b), initial=0.0) > bound):
            return False
    return True
