"""The energy of predictive coding, as inference sees it.

    E(v) = sum_n pi_n |e_n|^2 / 2 + pull L,      e_n = v_n - p_n

for one example with values v, predictions p, precisions pi and the loss L.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from .._local_derivatives import error_sites
from .._numerics import relative_norm, squared_norm

Values = dict[str, jax.Array]
# A slope, as a function of a point and a step, and how many steps go down it.
Stage = tuple[Callable[..., Any], int]

# Below this fraction of the first gradient the values count as settled.
_SETTLED = 1e-3


class EnergyTerms(NamedTuple):
    """What the energy contains beside values and predictions.

    Attributes:
      circuit: of the loss function.
      params: its parameters.
      args: its other arguments.
      pull: how strongly the loss pulls.
      precision: pi at a step of inference, by node; None: 1 everywhere.
      feedback: the parameters that carry errors back; None: the same as forward.
      derivative: whether errors pass the derivative of the nonlinearity.
    """

    circuit: Circuit
    params: Any
    args: Any
    pull: Any = 1.0
    precision: Callable[[Any], Mapping[str, Any]] | None = None
    feedback: Any = None
    derivative: bool = True

    def weighted(self, errors: Mapping[str, Any], step: Any = None) -> Values:
        """pi_n e_n, at a step of inference; None: at its end."""
        if self.precision is None:
            return dict(errors)
        found = self.precision(step)
        return {n: jnp.asarray(found[n], e.dtype) * e for n, e in errors.items()}

    @property
    def sites(self) -> dict[str, str]:
        """The site through which each node's error is pulled."""
        return error_sites(self.circuit, self.derivative)


class Settled(NamedTuple):
    """The end of inference.

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
    values: Values
    errors: Values
    residual: jax.Array
    steps: Any
    arguments: Any = None


@dataclass(frozen=True)
class AbstractEnergy(abc.ABC):
    """What inference descends: a start, a slope, and what follows from the end.

    A *point* is a pytree of arrays: the values of the nodes by name (free predictions),
    their errors (fixed ones), or values and free arguments.

    Attributes:
      terms: the circuit, the parameters and what else the energy contains.
    """

    terms: EnergyTerms

    @property
    def circuit(self) -> Circuit:
        """The circuit of the loss function."""
        return self.terms.circuit

    @property
    @abc.abstractmethod
    def start(self) -> Any:
        """The point of the feed-forward values."""

    @abc.abstractmethod
    def slope(self, point: Any, step: Any = None) -> Any:
        """dE/dpoint of each example, at a step of inference; None: at its end.

        Only a precision that changes from step to step reads the step.
        """

    @abc.abstractmethod
    def settled(self, point: Any, residual: Any, steps: Any) -> Settled:
        """What `settle` returns, where inference ended at this point."""

    @property
    def in_error_space(self) -> AbstractEnergy:
        """The same energy as a function of the errors, where it has this form."""
        raise ValueError(
            "An energy of free arguments is no function of the errors of nodes alone."
        )

    def residual(self, point: Any) -> jax.Array:
        """The norm of the slope at a point, relative to that at the start."""
        return relative_norm(self.slope(point), self.slope(self.start))

    def stages(self, steps: int) -> list[Stage]:
        """The slopes of so many steps from the start, the first with less to compute.

        Each is a function of a point and a step, and how many steps go down it.
        """
        return [(self.slope, steps)]


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
