"""Feedback weights as a part of rules that relax: what carries errors back to values.

    dE/dv_n = e_n - sum_m e_m through phi + dL/dv_n through phi

Parameters learn from the errors that are left, without passing a weight.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import jax
import optax

from ...circuit import Circuit
from .._field_checks import check_fraction, check_positive, check_transformation
from .._inner_optimizers import apply_optimizer, init_optimizer
from .._numerics import fold_in_name
from ._connection_masks import Connections, connect
from ._feedback_weights import copied, draw_leaves, like_forward, require_different


class AbstractFeedback(abc.ABC):
    """What carries errors back in place of the forward weights.

    Subclass it as a frozen dataclass to write another one for `PredictiveCoding` and
    `ActivationRelaxation`: it must have a hash, since it is part of the rule's type.

    Attributes:
      learns: whether the weights are trained (they are then a second network).
      citation: the source, as BibTeX.

    Example:
      >>> from dataclasses import dataclass
      >>> import jax, apical
      >>> from apical.rules.tools import AbstractFeedback
      >>> @dataclass(frozen=True)
      ... class FirstWeights(AbstractFeedback):
      ...     def init(self, circuit, key, params):
      ...         return params
      ...     def carry(self, state):
      ...         return state
      ...     def update(self, state, grads):
      ...         return state
      >>> rule = apical.rules.PredictiveCoding(feedback=FirstWeights())
    """

    learns: bool = False
    citation: ClassVar[str] = ""

    @abc.abstractmethod
    def init(self, circuit: Circuit, key: jax.Array, params: Any) -> Any:
        """The state before the first call; refuse here what cannot work."""

    @abc.abstractmethod
    def carry(self, state: Any) -> Any:
        """The weights of one call: the pytree of the parameters, None where unused."""

    @abc.abstractmethod
    def update(self, state: Any, grads: Any) -> Any:
        """The state after a call, from the gradients of the forward weights."""


class RandomFeedbackState(NamedTuple):
    """The feedback weights, their optimiser's state, and which connections exist."""

    weights: Any
    optimizer: Any = ()
    connections: Connections = Connections()


@final
@dataclass(frozen=True)
class RandomFeedback(AbstractFeedback):
    """Errors are carried back by other weights than predictions forward.

    They are drawn once, of the size of the forward weights. With an optimiser they
    learn by the product of error and activity that the forward weights learn by.

    Args:
      optimizer: any optax transformation that moves them; None: they stay.
      removed_backward: the fraction of backward connections that do not exist.
      backward_noise: the standard deviation of feedback weights from call to call,
        relative to their size.

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
    removed_backward: float = 0.0
    backward_noise: float = 0.0

    citation: ClassVar[str] = (
        "@misc{millidge2020relaxing, title={Relaxing the Constraints on "
        "Predictive Coding Models}, author={Millidge, Beren and Tschantz, "
        "Alexander and Seth, Anil K. and Buckley, Christopher L.}, "
        "note={arXiv:2010.01047}, year={2020}}"
    )

    def __post_init__(self) -> None:
        check_fraction(self.removed_backward, "removed_backward")
        check_positive(self.backward_noise, "backward_noise", or_zero=True)
        if self.optimizer is not None:
            check_transformation(self.optimizer, "optimizer")

    @property
    def learns(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether they are trained: a second network."""
        return self.optimizer is not None

    def init(
        self, circuit: Circuit, key: jax.Array, params: Any
    ) -> RandomFeedbackState:
        """Draw the weights; refuse those that equal the forward ones."""
        circuit.require_feedback()
        own = fold_in_name(key, "apical.PredictiveCoding")
        drawn = draw_leaves(circuit, own, params, circuit.feedback_leaves, like_forward)
        require_different(circuit, params, drawn)
        memory = () if self.optimizer is None else init_optimizer(self.optimizer, drawn)
        there = connect(
            circuit,
            key,
            params,
            backward=self.removed_backward,
            noise=self.backward_noise,
        )
        return RandomFeedbackState(drawn, memory, there)

    def carry(self, state: RandomFeedbackState) -> Any:
        """The feedback weights as they are in this call."""
        return state.connections.apply(state.weights, self.backward_noise)

    def update(self, state: RandomFeedbackState, grads: Any) -> RandomFeedbackState:
        """The state after a call, from the gradients of the forward weights."""
        state = state._replace(connections=state.connections.advance())
        if self.optimizer is None:
            return state
        mine = copied(state.weights, grads)
        moved = apply_optimizer(self.optimizer, mine, state.optimizer, state.weights)
        return RandomFeedbackState(*moved, state.connections)
