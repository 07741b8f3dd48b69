"""Optimisers of optax: what they are told, and weights that move by them."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import optax


def adam(rate: Any) -> optax.GradientTransformation:
    """Adam with a rate that may be traced, and a slope where a gradient is zero."""
    return optax.chain(optax.scale_by_adam(eps_root=1e-16), optax.scale(-rate))


def updates_of(
    optimizer: optax.GradientTransformation,
    grads: Any,
    memory: Any,
    weights: Any,
    loss: Any = None,
) -> tuple[Any, Any]:
    """What an optimiser makes of gradients, and its state.

    It is told the loss where it listens: `value` and `grad` are optax's names for it
    (`optax.GradientTransformationExtraArgs`).
    """
    told = {} if loss is None else {"value": loss, "grad": grads}
    # By its signature: `optax.MultiSteps` passes on what it is told, and is no tuple.
    heard = inspect.signature(optimizer.update).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in heard.values()):
        told = {name: given for name, given in told.items() if name in heard}
    return optimizer.update(grads, memory, weights, **told)


def apply_optimizer(
    optimizer: optax.GradientTransformation,
    grads: Any,
    memory: Any,
    weights: Any,
    loss: Any = None,
) -> tuple[Any, Any]:
    """The weights after one step, and the optimiser's state."""
    updates, memory = updates_of(optimizer, grads, memory, weights, loss)
    return optax.apply_updates(weights, updates), memory


def begun(optimizer: optax.GradientTransformation, weights: Any) -> Any:
    """The first state of an optimiser that is told gradients alone."""
    require_told_enough(optimizer, weights, loss=False)
    return optimizer.init(weights)


def require_told_enough(
    optimizer: optax.GradientTransformation, weights: Any, loss: bool = True
) -> None:
    """Refuse an optimiser that asks for more than it will be told."""

    def step(weights: Any) -> Any:
        told = jnp.zeros(()) if loss else None
        return apply_optimizer(
            optimizer, weights, optimizer.init(weights), weights, told
        )

    try:
        jax.eval_shape(step, weights)
    except Exception as error:
        given = " and the loss (`value=`, `grad=`)" if loss else ""
        raise ValueError(
            "`optimizer` cannot take a step here. It is told the gradients, the "
            f"parameters{given}; one that evaluates the loss function itself, as "
            "`optax.lbfgs` by its line search, is refused, since what a rule returns "
            "need not be that function's gradient. Choose another optimiser. "
            f"({type(error).__name__}: {error})"
        ) from error
