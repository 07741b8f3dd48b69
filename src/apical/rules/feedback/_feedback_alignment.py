"""Feedback alignment: the backward pass uses fixed random weights.

    delta_l = (B_{l+1} delta_{l+1}) * rho'(z_l),      B fixed and random

B has the shape of the forward weight and replaces it at every synapse: also in
convolutions, recurrence and the projections of attention. Lillicrap et al. 2016.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from ...circuit import Circuit
from .._base import SearchSpace, rule, static
from .._field_checks import check_choice
from .._numerics import fold_in_name
from ._backward_path import BackwardPathRule
from ._connection_masks import FeedbackState
from ._feedback_weights import (
    draw_leaves,
    like_forward,
    require_different,
)


@rule
class FeedbackAlignment(BackwardPathRule):
    """Replace the transposed weights of the backward pass by fixed random ones.

        dL/dx = delta B    in place of    dL/dx = delta W^T

    The gradient of a weight is the usual product of its input and the teaching signal;
    that of biases, gains and embeddings follows from the teaching signal as usual. A
    signal that passes back through a normalisation's gain is multiplied by the gain
    itself, unless `gains="feedback"`.

    Args:
      gains: `"forward"`, or `"feedback"` to replace the gains of normalisations too.
      removed_forward: the fraction of forward connections that are removed: their
        weights act as 0 and have gradient 0.
      removed_backward: the fraction of backward connections that are removed.
      backward_noise: the standard deviation of the noise in feedback weights, drawn
        anew at every call, relative to their size.
      frozen_feedback: which frozen networks have feedback weights of their own: True
        for all, False for none, or a tuple of the positions of arguments after `params`
        (None in `batch_axes`), and of `"constants"` for what the loss function closes
        over. None: none, with a warning. The trees in the state are then
        `WithFrozen(params, frozen)`.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.FeedbackAlignment())
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> backprop = jax.grad(loss_fn)(w, x)
      >>> credit = learner(w, state, x)
      >>> bool(jnp.allclose(credit.grads["b"], backprop["b"]))  # the last layer
      True
      >>> bool(jnp.allclose(credit.grads["a"], backprop["a"]))
      False

    Source: Lillicrap, Cownden, Tweed & Akerman 2016, Nature Communications 7:13276.
    """

    removed_forward: float = 0.0  # may also be given by position
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
        super().__post_init__()
        check_choice(self.gains, "gains", ("forward", "feedback"))

    def draw(self, circuit: Circuit, key: jax.Array, params: Any) -> Any:
        """Draw the feedback weights, at the scale of the forward weights."""
        own = fold_in_name(key, "apical.FeedbackAlignment")
        keys = jax.random.split(own, 3)
        gains = circuit.structure.gain_leaves if self.gains == "feedback" else ()
        copied = tuple(sorted({*circuit.feedback_leaves, *gains}))
        feedback = draw_leaves(circuit, keys[0], params, copied, like_forward)
        require_different(circuit, params, feedback)
        return FeedbackState(feedback, self.connect(circuit, key, params))

    def backward_path(
        self, circuit: Circuit, params: Any, state: FeedbackState
    ) -> dict[str, Any]:
        """The feedback weights, and whether gains have them too."""
        path = super().backward_path(circuit, params, state)
        return {**path, "gains": self.gains == "feedback"}
