"""OTTT: online training through time, whose traces are filtered inputs.

    dW = sum over t [ (dL_t/ds_t * psi_t) x_hat_t^T ]
    x_hat_t = lambda x_hat_{t-1} + x_t

for neurons u_t = lambda u_{t-1} + W x_t - reset, the reset without a derivative. Xiao
et al. 2022, equations 5 and 6.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from ...circuit import Circuit
from .._base import rule
from ._eprop import EProp

_XIAO = (
    "@inproceedings{xiao2022online, title={Online Training Through Time for Spiking "
    "Neural Networks}, author={Xiao, Mingqing and Meng, Qingyan and Zhang, Zongpeng "
    "and He, Di and Lin, Zhouchen}, booktitle={NeurIPS}, year={2022}}"
)


@rule
class OTTT(EProp):
    """Traces that are filtered inputs, in place of one for each weight.

        dW = sum over t [ delta_t x_hat_t^T ],      x_hat_t = lambda x_hat_{t-1} + x_t

    It equals `EProp` where that rule's traces have factors (units with one state, which
    decays by one constant: LIF neurons whose reset has no derivative), and refuses
    other loops. The traces take the memory of the activities. (`EProp` uses the factors
    wherever they are exact; `OTTT` makes sure of it.)

    Args:
      feedback: as in `EProp`.
      chunk: as in `EProp`.
      memory_limit: as in `EProp`.

    Raises:
      ValueError: in `init`, as `EProp`, and where traces have no factors.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     def step(v, x):
      ...         v = 0.9 * v + x @ w["in"]
      ...         return v, jnp.tanh(v) @ w["out"]
      ...     return jnp.mean(jax.lax.scan(step, jnp.zeros((2, 3)), x)[1] ** 2)
      >>> w = {"in": jnp.ones((4, 3)), "out": jnp.ones((3, 1))}
      >>> x = jnp.ones((5, 2, 4))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.OTTT(), batch_axes=1)
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> learner(w, state, x).grads["in"].shape
      (4, 3)

    Source: Xiao, Meng, Zhang, He & Lin 2022, NeurIPS.
    """

    source: ClassVar[str] = _XIAO

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Require traces with factors."""
        for loop in self.loops(circuit):
            units = loop.units
            if not units.factored:
                why = (
                    "have a reset with a derivative, or scale what enters them"
                    if units.leaky
                    else units.other_than_leaky
                )
                raise ValueError(
                    "OTTT needs units with one state that decays by one constant, and "
                    "that adds its synapses' outputs; those of the loop at "
                    f"{loop.scans.op.where} {why}. Stop the derivative of a reset "
                    "(`v - jax.lax.stop_gradient(z)`), or use `EProp`."
                )
        return super().init(circuit, key, params, args)
