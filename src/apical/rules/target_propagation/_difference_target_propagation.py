"""Difference target propagation: targets corrected for the error of the inverses.

    t_n = s_n + G_n(t_m) - G_n(s_m)

with m directly above n and G_n the inverse. Lee et al. 2015.
"""

from __future__ import annotations

from typing import ClassVar

from .._base import rule
from ._reconstruction import LEE
from ._target_propagation import TargetPropagation

_SHIBUYA = (
    "@inproceedings{shibuya2023fixed, title={Fixed-Weight Difference Target "
    "Propagation}, author={Shibuya, Tatsukichi and Inoue, Nakamasa and Kawakami, Rei "
    "and Sato, Ikuro}, booktitle={AAAI}, year={2023}}"
)


@rule
class DifferenceTargetPropagation(TargetPropagation):
    """Propagate differences of targets backwards through learned inverses.

        t_top = s_top - target_step dL/ds_top,     t_n = s_n + G_n(t_m) - G_n(s_m)
        delta_n = (s_n - t_n) / target_step

    A value that equals its target does not change, however bad the inverse. Depending
    on `training` this is

    | training                     | rule                                              |
    |------------------------------|---------------------------------------------------|
    | `NoiseReconstruction()`      | difference target propagation (Lee et al. 2015)   |
    | `DifferenceReconstruction()` | local difference reconstruction (Ernoult et al.   |
    |                              | 2022): towards backpropagation                    |
    | `None`                       | fixed weights, FW-DTP (Shibuya et al. 2023)       |

    Lee et al. set the first target at the last hidden layer (`first_target="nodes"`),
    the others at the output, which avoids weight transport. A node that is not a unit
    (after pooling, a residual stream) has a linear inverse, `phi^T u + c`.

    On handwritten digits two hidden layers of tanh units learn with all three nearly as
    well as with backpropagation. Where layers become much narrower the inverses are
    inaccurate, and deep networks learn slowly. With ReLU an inverse is 0 wherever its
    drive is negative, and noise reconstruction learns much worse (less so with
    `first_target="nodes"`): the papers use tanh or ELU.

    Arguments and everything else are as in `TargetPropagation`.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 2))}, jnp.ones((3, 2))
      >>> rule = apical.rules.DifferenceTargetPropagation(
      ...     training=apical.rules.DifferenceReconstruction(steps=5)
      ... )
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> credit = jax.jit(learner)(w, state, x)
      >>> fixed = apical.rules.DifferenceTargetPropagation(training=None)

    Source: Lee, Zhang, Fischer & Bengio 2015, ECML; Ernoult et al. 2022, ICML; Shibuya
    et al. 2023, AAAI.
    """

    difference: ClassVar[bool] = True

    @property
    def citation(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> str:
        """The source of what trains the inverses."""
        return _SHIBUYA if self.training is None else self.training.citation or LEE
