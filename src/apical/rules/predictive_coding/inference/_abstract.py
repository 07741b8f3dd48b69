"""`AbstractInference`: the interface of inference schemes, and their requirements."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Literal, NamedTuple

from ....circuit import Circuit
from .._energy import AbstractEnergy, Settled


class Budget(NamedTuple):
    """The maximum number of steps of inference, their size, and the tolerance.

    Attributes:
      steps: the maximum number of steps.
      rate: the step size; None: the scheme chooses it.
      tolerance: the relative residual at which it stops early; 0: never.
    """

    steps: int
    rate: Any
    tolerance: float = 0.0


class Reach(NamedTuple):
    """The steps taken, and the steps a signal from the loss needs to reach each node.

    Attributes:
      steps: the number of steps taken.
      needed: the number of steps a signal needs to reach each node, in forward order;
        nodes for which it is not known are left out.
      argument: the argument that sets the number of steps.
    """

    steps: int
    needed: dict[str, int]
    argument: str = "steps"


class AbstractInference(abc.ABC):
    """How the values of predictive coding settle: `PredictiveCoding(inference=...)`.

    Subclass it as a frozen dataclass and write `settle`; it must be hashable, because
    it is a static field of the rule. Class attributes declare what it requires of the
    other parts and what it supports; `PredictiveCoding` raises ValueError for other
    combinations.

    Attributes:
      requires_prediction: `"fixed"` or `"free"` if it supports only these.
      requires_derivative: whether it needs `derivative=True`, so that `slope` is the
        gradient of the energy.
      supports_precision: whether errors may be weighted.
      supports_feedback: whether errors may pass back through separate weights, so that
        `slope` is not the gradient of an energy.
      supports_tolerance: whether it stops at the tolerance of its budget.
      supports_free_arguments: whether points may have leaves besides the values of
        nodes, so that free arguments are updated too.
      reaches_all_nodes: whether each step carries a signal to every node, so that the
        default number of steps does not grow with depth.
      settles: whether it ends at a stationary point of the energy.
      default_rate: the default step size with free predictions.
      needs: biologically implausible requirements, in the words of `Rule.needs`.
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
        """Descend from `energy.start`, and return `energy.settled(...)` at the end."""

    def check(self, circuit: Circuit) -> None:
        """Raise ValueError for unsupported circuits; called by `learner.init`."""
        del circuit

    def reach(self, circuit: Circuit, free: bool, steps: int | None) -> Reach | None:
        """The nodes that a signal reaches, used to warn about too few steps.

        Args:
          circuit: of the loss function.
          free: whether predictions are free.
          steps: the number of steps given by the user, if any.

        Returns:
          the steps taken and needed; None (the default) if not known.
        """
        del circuit, free, steps
        return None
