"""SnAp: the sparse n-step approximation of real-time recurrent learning.

    J_t = mask * ( D_t J_{t-1} + d(states_t)/dW )
    dL/dW = sum over t [ dL_t/d(states_t) J_t ]

The mask keeps the states that a weight reaches within n steps. With n = 1 these are the
states of the units that it drives: D_t is then the derivative of each unit's states
with respect to its own states before, its own recurrent weight included. Menick et al.
2021, equation 4.
"""

from __future__ import annotations

from typing import ClassVar

from .._base import rule, static
from .._field_checks import check_whole
from ._online_rule import OnlineRule

_MENICK = (
    "@inproceedings{menick2021practical, title={Practical Real Time Recurrent Learning "
    "with a Sparse Approximation}, author={Menick, Jacob and Elsen, Erich and Evci, "
    "Utku and Osindero, Simon and Simonyan, Karen and Graves, Alex}, "
    "booktitle={ICLR}, year={2021}}"
)


@rule
class SnAp(OnlineRule):
    """Traces of the units that a weight drives, through each unit's own weight too.

        J_t = mask * ( D_t J_{t-1} + d(states_t)/dW )

    With `order=1` a recurrent synapse passes back in time what leads from a unit to
    itself; one that reaches units only through another synapse (the reset gate of a GRU
    that multiplies the state before the product) passes nothing. A weight that is
    shared by units (a kernel of a convolution, one time constant for all) has a trace
    for each of its uses, each with the mask of that unit.

    State: `OnlineState(feedback, traces)`.

    Args:
      order: the number of steps within which a weight reaches the states that are kept.
        Only 1 is implemented: with dense recurrent weights 2 is `RTRL`.
      feedback: as in `EProp`.
      chunk: as in `EProp`.
      memory_limit: as in `EProp`.

    Raises:
      ValueError: for another order; in `init`, as `EProp`.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     step = lambda h, x: 2 * (jnp.tanh(h @ w + x),)
      ...     return jnp.mean(jax.lax.scan(step, jnp.zeros((2, 3)), x)[1] ** 2)
      >>> x = jnp.ones((5, 2, 3))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.SnAp(), batch_axes=1)
      >>> diagonal = jnp.diag(jnp.arange(1.0, 4.0)) / 4
      >>> credit = learner(diagonal, learner.init(jax.random.key(0), diagonal, x), x)
      >>> exact = jax.grad(loss_fn)(diagonal, x)  # units that see only themselves
      >>> bool(jnp.allclose(credit.grads, exact, atol=1e-6))
      True

    Source: Menick, Elsen, Evci, Osindero, Simonyan & Graves 2021, ICLR.
    """

    order: int = static(default=1)

    passes: ClassVar[str] = "own"
    source: ClassVar[str] = _MENICK

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self.order, "order")
        if self.order > 1:
            raise ValueError(
                f"SnAp keeps traces of the units that a weight drives (order=1), not "
                f"{self.order}: with dense recurrent weights a weight reaches every "
                "unit in two steps, and that is `RTRL`."
            )
