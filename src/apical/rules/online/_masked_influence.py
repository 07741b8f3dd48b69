"""Real-time recurrent learning that keeps what parameters reach within some steps.

    J_t = mask * ( D_t J_{t-1} + d(states_t)/dW ),   dL/dW = sum over t (dL_t/ds_t) J_t

It is SnAp of any order, computed as a reference: one forward-mode derivative for each
parameter. Menick et al. 2021, equation 4.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax

from ...circuit import Circuit, InfluenceError
from .._base import rule, static
from ._rtrl import RTRL


@rule
class MaskedInfluence(RTRL):
    """`RTRL` with the influence of a parameter kept where it is early enough.

    Args:
      columns: as in `RTRL`.
      memory_limit: as in `RTRL`; also of the table of what is kept.
      order: the number of steps within which a parameter reaches what is kept.

    Raises:
      ValueError: in `init`, as `RTRL`; if there is no loop, or one that reads what
        another computes.
    """

    order: int = static(default=2)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Find the masks; no influence yet."""
        if not circuit.loops.of_states():
            raise ValueError(
                "SnAp finds derivatives forwards in time, and the loss function has no "
                "`lax.scan` whose carry depends on the parameters. For one step of a "
                "sequence at a time, return the state in `aux` and pass `carry=`; for "
                "a network without a state, use `Backpropagation`."
            )
        state = super().init(circuit, key, params, args)
        needed = circuit.loops.mask_bytes()
        if needed > self.memory_limit:
            raise ValueError(
                "The table of what each parameter reaches would take "
                f"{needed / 1e9:.2g} GB, and `memory_limit` is "
                f"{self.memory_limit / 1e9:.2g} GB. Use `SnAp(order=1)`, `EProp` or "
                "`UORO`."
            )
        try:
            masks = circuit.loops.masks(self.order)
        except InfluenceError as error:
            raise ValueError(
                f"SnAp(order={self.order}) counts the steps in which a parameter "
                f"reaches a state. {error} Or use `SnAp(order=1)`, `RTRL` or `UORO`."
            ) from error
        if all(mask.everything for mask in masks):
            warnings.warn(
                f"SnAp(order={self.order}) is `RTRL` here: every unit that a parameter "
                f"ever reaches, it reaches within {self.order} steps. A recurrent "
                "weight counts as missing where a constant of the loss function makes "
                "it zero, such as a mask of NumPy that it closes over.",
                UserWarning,
                stacklevel=3,
            )
        return state

    def column_view(self, circuit: Circuit, i: jax.Array) -> Circuit:
        """The circuit whose loops keep a part of the influence of parameter `i`."""
        return circuit.with_loops(circuit.loops.masked(self.order, i))
