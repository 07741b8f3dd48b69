"""Direct random target projection: every node is sent the target; no error is.

    delta_n = B_n y*,      y* the target of the output,      B_n fixed and random

Frenkel, Lefebvre & Bol 2021. Only the parameters after the last node see an error.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from ..circuit import Circuit, require_reduction
from ._direct_path import FRENKEL, DirectRule
from ._rule import SearchSpace, check_positive, rule, wide
from ._target import target_of


@rule
class DirectRandomTargetProjection(DirectRule):
    """Send the target to every node, through a matrix of its own.

        delta_n = scale B_n y*,      da_n = delta_n * rho'(a_n)

    A node's update waits for nothing that comes after it. The target takes the place
    of the error in the gradient: the update is -rate dW_n. As B is as often negative
    as positive, the other sign would be the same rule; this is the sign of the
    published code. For one-hot targets y* is the sign of the error y* - y, moved and
    rescaled. Each example has its share of the loss: y*/N where that is a mean over N.

    Which axis of a node hears what, and how B is drawn: as in
    `DirectFeedbackAlignment`. With an unbounded nonlinearity the hidden weights grow
    without end, since the signal never falls: use one that saturates.

    Args:
      scale: the size of every B.
      removed_forward: the fraction of forward connections that do not exist: removed
        weights act as 0 and take no gradient.
      removed_backward: the fraction of backward connections that do not exist.
      backward_noise: the standard deviation of feedback weights from call to call,
        relative to their size.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x, y):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"] - y) ** 2)
      >>> w, x = {"a": jnp.zeros((2, 2)), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule, y = apical.rules.DirectRandomTargetProjection(), 2 * jnp.ones((3, 1))
      >>> learner = apical.value_and_grad(loss_fn, rule, target=lambda x, y: y)
      >>> state = learner.init(jax.random.key(0), w, x, y)
      >>> state = state._replace(feedback={"a": jnp.array([[1.0], [-1.0]])})
      >>> learner(w, state, x, y).grads["a"][0]  # B y*, and tanh'(0) = 1
      Array([ 2., -2.], dtype=float32)

    Raises:
      ValueError: in `init`, without `target=`, or where its shape is not the output's;
        where there is no output, or a node stands after one; where the examples have
        no axis of their own.

    Source: Frenkel, Lefebvre & Bol 2021, Frontiers in Neuroscience 15:629892.
    """

    scale: float = 1.0

    citation: ClassVar[str] = FRENKEL
    needs: ClassVar[tuple[str, ...]] = (
        "derivative of the nonlinearity",
        "signed error units",
        "labels in every layer",
    )
    search_space: ClassVar[SearchSpace] = {"scale": (0.1, 10.0, "log")}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.scale, "scale")

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw a matrix for each node, and look at the target."""
        state = super().init(circuit, key, params, args)
        target_of(circuit, args, type(self).__name__)
        require_reduction(circuit, params, args)
        return state

    def message(self, circuit: Circuit, args: Any, error: jax.Array) -> jax.Array:
        """The target, in the units of the loss."""
        del error
        target = target_of(circuit, args, type(self).__name__)
        return wide(target) / circuit.scale
