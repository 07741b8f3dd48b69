"""Weights that a rule trains beside the parameters: inverses, critics, read-outs."""

from __future__ import annotations

from typing import Any

import optax


def adam(rate: Any) -> optax.GradientTransformation:
    """Adam with a rate that may be traced, and a slope where a gradient is zero."""
    return optax.chain(optax.scale_by_adam(eps_root=1e-16), optax.scale(-rate))


def updated(
    optimizer: optax.GradientTransformation, grads: Any, memory: Any, weights: Any
) -> tuple[Any, Any]:
    """The weights after one step, and the optimiser's state."""
    updates, memory = optimizer.update(grads, memory, weights)
    return optax.apply_updates(weights, updates), memory
