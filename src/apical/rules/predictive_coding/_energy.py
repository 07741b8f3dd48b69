"""The energy of predictive coding, and what its parts are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit, drive_of

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
