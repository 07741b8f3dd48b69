"""Feedback weights for rules that relax: the weights through which errors pass back.

    dE/dv_n = e_n - sum_m e_m through phi + dL/dv_n through phi

Parameters learn from the errors after relaxation, which pass no further weight.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import jax
import optax

from ...circuit import Circuit, WithFrozen
from .._field_checks import check_fraction, check_positive, check_transformation
from .._inner_optimizers import apply_optimizer, init_optimizer
from .._numerics import fold_in_name
from ._connection_masks import Connections, connect
from ._feedback_weights import (
    draw_leaves,
    leaves_with_feedback,
    like_forward,
    require_different,
)
from ._frozen_feedback import (
    FrozenFeedback,
    check_frozen_feedback,
    names_frozen,
    of_params,
    widened,
)


class AbstractFeedback(abc.ABC):
    """The weights through which errors pass back, in place of the forward ones.

    Subclass it as a frozen dataclass to write your own for `PredictiveCoding` and
    `ActivationRelaxation`. It must be hashable, because it is a static field of the
    rule.

    Attributes:
      learns: whether the weights are trained (they are then a second network).
      frozen_feedback: the frozen networks that have feedback weights too, as for
        `FeedbackAlignment`. If there are some, `init` receives the circuit and the
        parameters with these (`WithFrozen`), and `carry` returns weights for both;
        `update` receives the gradients of the parameters alone.
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
    frozen_feedback: FrozenFeedback = None
    citation: ClassVar[str] = ""

    @abc.abstractmethod
    def init(self, circuit: Circuit, key: jax.Array, params: Any) -> Any:
        """The initial state; raise ValueError for unsupported circuits."""

    @abc.abstractmethod
    def carry(self, state: Any) -> Any:
        """The weights of one call: the pytree of the parameters, None where unused."""

    @abc.abstractmethod
    def update(self, state: Any, grads: Any) -> Any:
        """The state after a call, from the gradients of the forward weights."""


def beside_frozen(
    feedback: AbstractFeedback | None, circuit: Circuit, params: Any, args: Any
) -> tuple[Circuit, Any]:
    """The circuit and parameters, with the frozen weights that have feedback."""
    given = None if feedback is None else feedback.frozen_feedback
    return widened(circuit, params, args, given)


class RandomFeedbackState(NamedTuple):
    """The feedback weights, their optimiser's state, and which connections exist."""

    weights: Any
    optimizer: Any = ()
    connections: Connections = Connections()


@final
@dataclass(frozen=True)
class RandomFeedback(AbstractFeedback):
    """Pass errors back through random weights, separate from the forward weights.

    They are drawn once, at the scale of the forward weights. With an optimiser they
    learn from the same products of error and activity as the forward weights.

    Args:
      optimizer: any optax transformation that trains them; None: they stay fixed.
      removed_backward: the fraction of backward connections that are removed.
      backward_noise: the standard deviation of the noise in feedback weights, drawn
        anew at every call, relative to their size.
      frozen_feedback: which frozen networks have feedback weights of their own: True
        for all, False for none, or a tuple of the positions of arguments after `params`
        (None in `batch_axes`), and of `"constants"` for what the loss function closes
        over. None: none, with a warning. They stay as they are drawn, and the trees in
        the state are `WithFrozen(params, frozen)`.

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
    frozen_feedback: FrozenFeedback = None

    citation: ClassVar[str] = (
        "@misc{millidge2020relaxing, title={Relaxing the Constraints on "
        "Predictive Coding Models}, author={Millidge, Beren and Tschantz, "
        "Alexander and Seth, Anil K. and Buckley, Christopher L.}, "
        "note={arXiv:2010.01047}, year={2020}}"
    )

    def __post_init__(self) -> None:
        check_fraction(self.removed_backward, "removed_backward")
        check_positive(self.backward_noise, "backward_noise", or_zero=True)
        check_frozen_feedback(self.frozen_feedback)
        if self.optimizer is not None:
            check_transformation(self.optimizer, "optimizer")

    @property
    def learns(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the weights are trained (and so are a second network)."""
        return self.optimizer is not None

    def init(
        self, circuit: Circuit, key: jax.Array, params: Any
    ) -> RandomFeedbackState:
        """Draw the weights; raise if they equal the forward weights."""
        circuit.require_feedback()
        own = fold_in_name(key, "apical.PredictiveCoding")
        drawn = draw_leaves(circuit, own, params, circuit.feedback_leaves, like_forward)
        require_different(circuit, params, drawn)
        own = of_params(drawn)
        memory = () if self.optimizer is None else init_optimizer(self.optimizer, own)
        there = connect(
            circuit,
            key,
            params,
            backward=self.removed_backward,
            noise=self.backward_noise,
            warn=names_frozen(self.frozen_feedback),
        )
        return RandomFeedbackState(drawn, memory, there)

    def carry(self, state: RandomFeedbackState) -> Any:
        """The feedback weights of this call."""
        return state.connections.apply(state.weights, self.backward_noise)

    def update(self, state: RandomFeedbackState, grads: Any) -> RandomFeedbackState:
        """The state after a call, from the gradients of the forward weights."""
        state = state._replace(connections=state.connections.advance())
        if self.optimizer is None:
            return state
        own = of_params(state.weights)
        mine = leaves_with_feedback(own, grads)
        moved, memory = apply_optimizer(self.optimizer, mine, state.optimizer, own)
        if isinstance(state.weights, WithFrozen):
            moved = state.weights._replace(params=moved)
        return RandomFeedbackState(moved, memory, state.connections)
