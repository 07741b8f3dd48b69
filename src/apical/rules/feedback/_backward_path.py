"""The base of rules whose backward pass goes through feedback weights.

delta_l = (phi_{l+1} delta_{l+1}) * rho'(z_l),      phi in place of theta^T
"""

from __future__ import annotations

from typing import Any

from ...circuit import Circuit
from .._base import Credit, local_signals, rule
from ._connection_masks import ConnectedRule
from ._feedback_weights import through_feedback


@rule
class BackwardPathRule(ConnectedRule):
    """A rule that differs from backpropagation by the weights of the backward path."""

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
        path = self.backward_path(circuit, params, state)
        return through_feedback(circuit, params, args, state, **path)

    def masked_signals(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Any:
        """The cotangent through the feedback weights, at each node."""
        path = self.backward_path(circuit, params, state)
        return local_signals(circuit, params, args, **path)
