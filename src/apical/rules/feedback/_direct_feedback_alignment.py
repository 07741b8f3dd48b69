"""Direct feedback alignment: the error of the output is sent directly to every node.

    delta_n = B_n e,      e = dL/dy, one for each example,      B_n fixed and random

The signal is applied at the node's value, so its pull-back to the parameters multiplies
it by rho'(z_n). Nøkland 2016.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ...circuit import Circuit, require_reduction
from .._base import SearchSpace, cited, rule, static
from .._field_checks import check_choice, check_positive
from .._numerics import upcast
from ._direct_projection import DirectProjectionRule
from ._direct_random_target_projection import DirectRandomTargetProjection


@rule
class DirectFeedbackAlignment(DirectProjectionRule):
    """Send the error of the output to every node, each through its own random matrix.

        delta_n = scale B_n e,      da_n = delta_n * rho'(a_n)

    No signal passes from node to node, nor from step to step of a loop; the parameters
    after the last node take the true gradient.

    | axis of a node                      | what it receives                       |
    |-------------------------------------|----------------------------------------|
    | the examples                        | the error of the same example          |
    | steps that the output has too       | the error of the same step             |
    | a loop that the output is not in    | the same signal in every turn          |
    | every other (units, pixels, tokens) | a row of B for each of its entries     |

    The output's axes of steps are all its axes except that of the examples and the last
    one, of its units (which a head of one unit may lack). The corresponding axis of a
    node is the first of the same length, in this order: the same position, the loops,
    the other axes. A scan over layers is a loop too: its layers share one B.

    Several outputs are concatenated, e = (e_1, e_2, ...). Where they differ in more
    than their units, each has its own steps, and delta_n = sum_k B_nk e_k. A head that
    is not an output, because others are marked, sends nothing back.

    State: `FeedbackState(feedback, connections)`: for each node, by name, a matrix
    `[units, outputs]` (or a tuple of the B_nk), uniform within 1/sqrt(units), as in
    Nøkland's published code: signals are then about as large as through weights drawn
    with 1/sqrt(fan in).

    Args:
      scale: the size of every B, relative to that.
      error: `"full"`, or `"sign"` to send only the sign of each example's error. With a
        squared error or a cross-entropy this is the sign of y - y*, as in Frenkel et
        al., who use magnitude 1 for each example; here the loss is a mean over N
        examples, so the magnitude is 1/N (1 if it is a sum).
      removed_forward: the fraction of forward connections that are removed: their
        weights act as 0 and have gradient 0.
      removed_backward: the fraction of backward connections that are removed.
      backward_noise: the standard deviation of the noise in feedback weights, drawn
        anew at every call, relative to their size.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.DirectFeedbackAlignment()
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> state.feedback["a"].shape
      (2, 1)
      >>> credit, backprop = learner(w, state, x), jax.grad(loss_fn)(w, x)
      >>> bool(jnp.allclose(credit.grads["b"], backprop["b"]))  # after the last node
      True
      >>> between = state._replace(feedback={"a": w["b"]})  # the weights that are there
      >>> credit = learner(w, between, x)
      >>> bool(jnp.allclose(credit.grads["a"], backprop["a"]))
      True

    Raises:
      ValueError: in `init`, if there is no output, or a node comes after it; if no axis
        holds the examples alone.

    Source: Nøkland 2016, NeurIPS; the sign of the error: Frenkel, Lefebvre & Bol
    2021, Frontiers in Neuroscience 15:629892; one matrix for many layers: Launay et
    al. 2020, NeurIPS.
    """

    scale: float = 1.0
    error: str = static(default="full")

    search_space: ClassVar[SearchSpace] = {"scale": (0.1, 10.0, "log")}

    @property
    def citation(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> str:
        """The paper of the rule, and of the sign where it is used."""
        return cited(_NOKLAND, _SIGN if self.error == "sign" else "")

    @property
    def needs(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[str, ...]:
        """The sign needs labels: for a cross-entropy it is the sign of 1/2 - label."""
        found = (
            "separate phases",
            "global error",
            "stored activities",
            "derivative of the nonlinearity",
            "update locking",
            "signed error units",
        )
        return (*found, "labels in every layer") if self.error == "sign" else found

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.scale, "scale")
        check_choice(self.error, "error", ("full", "sign"))

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw a matrix for each node."""
        if self.error == "sign":  # its magnitude depends on the loss's reduction
            require_reduction(circuit, params, args)
        return super().init(circuit, key, params, args)

    def message(self, circuit: Circuit, args: Any, error: jax.Array) -> jax.Array:
        """The error, or its sign in the units of the loss."""
        del args
        if self.error == "full":
            return error
        return upcast(jnp.sign(error)) / circuit.scale


_NOKLAND = (
    "@inproceedings{nokland2016direct, title={Direct Feedback Alignment Provides "
    "Learning in Deep Neural Networks}, author={N{\\o}kland, Arild}, "
    "booktitle={NeurIPS}, year={2016}}"
)
_SIGN = DirectRandomTargetProjection.citation  # from the same paper
