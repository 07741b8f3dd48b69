"""The energy of predictive coding: terms, slopes and the result of inference.

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
from .._adaptive_step_size import PerExample
from .._local_derivatives import error_sites
from .._numerics import NodeArrays, relative_norm, squared_norm

# A slope, as a function of a point and a step, and the number of steps that use it.
Stage = tuple[Callable[..., Any], int]

# Below this fraction of the first gradient the values count as settled.
_SETTLED = 1e-3


class EnergyTerms(NamedTuple):
    """The terms of the energy besides values and predictions.

    Attributes:
      circuit: of the loss function.
      params: its parameters.
      args: its other arguments.
      pull: the weight of the loss.
      precision: pi at a step of inference, by node; None: 1 everywhere.
      feedback: the parameters through which errors are passed back; None: `params`.
      derivative: whether errors are multiplied by the derivative of the nonlinearity.
    """

    circuit: Circuit
    params: Any
    args: Any
    pull: Any = 1.0
    precision: Callable[[Any], Mapping[str, Any]] | None = None
    feedback: Any = None
    derivative: bool = True

    def weighted(self, errors: Mapping[str, Any], step: Any = None) -> NodeArrays:
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
    """The result of inference.

    Attributes:
      value: the loss of the undisturbed forward pass.
      aux: what the loss function returned beside it.
      grads: the gradients of the learned leaves.
      values: the value of each node.
      errors: value minus prediction, of each node.
      residual: the norm of dE/dv at the last step, relative to the first.
      steps: the number of steps taken.
      arguments: all arguments after `params`, if some were free.
    """

    value: jax.Array
    aux: Any
    grads: list[jax.Array]
    values: NodeArrays
    errors: NodeArrays
    residual: jax.Array
    steps: Any
    arguments: Any = None


@dataclass(frozen=True)
class AbstractEnergy(abc.ABC):
    """The energy that inference descends: its start, its slope, and its result.

    A *point* is a pytree of arrays: the values of the nodes by name (free predictions),
    their errors (fixed ones), and with them the free arguments, if there are any.

    Attributes:
      terms: the circuit, the parameters and the other terms of the energy.
    """

    terms: EnergyTerms

    @property
    def circuit(self) -> Circuit:
        """The circuit of the loss function."""
        return self.terms.circuit

    @property
    @abc.abstractmethod
    def start(self) -> Any:
        """The point at the feed-forward values."""

    @abc.abstractmethod
    def slope(self, point: Any, step: Any = None) -> Any:
        """dE/dpoint of each example, at a step of inference (None: after the last).

        The step matters only for a precision that changes from step to step.
        """

    @abc.abstractmethod
    def settled(self, point: Any, residual: Any, steps: Any) -> Settled:
        """The result of inference that ended at this point; for `settle`."""

    @property
    def in_error_space(self) -> AbstractEnergy:
        """The same energy as a function of the errors (and of the free arguments)."""
        raise ValueError(f"A `{type(self).__name__}` has no form in the errors.")

    @property
    def by_example(self) -> PerExample:
        """Inner products of points, for each example."""
        return PerExample.of(self.circuit)

    def residual(self, point: Any) -> jax.Array:
        """The norm of the slope at a point, relative to that at the start."""
        return relative_norm(self.slope(point), self.slope(self.start))

    def stages(self, steps: int) -> list[Stage]:
        """The slopes of `steps` steps from the start; the first ones are cheaper.

        Each is a function of a point and a step, with the number of steps that use it.
        """
        return [(self.slope, steps)]


class Settling(NamedTuple):
    """Diagnostics of inference.

    Attributes:
      energy: for each node, half its squared error, summed over the node and averaged
        over the examples.
      residual: the norm of dE/dv at the last step, relative to the first; the larger of
        the two for a centred nudge.
      settled: whether the residual fell below 1e-3 (False if numbers are not finite).
      steps: how many steps were taken.
    """

    energy: dict[str, jax.Array]
    residual: jax.Array
    settled: jax.Array
    steps: Any


def settling(circuit: Circuit, errors: Any, residual: Any, steps: Any) -> Settling:
    """The diagnostics for the errors at the end of inference."""
    share = 1 / circuit.batch_size
    energy = {n: share * squared_norm(e) / 2 for n, e in errors.items()}
    return Settling(energy, residual, residual < _SETTLED, steps)
