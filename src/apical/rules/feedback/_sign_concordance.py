"""Sign concordance: feedback weights have the signs of the forward weights.

    B = s * M * sign(W),      M >= 0

with W the effective weight at the synapse: sign(A) sign(B) is not sign(AB), so the
signs are those of the product. Liao, Leibo & Poggio 2016; Xiao et al. 2018.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit, Synapse
from .._base import Credit, SearchSpace, rule, static
from .._field_checks import check_choice, check_fraction
from .._numerics import fold_in_name
from ._backward_path import BackwardPathRule
from ._connection_masks import Connections, multiply
from ._feedback_weights import (
    Draw,
    draw_leaves,
    replaceable_weights,
    require_direct,
)


class SignState(NamedTuple):
    """Agreement of signs, magnitudes, and connections.

    Attributes:
      agreement: +1 or -1 for each weight; None: all signs agree.
      magnitude: the fixed magnitudes, or None.
      key: the key for magnitudes that are drawn at every call, or None.
      connections: the masks of removed connections.
    """

    agreement: Any
    magnitude: Any
    key: Any
    connections: Connections = Connections()


@rule
class SignConcordance(BackwardPathRule):
    """Pass the teaching signal back through the signs of the weights.

        B = s M sign(W),    s = sqrt(2 / (fan in + fan out))

    | magnitude | M                                                        |
    |-----------|----------------------------------------------------------|
    | uniform   | 1                                                        |
    | fixed     | the absolute value of a normal number, drawn at `init`    |
    | batch     | the same, drawn anew at every call                        |

    Liao et al. found batch normalisation or Batch Manhattan
    (`apical.optim.batch_manhattan`) indispensable.

    Args:
      magnitude: `"uniform"`, `"fixed"` or `"batch"`.
      concordance: the fraction of feedback weights whose sign agrees with that of the
        forward weight, drawn at `init`; the others have the opposite sign.
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
      >>> w, x = {"a": jnp.eye(2), "b": 9 * jnp.ones((2, 2))}, jnp.ones((3, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.SignConcordance())
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> ratio = learner(w, state, x).grads["a"] / jax.grad(loss_fn)(w, x)["a"]
      >>> print(ratio.round(4)[0])  # sqrt(2 / 4) / 9
      [0.0786 0.0786]

    Source: Liao, Leibo & Poggio 2016, AAAI (uSF, frSF, brSF in Sanfiz & Akrout 2021);
    Xiao, Chen, Liao & Poggio 2018. The scale s is that of Sanfiz & Akrout's code.
    """

    magnitude: str = static(default="uniform")
    concordance: float = 1.0

    citation: ClassVar[str] = (
        "@inproceedings{liao2016important, title={How Important Is Weight Symmetry in "
        "Backpropagation?}, author={Liao, Qianli and Leibo, Joel Z. and Poggio, "
        "Tomaso}, booktitle={AAAI}, year={2016}}"
    )
    # Only the signs of the forward weights are transported, not their magnitudes.
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "separate phases",
        "stored activities",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
    )
    search_space: ClassVar[SearchSpace] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.magnitude, "magnitude", ("uniform", "fixed", "batch"))
        check_fraction(self.concordance, "concordance")

    def draw(self, circuit: Circuit, key: jax.Array, params: Any) -> Any:
        """Draw the agreeing signs, fixed magnitudes and connection masks."""
        own = fold_in_name(key, "apical.SignConcordance")
        signs, sizes, later = jax.random.split(own, 3)
        agreement = magnitude = None
        leaves = circuit.feedback_leaves
        if _may_differ(self.concordance, 1):
            require_direct(circuit, "Partial concordance")
            draw = Draw(jax.random.uniform, self._agreement)
            agreement = draw_leaves(circuit, signs, params, leaves, draw)
        if self.magnitude != "uniform":
            require_direct(circuit, "A random magnitude")
        if self.magnitude == "fixed":
            magnitude = _magnitudes(circuit, sizes, params)
        key_of_batch = later if self.magnitude == "batch" else None
        connections = self.connect(circuit, key, params)
        return SignState(agreement, magnitude, key_of_batch, connections)

    def _agreement(self, numbers: Any, leaf: jax.Array, fan_in: int) -> jax.Array:
        del fan_in
        return jnp.where(numbers < self.concordance, 1, -1).astype(leaf.dtype)

    def _feedback(self, circuit: Circuit, params: Any, state: SignState) -> Any:
        """The feedback weights, magnitude times agreement; None if all are 1."""
        self._require_matching(state)
        magnitude = state.magnitude
        if self.magnitude == "batch":
            magnitude = _magnitudes(circuit, state.key, params)
        factors = [f for f in (magnitude, state.agreement) if f is not None]
        if not factors and state.connections._replace(forward=None) == Connections():
            return None
        ones = jax.tree.map(jnp.ones_like, replaceable_weights(circuit, params))
        return self.effective_feedback(state, reduce(multiply, factors, ones))

    def _require_matching(self, state: SignState) -> None:
        """Raise for a state of other options, which would be wrong without an error."""
        concordance = self.concordance
        partial = isinstance(concordance, (int, float)) and concordance != 1
        wanted = {
            "magnitude": (self.magnitude == "fixed") == (state.magnitude is not None)
            and (self.magnitude == "batch") == (state.key is not None),
            "concordance": state.agreement is not None or not partial,
        }
        for name, fits in wanted.items():
            if not fits:
                raise ValueError(
                    f"`state` is of a SignConcordance with another `{name}` than "
                    f"{getattr(self, name)!r}: make it by this rule's `init`."
                )

    def backward_path(
        self, circuit: Circuit, params: Any, state: SignState
    ) -> dict[str, Any]:
        """The signs of the effective weights, times the factors in the state."""
        copy = self._feedback(circuit, params, state)

        def backward(synapse: Synapse, weight: Any, factor: Any) -> Any:
            scale = (2 / (synapse.fan_in + synapse.fan_out)) ** 0.5
            signs = scale * jnp.sign(jax.lax.stop_gradient(weight))
            return (signs if copy is None else signs * factor).astype(weight.dtype)

        return {"feedback": copy, "backward": backward}

    def masked_credit(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Credit:
        """One backward pass through the signs of the effective weights."""
        credit = super().masked_credit(circuit, params, state, args)
        key = None if state.key is None else jax.random.split(state.key)[0]
        return credit._replace(state=state._replace(key=key))


def _magnitudes(circuit: Circuit, key: jax.Array, params: Any) -> Any:
    draw = Draw(jax.random.normal, lambda numbers, leaf, fan_in: jnp.abs(numbers))
    return draw_leaves(circuit, key, params, circuit.feedback_leaves, draw)


def _may_differ(number: Any, usual: float) -> bool:
    """Whether a number differs from the default, or is traced and may differ."""
    return not isinstance(number, (int, float)) or number != usual
