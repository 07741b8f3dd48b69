"""What a scheme of inference is: how values settle, and what it requires to do so."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Literal, NamedTuple

from ....circuit import Circuit
from .._energy import AbstractEnergy, Settled


class Budget(NamedTuple):
    """How long inference may take, and the size of its steps.

    Attributes:
      steps: how many steps at most.
      rate: their size; None: as the scheme chooses.
      tolerance: the relative residual at which it stops before; 0: never.
    """

    steps: int
    rate: Any
    tolerance: float = 0.0


class Reach(NamedTuple):
    """Whether a signal from the loss reaches every node in the steps that are taken.

    Attributes:
      steps: how many steps are taken.
      needed: how many a signal needs to reach each node, in forward order; nodes for
        which this is not known are left out.
      argument: the argument that says how many.
    """

    steps: int
    needed: dict[str, int]
    argument: str = "steps"


class AbstractInference(abc.ABC):
    """How the values of predictive coding settle: `PredictiveCoding(inference=...)`.

    Subclass it as a frozen dataclass and write `settle`: it is part of the rule's type
    and must have a hash. Class attributes declare what it requires of the other parts
    and what it supports; `PredictiveCoding` refuses the rest.

    Attributes:
      requires_prediction: `"fixed"` or `"free"` where it works with these alone.
      requires_derivative: whether errors must pass the derivative of the nonlinearity,
        as the slope of an energy does (`derivative=True`).
      supports_precision: whether errors may be weighted.
      supports_feedback: whether errors may be carried back by other weights, so that
        `slope` is the gradient of no energy.
      supports_tolerance: whether it stops at the tolerance of its budget.
      supports_free_arguments: whether points may have other leaves than the values of
        nodes: it then moves free arguments too.
      reaches_all_nodes: whether each step carries a signal to every node, so that the
        default number of steps does not grow with depth.
      settles: whether it ends where the energy is at rest.
      default_rate: the size of steps with free predictions where no rate is given.
      needs: what it needs that a neuron does not have, in the words of the docs.
      citation: the source, as BibTeX.

    Example:
      >>> from dataclasses import dataclass
      >>> import jax, apical
      >>> from apical.rules.tools import AbstractInference, repeat
      >>> @dataclass(frozen=True)
      ... class PlainSteps(AbstractInference):
      ...     def settle(self, energy, budget):
      ...         rate, steps, _ = budget
      ...         def step(point):
      ...             slope = energy.slope(point)
      ...             return jax.tree.map(lambda v, g: v - rate * g, point, slope)
      ...         end = repeat(energy.circuit, step, energy.start, steps)
      ...         return energy.settled(end, energy.residual(end), steps)
      >>> rule = apical.rules.PredictiveCoding(inference=PlainSteps(), tolerance=0.1)
      Traceback (most recent call last):
        ...
      ValueError: `PlainSteps` does not stop at a residual: leave `tolerance` at 0.
    """

    requires_prediction: ClassVar[Literal["fixed", "free"] | None] = None
    requires_derivative: ClassVar[bool] = False
    supports_precision: ClassVar[bool] = True
    supports_feedback: ClassVar[bool] = True
    supports_tolerance: ClassVar[bool] = False
    supports_free_arguments: ClassVar[bool] = False
    reaches_all_nodes: ClassVar[bool] = False
    settles: ClassVar[bool] = True
    default_rate: ClassVar[float] = 0.1
    needs: ClassVar[tuple[str, ...]] = ()
    citation: ClassVar[str] = ""

    @abc.abstractmethod
    def settle(self, energy: AbstractEnergy, budget: Budget) -> Settled:
        """Move from `energy.start` to rest, and return `energy.settled(...)` there."""

    def check(self, circuit: Circuit) -> None:
        """Refuse, when the learner is initialised, a circuit that cannot settle."""
        del circuit

    def reach(self, circuit: Circuit, free: bool, steps: int | None) -> Reach | None:
        """Which nodes a signal reaches, so that too few steps are warned of.

        Args:
          circuit: of the loss function.
          free: whether predictions are free.
          steps: the steps that the user asked for, if any.

        Returns:
          the steps taken and needed; None where this is not known, the default.
        """
        del circuit, free, steps
        return None
