"""The base of rules whose backward pass goes through feedback weights.

delta_l = (phi_{l+1} delta_{l+1}) * rho'(z_l),      phi in place of theta^T

With `frozen_feedback` the same holds at the weights of frozen networks, which are
arguments or closed over: `W_frozen^T` is replaced too.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

import jax

from ...circuit import Circuit
from .._base import Credit, local_signals, rule
from ._connection_masks import ConnectedRule
from ._feedback_weights import through_feedback
from ._frozen_feedback import (
    FrozenFeedback,
    check_frozen_feedback,
    names_frozen,
    of_params,
    widened,
)


@rule
class BackwardPathRule(ConnectedRule):
    """A rule that differs from backpropagation by the weights of the backward path.

    A subclass draws its state in `draw`, in place of `init`. The circuit and the
    parameters that `draw` and `backward_path` receive include the weights of frozen
    networks (`WithFrozen`) where these have feedback weights.

    Args:
      frozen_feedback: which frozen networks have feedback weights: True for all, False
        for none, or a tuple of the positions of arguments after `params`, and of
        `"constants"` for what the loss function closes over. None: none, with a
        warning.
    """

    frozen_feedback: FrozenFeedback = field(
        default=None, kw_only=True, metadata={"static": True}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_frozen_feedback(self.frozen_feedback)

    @property
    def warns_of_frozen(self) -> bool:
        """Whether true weights of a frozen network in the backward path are named."""
        return names_frozen(self.frozen_feedback)

    def draw(self, circuit: Circuit, key: jax.Array, params: Any) -> Any:
        """The state before the first call: feedback weights and connections."""
        raise NotImplementedError

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw the feedback weights and the connections."""
        circuit.require_feedback()
        whole, everything = self.whole(circuit, params, args)
        if whole is not circuit:
            whole.require_feedback()
        state = self.draw(whole, key, everything)
        there = state.connections  # nothing is removed from a frozen network
        return state._replace(
            connections=there._replace(forward=of_params(there.forward))
        )

    def backward_path(
        self, circuit: Circuit, params: Any, state: Any
    ) -> dict[str, Any]:
        """The arguments of `Circuit.run` that replace the weights."""
        del circuit, params
        return {"feedback": self.effective_feedback(state, state.feedback)}

    def masked_credit(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Credit:
        """One backward pass through the feedback weights."""
        whole, everything = self.whole(circuit, params, args)
        path = self.backward_path(whole, everything, state)
        credit = through_feedback(whole, everything, args, state, **path)
        return credit._replace(grads=of_params(credit.grads))

    def masked_signals(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Any:
        """The cotangent through the feedback weights, at each node."""
        whole, everything = self.whole(circuit, params, args)
        path = self.backward_path(whole, everything, state)
        return local_signals(whole, everything, args, **path)

    def whole(self, circuit: Circuit, params: Any, args: Any) -> tuple[Circuit, Any]:
        """The circuit and parameters, with the frozen weights that have feedback."""
        return widened(circuit, params, args, self.frozen_feedback)
