"""RFLO: random feedback local online learning.

    dW_ab = eta [B e]_a p_ab,     p_ab = (1 - 1/tau) p_ab + (1/tau) phi'(u_a) h_b

for leaky units h = (1 - 1/tau) h + phi(u) / tau with u = W h + W_in x. Murray 2019,
equation 6: e-prop with random feedback, on units that decay by one constant.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from ...circuit import Circuit
from .._base import rule
from ._eprop import EProp

_MURRAY = (
    "@article{murray2019local, title={Local online learning in recurrent networks with "
    "random feedback}, author={Murray, James M.}, journal={eLife}, volume={8}, "
    "year={2019}}"
)


@rule
class RFLO(EProp):
    """Random feedback and traces of leaky units: e-prop on the networks of its source.

        dW_ab = eta [B e]_a p_ab,     p_ab = (1 - 1/tau) p_ab + (1/tau) phi'(u_a) h_b

    It equals `EProp("random")` and refuses loops whose units are not leaky: one state
    that decays by one constant.

    Args:
      feedback: as in `EProp`; by default `"random"`.
      chunk: as in `EProp`.
      memory_limit: as in `EProp`.

    Raises:
      ValueError: in `init`, as `EProp`, and if a unit has several states, or a state
        that does not decay by one constant.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     def step(h, x):
      ...         h = 0.9 * h + 0.1 * jnp.tanh(h @ w["recurrent"] + x)
      ...         return h, h @ w["out"]
      ...     return jnp.mean(jax.lax.scan(step, jnp.zeros((2, 3)), x)[1] ** 2)
      >>> w = {"recurrent": jnp.eye(3), "out": jnp.ones((3, 1))}
      >>> x = jnp.ones((5, 2, 3))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.RFLO(), batch_axes=1)
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> learner(w, state, x).grads["recurrent"].shape
      (3, 3)

    Source: Murray 2019, eLife 8:e43299.
    """

    feedback: Any = "random"

    source: ClassVar[str] = _MURRAY

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Require leaky units."""
        for loop in self.loops(circuit):
            if not loop.units.leaky:
                raise ValueError(
                    f"RFLO is defined for leaky units: one state that decays by one "
                    f"constant. Those of the loop at {loop.scans.op.where} "
                    f"{loop.units.other_than_leaky}. Use `EProp`."
                )
        return super().init(circuit, key, params, args)
