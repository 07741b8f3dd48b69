"""SnAp: the sparse n-step approximation of real-time recurrent learning.

    J_t = mask * ( D_t J_{t-1} + d(states_t)/dW )
    dL/dW = sum over t [ dL_t/d(states_t) J_t ]

The mask keeps the states that a weight reaches within n steps. With n = 1 these are the
states of the units that it drives: D_t is then the derivative of each unit's states
with respect to its own states before, its own recurrent weight included, and traces
hold what is kept. With n > 1 it is computed as real-time recurrent learning is. Menick
et al. 2021, equation 4.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from ...circuit import Circuit
from .._base import Credit, rule, static
from .._field_checks import check_whole
from ._masked_influence import MaskedInfluence
from ._online_rule import OnlineRule

_MENICK = (
    "@inproceedings{menick2021practical, title={Practical Real Time Recurrent Learning "
    "with a Sparse Approximation}, author={Menick, Jacob and Elsen, Erich and Evci, "
    "Utku and Osindero, Simon and Simonyan, Karen and Graves, Alex}, "
    "booktitle={ICLR}, year={2021}}"
)


@rule
class SnAp(OnlineRule):
    """RTRL with the influence of a weight on what it reaches within `order` steps.

        J_t = mask * ( D_t J_{t-1} + d(states_t)/dW )

    **`order=1`** keeps the units that a weight drives, by eligibility traces. A
    recurrent synapse passes back in time what leads from a unit to itself; one that
    reaches units only through another synapse (the reset gate of a GRU that multiplies
    the state before the product) passes nothing. A weight that is shared by units (a
    kernel of a convolution, one time constant for all) has a trace for each of its
    uses, each with the mask of that unit.

    **`order=2` and above** keep the units that a parameter reaches in so many steps: it
    reaches those whose states depend on it within a step in one, and those whose states
    depend on their states before in one more. With dense recurrent weights two steps
    reach every unit, and so does any order that is large enough: the rule is then
    `RTRL`, and `init` warns of it. Like `RTRL` it is a reference for small networks: a
    forward pass for each parameter, and with `carry=` an influence of `parameters x
    states` numbers. It needs no units that keep to themselves; those that depend on
    each other within a step, other than by synapses, count as one.

    What depends on what is read from the program, not from the values of the weights.
    A recurrent weight counts as missing where a constant of the loss function makes it
    zero: `w * mask`, `jnp.tril(w)`, `zeros.at[i, j].set(w)`, with a mask or indices
    that the loss function closes over. Zeros of a weight's own value, or of a mask that
    is an argument, do not count. A parameter that several units share reaches all of
    them in one step. Where an operation is neither entry by entry, a rearrangement, a
    sum nor a product, all its results depend on all its operands.

    State: `OnlineState(feedback, traces)`; above order 1 `InfluenceState(influence)`.

    Args:
      order: the number of steps within which a weight reaches the states that are kept.
      feedback: as in `EProp`; above order 1 only "symmetric", since no signal passes
        back.
      chunk: as in `EProp`; above order 1 there are no chunks.
      memory_limit: as in `EProp`; above order 1, as in `RTRL`.
      columns: above order 1, the number of parameters whose derivatives are computed at
        once.

    Raises:
      ValueError: for other feedback above order 1. In `init`, as `EProp`; above order 1
        as `RTRL`, if a loop reads what another loop computes, or if the loss function
        closes over an array that is traced.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     step = lambda h, x: 2 * (jnp.tanh(h @ (w * ring) + x),)
      ...     return jnp.mean(jax.lax.scan(step, jnp.zeros((2, 4)), x)[1] ** 2)
      >>> ring = jnp.eye(4) + jnp.roll(jnp.eye(4), 1, 1)  # each drives the next one
      >>> w, x = jnp.eye(4) / 2 + 0.1, jnp.linspace(0, 1, 40).reshape(5, 2, 4)
      >>> exact = jax.grad(loss_fn)(w, x)
      >>> for order in (1, 2):
      ...     rule = apical.rules.SnAp(order=order)
      ...     learner = apical.value_and_grad(loss_fn, rule, batch_axes=1)
      ...     found = learner(w, learner.init(jax.random.key(0), w, x), x).grads
      ...     print(f"{float(jnp.linalg.norm(found - exact)):.5f}")
      0.00432
      0.00008

    Source: Menick, Elsen, Evci, Osindero, Simonyan & Graves 2021, ICLR.
    """

    order: int = static(default=1)
    columns: int = static(default=64)

    source: ClassVar[str] = _MENICK

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self.order, "order")
        check_whole(self.columns, "columns")
        if self.order > 1 and self.feedback is not None:
            raise ValueError(
                f"`feedback` must be 'symmetric' for SnAp(order={self.order}): the "
                "influence is followed forwards through the weights, and no signal "
                "passes back. Use order=1, or `EProp`."
            )

    @property
    def passes(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> str:
        """What a recurrent synapse passes back in time."""
        return "own" if self.order == 1 else "some"

    # ---- Above order 1.

    def _influence(self) -> MaskedInfluence:
        return MaskedInfluence(self.columns, self.memory_limit, self.order)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Find the units or the masks, and allocate what continues."""
        if self.order == 1:
            return super().init(circuit, key, params, args)
        return self._influence().init(circuit, key, params, args)

    def reset(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The state at the start of another sequence: zeros."""
        if self.order == 1:
            return super().reset(circuit, params, state, args)
        return self._influence().reset(circuit, params, state, args)

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The loss, its gradient forwards in time, and the state after it."""
        if self.order == 1:
            return super().credit(circuit, params, state, args)
        return self._influence().credit(circuit, params, state, args)
