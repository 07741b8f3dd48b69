"""Optax optimisers used inside rules: single steps, and checks of support."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import optax


def adam(rate: Any) -> optax.GradientTransformation:
    """Adam with a rate that may be traced, differentiable where a gradient is zero."""
    return optax.chain(optax.scale_by_adam(eps_root=1e-16), optax.scale(-rate))


def updates_of(
    optimizer: optax.GradientTransformation,
    grads: Any,
    memory: Any,
    weights: Any,
    loss: Any = None,
) -> tuple[Any, Any]:
    """The updates of one step of an optimiser, and its next state.

    An optimiser whose `update` has the keywords `value` and `grad` gets the loss and
    the gradients there (`optax.GradientTransformationExtraArgs`).
    """
    extra = {} if loss is None else {"value": loss, "grad": grads}
    # Tested by signature: `optax.MultiSteps` takes these keywords, but is another
    # class.
    accepted = inspect.signature(optimizer.update).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        extra = {name: x for name, x in extra.items() if name in accepted}
    return optimizer.update(grads, memory, weights, **extra)


def apply_optimizer(
    optimizer: optax.GradientTransformation,
    grads: Any,
    memory: Any,
    weights: Any,
    loss: Any = None,
) -> tuple[Any, Any]:
    """The weights after one step, and the optimiser's next state."""
    updates, memory = updates_of(optimizer, grads, memory, weights, loss)
    return optax.apply_updates(weights, updates), memory


def init_optimizer(optimizer: optax.GradientTransformation, weights: Any) -> Any:
    """The initial state of an optimiser that gets gradients and weights only."""
    require_usable_optimizer(optimizer, weights, loss=False)
    return optimizer.init(weights)


def require_usable_optimizer(
    optimizer: optax.GradientTransformation, weights: Any, loss: bool = True
) -> None:
    """Raise for an optimiser that needs more than gradients, weights and the loss."""

    def step(weights: Any) -> Any:
        value = jnp.zeros(()) if loss else None
        return apply_optimizer(
            optimizer, weights, optimizer.init(weights), weights, value
        )

    try:
        jax.eval_shape(step, weights)
    except Exception as error:
        given = " and the loss (`value=`, `grad=`)" if loss else ""
        raise ValueError(
            "`optimizer` cannot take a step here. It gets the gradients, the "
            f"parameters{given}; one that evaluates the loss function itself, as "
            "`optax.lbfgs` in its line search, is not supported, since what a rule "
            "returns need not be that function's gradient. Choose another optimiser. "
            f"({type(error).__name__}: {error})"
        ) from error
