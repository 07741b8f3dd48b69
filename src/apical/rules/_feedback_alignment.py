"""Feedback alignment: the teaching signal travels through fixed random weights.

    delta_l = (B_{l+1} delta_{l+1}) * rho'(z_l),      B fixed and random

Lillicrap et al. 2016. B has the shape of the forward weight and stands in for it at
every synapse, so convolutions, recurrence and attention's projections are covered.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax

from ..circuit import Circuit
from ._feedback_path import (
    draw_leaves,
    kept,
    like_forward,
    masked,
    require_different,
    require_direct,
    sparse,
    through_feedback,
)
from ._rule import (
    Credit,
    Rule,
    SearchSpace,
    check_choice,
    check_fraction,
    local_signals,
    rule,
    salted,
    static,
)


class FeedbackState(NamedTuple):
    """Feedback weights phi, and which forward connections exist (None: all)."""

    feedback: Any
    forward_mask: Any


@rule
class FeedbackAlignment(Rule):
    """Replace the transposed weights of the backward pass by fixed random ones.

        dL/dx = delta B    in place of    dL/dx = delta W^T

    Weights take the usual product of their input and the teaching signal; biases,
    gains and embeddings the gradient that the teaching signal gives them. Passing a
    signal back through a normalisation's gain uses the gain itself.

    Args:
      removed_forward: the fraction of forward connections that do not exist; fixed at
        `init` and held: removed weights act as 0 and take no gradient.
      removed_backward: the fraction of backward connections that do not exist.
      gains: `"forward"`, or `"feedback"` to replace the gains of normalisations too.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.FeedbackAlignment())
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> backprop = jax.grad(loss_fn)(w, x)
      >>> credit = learner(w, state, x)
      >>> bool(jnp.allclose(credit.grads["b"], backprop["b"]))  # no weight above it
      True
      >>> bool(jnp.allclose(credit.grads["a"], backprop["a"]))
      False

    Source: Lillicrap, Cownden, Tweed & Akerman 2016, Nature Communications 7:13276.
    """

    removed_forward: float = 0.0
    removed_backward: float = 0.0
    gains: str = static(default="forward")

    citation: ClassVar[str] = (
        "@article{lillicrap2016random, title={Random synaptic feedback weights support "
        "error backpropagation for deep learning}, author={Lillicrap, Timothy P. and "
        "Cownden, Daniel and Tweed, Douglas B. and Akerman, Colin J.}, "
        "journal={Nature Communications}, volume={7}, year={2016}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "separate phases",
        "stored activities",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
    )
    search_space: ClassVar[SearchSpace] = {}

    def __post_init__(self) -> None:
        check_fraction(self.removed_forward, "removed_forward")
        check_fraction(self.removed_backward, "removed_backward")
        check_choice(self.gains, "gains", ("forward", "feedback"))

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw the feedback weights, with the size of the forward ones."""
        del args
        circuit.require_feedback()
        leaves = circuit.feedback_leaves
        own = salted(key, "apical.FeedbackAlignment")
        keys = jax.random.split(own, 3)
        gains = circuit.gain_leaves if self.gains == "feedback" else ()
        copied = tuple(sorted({*leaves, *gains}))
        feedback = draw_leaves(circuit, keys[0], params, copied, like_forward)
        require_different(circuit, params, feedback)
        mask = None
        if _is_positive(self.removed_backward):
            require_direct(circuit, "`removed_backward`")
            removed = kept(self.removed_backward)
            keep = draw_leaves(circuit, keys[1], params, leaves, removed)
            feedback = masked(circuit, feedback, keep)
        if _is_positive(self.removed_forward):
            require_direct(circuit, "`removed_forward`")
            removed = kept(self.removed_forward)
            mask = draw_leaves(circuit, keys[2], params, leaves, removed)
        return FeedbackState(feedback, mask)

    def _path(self, state: FeedbackState) -> dict[str, Any]:
        removed = self.removed_forward
        known = isinstance(removed, (int, float)) and removed > 0
        if known and state.forward_mask is None:
            raise ValueError(
                "`state` has no mask, and this FeedbackAlignment has "
                f"`removed_forward={removed!r}`: make it by this rule's `init`."
            )
        return {"feedback": state.feedback, "gains": self.gains == "feedback"}

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One backward pass through the feedback weights."""
        here = sparse(circuit, params, state.forward_mask)
        credit = through_feedback(circuit, here, args, state, **self._path(state))
        grads = masked(circuit, credit.grads, state.forward_mask)
        return credit._replace(grads=grads)

    def reference(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The gradient of the network without its removed connections."""
        here = sparse(circuit, params, state.forward_mask)
        grads = super().reference(circuit, here, state, args)
        return masked(circuit, grads, state.forward_mask)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The cotangent through the feedback weights, at each node."""
        here = sparse(circuit, params, state.forward_mask)
        return local_signals(circuit, here, args, **self._path(state))

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The output of the network without its removed connections."""
        here = sparse(circuit, params, state.forward_mask)
        return super().predict(circuit, here, state, args)


def _is_positive(number: Any) -> bool:
    """Whether a number is, or (traced) may be, above zero."""
    return not isinstance(number, (int, float)) or number > 0
