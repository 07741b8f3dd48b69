"""Direct random target projection: the target is sent directly to every node.

    delta_n = B_n y*,      y* the target of the output,      B_n fixed and random

Only the parameters after the last node receive an error. Frenkel, Lefebvre & Bol 2021.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from ...circuit import Circuit, require_reduction
from .._base import SearchSpace, rule
from .._call_checks import target_of
from .._field_checks import check_positive
from .._numerics import upcast
from ._direct_projection import DirectProjectionRule


@rule
class DirectRandomTargetProjection(DirectProjectionRule):
    """Send the target to every node, each through its own random matrix.

        delta_n = scale B_n y*,      da_n = delta_n * rho'(a_n)

    A node can be updated before anything after it is computed. The target replaces the
    error in the gradient: the update is -rate dW_n. B is symmetrically distributed, so
    the opposite sign would give the same rule; this is the sign of the published code.
    For one-hot targets y* is the sign of the error y* - y, shifted and rescaled. If the
    loss is a mean over N examples, each example is sent y*/N.

    The axes of nodes and output, and the distribution of B, are as in
    `DirectFeedbackAlignment`. With an unbounded nonlinearity the hidden weights
    diverge, because the signal never shrinks: use one that saturates.

    Args:
      scale: the size of every B.
      removed_forward: the fraction of forward connections that are removed: their
        weights act as 0 and have gradient 0.
      removed_backward: the fraction of backward connections that are removed.
      backward_noise: the standard deviation of the noise in feedback weights, drawn
        anew at every call, relative to their size.

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
      ValueError: in `init`, without `target=`, or if its shape is not the output's; if
        there is no output, or a node comes after it; if no axis holds the examples
        alone.

    Source: Frenkel, Lefebvre & Bol 2021, Frontiers in Neuroscience 15:629892.
    """

    scale: float = 1.0

    citation: ClassVar[str] = (
        "@article{frenkel2021learning, title={Learning Without Feedback: Fixed Random "
        "Learning Signals Allow for Feedforward Training of Deep Neural Networks}, "
        "author={Frenkel, Charlotte and Lefebvre, Martin and Bol, David}, "
        "journal={Frontiers in Neuroscience}, volume={15}, year={2021}}"
    )
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
        """Draw a matrix for each node, and check the target."""
        state = super().init(circuit, key, params, args)
        if not circuit.nodes:  # nothing is sent
            return state
        target_of(circuit, args, type(self).__name__)
        require_reduction(circuit, params, args)
        return state

    def message(self, circuit: Circuit, args: Any, error: jax.Array) -> jax.Array:
        """The target, in the units of the loss."""
        del error
        target = target_of(circuit, args, type(self).__name__)
        return upcast(target) / circuit.scale
