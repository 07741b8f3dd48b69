"""The energy of predictive coding, and what its parts are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit, drive_of
from .._numerics import squared_norm

Values = dict[str, jax.Array]


class Terms(NamedTuple):
    """What stands in the energy of one example beside values and predictions.

        E(v) = sum_n pi_n |v_n - p_n|^2 / 2 + pull L

    Attributes:
      circuit: of the loss function.
      params: its parameters.
      args: its other arguments.
      pull: how strongly the loss pulls.
      precision: pi at a tick, by node; None: 1 everywhere.
      feedback: the parameters that carry errors back; None: the same as forward.
      derivative: whether errors pass the derivative of the nonlinearity.
    """

    circuit: Circuit
    params: Any
    args: Any
    pull: Any = 1.0
    precision: Any = None
    feedback: Any = None
    derivative: bool = True

    def weighted(self, errors: Mapping[str, Any], tick: Any = None) -> Values:
        """pi_n e_n, at a tick of inference; None: at its end."""
        if self.precision is None:
            return dict(errors)
        found = self.precision(tick)
        return {n: jnp.asarray(found[n], e.dtype) * e for n, e in errors.items()}

    @property
    def sites(self) -> dict[str, str]:
        """Through what each node's error is pulled: its prediction, or its drive."""
        nodes = self.circuit.nodes
        if self.derivative:
            return {n.name: n.name for n in nodes}
        return {n.name: drive_of(n.name) if n.unit else n.name for n in nodes}

    @property
    def visited(self) -> list[str]:
        """Every node, and the sites that errors are pulled through."""
        return list(dict.fromkeys([*self.sites, *self.sites.values()]))


# ---- Where inference ended, and what a way of inference is asked for.

# Below this fraction of the first gradient the values count as settled.
_SETTLED = 1e-3


class Settled(NamedTuple):
    """Where inference ended.

    Attributes:
      value: the loss of the undisturbed forward pass.
      aux: what the loss function returned beside it.
      grads: the gradients of the learned leaves.
      values: the value of each node.
      errors: value minus prediction, of each node.
      residual: the norm of dE/dv at the last step, relative to the first.
      steps: how many steps were taken.
      arguments: all arguments after `params`, where some were free.
    """

    value: jax.Array
    aux: Any
    grads: list[jax.Array]
    values: dict[str, jax.Array]
    errors: dict[str, jax.Array]
    residual: jax.Array
    steps: Any
    arguments: Any = None


class Budget(NamedTuple):
    """How long inference may take.

    Attributes:
      steps: how many steps at most.
      rate: their size.
      tolerance: the relative residual at which it stops before; 0: never.
    """

    steps: int
    rate: Any
    tolerance: float = 0.0


class Settling(NamedTuple):
    """Diagnostics of inference.

    Attributes:
      energy: for each node, half its squared error, summed over the node and averaged
        over the examples.
      residual: the norm of dE/dv at the last step, relative to the first; of two
        settlings (a centred nudge) the larger.
      settled: whether the residual fell below 1e-3 (never with numbers not finite).
      steps: how many steps were taken.
    """

    energy: dict[str, jax.Array]
    residual: jax.Array
    settled: jax.Array
    steps: Any


def settling(circuit: Circuit, errors: Any, residual: Any, steps: Any) -> Settling:
    """The diagnostics where inference has left these errors."""
    share = 1 / circuit.batch_size
    energy = {n: share * squared_norm(e) / 2 for n, e in errors.items()}
    return Settling(energy, residual, residual < _SETTLED, steps)
