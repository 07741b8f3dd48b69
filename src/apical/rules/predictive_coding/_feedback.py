"""Feedback weights of predictive coding: what carries errors back to the values.

    dE/dv_n = e_n - sum_m e_m through phi + dL/dv_n through phi

Parameters learn from the errors that are left, without passing a weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import optax

from ...circuit import Circuit
from .._feedback_path import draw_leaves, like_forward, require_different
from .._rule import check_transformation, salted
from .._trained import updated


class FeedbackState(NamedTuple):
    """The feedback weights, and the state of what moves them."""

    weights: Any
    optimizer: Any = ()


@dataclass(frozen=True)
class RandomFeedback:
    """Errors are carried back by other weights than predictions forward.

    They are drawn once, of the size of the forward weights. With an optimiser they
    learn: an error and an activity meet at a feedback synapse as at the forward one,
    so that it moves by the same product.

    Args:
      optimizer: any optax transformation that moves them; None: they stay.

    Example:
      >>> import apical, optax
      >>> rule = apical.rules.PredictiveCoding(
      ...     prediction="free",
      ...     feedback=apical.rules.RandomFeedback(optax.sgd(0.1)),
      ... )

    Source: Millidge, Tschantz, Seth & Buckley 2020, arXiv:2010.01047 (relaxing the
    constraints on predictive coding).
    """

    optimizer: optax.GradientTransformation | None = None

    def __post_init__(self) -> None:
        if self.optimizer is not None:
            check_transformation(self.optimizer, "optimizer")

    def init(self, circuit: Circuit, key: jax.Array, params: Any) -> FeedbackState:
        """Draw them; refuses where a weight would carry back its own errors."""
        circuit.require_feedback()
        own = salted(key, "apical.PredictiveCoding")
        drawn = draw_leaves(circuit, own, params, circuit.feedback_leaves, like_forward)
        require_different(circuit, params, drawn)
        memory = () if self.optimizer is None else self.optimizer.init(drawn)
        return FeedbackState(drawn, memory)

    def learned(self, state: FeedbackState, grads: Any) -> FeedbackState:
        """The state after a batch, from the gradients of the forward weights."""
        if self.optimizer is None:
            return state
        mine = jax.tree.map(
            lambda weight, grad: None if weight is None else grad,
            state.weights,
            grads,
            is_leaf=lambda x: x is None,
        )
        moved = updated(self.optimizer, mine, state.optimizer, state.weights)
        return FeedbackState(*moved)
