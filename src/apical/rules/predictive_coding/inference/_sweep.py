"""Sweeps: values updated one node, or one level of nodes, at a time.

    v_n <- v_n - rate dE/dv_n,     all other values held

| order             | a sweep visits                                              |
|-------------------|-------------------------------------------------------------|
| `None`            | every node, from the loss back to the input                 |
| `"even/odd"`      | all nodes an even number of nodes from the loss, then odd   |
| a tuple of names  | these, in this order                                        |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp

from ....circuit import LOSS, Circuit
from ..._field_checks import check_whole
from ..._iteration import repeat
from .._active_front import needed_sweeps
from .._energy import AbstractEnergy, Settled
from ._abstract import AbstractInference, Budget, Reach

EVEN_ODD = "even/odd"


def levels(circuit: Circuit) -> dict[str, int]:
    """The largest number of nodes on a path from a node to the loss, itself included.

    Paths through the carry of a loop are ignored: a node in a loop stands for all its
    steps.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 1))}
      >>> levels(apical.trace(loss_fn)(w, jnp.ones((3, 2))))
      {'a': 1}
    """
    reach = circuit.reach

    @cache
    def level(name: str) -> int:
        after = [to for to, later in reach[name] if not later and to is not LOSS]
        return 1 + max(map(level, after), default=0)

    # From the loss back, so that the recursion stays shallow.
    return {n.name: level(n.name) for n in reversed(circuit.nodes)}


@final
@dataclass(frozen=True)
class Sweep(AbstractInference):
    """Update the nodes one after the other, from the loss back to the input.

    A visit takes one step of size `rate` on the energy, with all other nodes held. With
    fixed predictions, rate 1 and the default order, one sweep gives exact gradients at
    the cost of backpropagation, on every graph: it is equivalent to backpropagation
    (Rosenbaum 2022). With free predictions a sweep carries a signal through all layers,
    a step through only one.

    Args:
      sweeps: the number of times all nodes are visited. The rule's `steps` are not
        used.
      order: None for back to front, also inside loops; `"even/odd"` to update every
        second level at once (Kerjan, Hoier & Scellier 2026); or a tuple of node names.
        With a given order, a node inside a loop is visited at all its steps at once.

    Example:
      >>> import apical
      >>> rule = apical.rules.PredictiveCoding(inference=apical.rules.Sweep())

    Source: Rosenbaum 2022, PLOS ONE 17(3); Kerjan, Hoier & Scellier 2026,
    arXiv:2606.03584.
    """

    sweeps: int = 1
    order: tuple[str, ...] | str | None = None

    citation: ClassVar[str] = (
        "@article{rosenbaum2022relationship, title={On the Relationship between "
        "Predictive Coding and Backpropagation}, author={Rosenbaum, Robert}, "
        "journal={PLOS ONE}, volume={17}, number={3}, year={2022}}"
    )

    def __post_init__(self) -> None:
        check_whole(self.sweeps, "sweeps")
        known = self.order is None or self.order == EVEN_ODD
        if not known and not isinstance(self.order, (tuple, list)):
            raise ValueError(
                "`order` must be None, 'even/odd' or a tuple of the nodes' names, as "
                f"`('a', 'b')`, not {self.order!r}."
            )
        if not known:
            object.__setattr__(self, "order", tuple(self.order or ()))

    def check(self, circuit: Circuit) -> None:
        """Raise for an order with unknown nodes, or one that loops do not allow."""
        self.visits(circuit)
        self._require_whole_visits(circuit)

    def reach(self, circuit: Circuit, free: bool, steps: int | None) -> Reach | None:
        """A sweep carries a signal as far as its order allows."""
        del steps
        needed = needed_sweeps(circuit, free, self.visits(circuit))
        return Reach(self.sweeps, needed, "sweeps")

    def _require_whole_visits(self, circuit: Circuit) -> None:
        """Raise for a back-to-front sweep in a loop that is visited as a whole."""
        if self.order is None and circuit.has_loop:
            raise ValueError(
                "`Sweep()` goes back to front inside loops only with fixed predictions "
                "at a known rate of 1. Otherwise give `order=` to visit a node at all "
                "steps of its loop at once, or use steps in place of a sweep."
            )

    def visits(self, circuit: Circuit) -> list[tuple[str, ...]]:
        """The nodes of each visit, in the order of the visits."""
        names = [n.name for n in circuit.nodes]
        if self.order == EVEN_ODD:
            level = levels(circuit)
            halves = ([n for n in names if level[n] % 2 == odd] for odd in (0, 1))
            return [tuple(half) for half in halves if half]
        order = tuple(reversed(names)) if self.order is None else self.order
        if set(order) != set(names):
            wrong = sorted(set(order) ^ set(names))[0]
            raise ValueError(
                f"`order` must name every node; {wrong!r} is missing or unknown. The "
                f"nodes are {names}."
            )
        return [(name,) for name in order]

    def settle(self, energy: AbstractEnergy, budget: Budget) -> Settled:
        """Sweep from the feed-forward values."""
        self._require_whole_visits(energy.circuit)
        visits = self.visits(energy.circuit)

        def sweep(state: Any) -> Any:
            point, step = state
            for names in visits:
                point = _visit(energy, point, names, budget.rate, step)
            return point, step + 1

        begin = (energy.start, jnp.zeros((), int))
        point, _ = repeat(energy.circuit, sweep, begin, self.sweeps)
        return energy.settled(point, energy.residual(point), self.sweeps)


def _visit(
    energy: AbstractEnergy, point: Any, names: Sequence[str], rate: Any, step: Any
) -> dict[str, jax.Array]:
    # Only the slope at these nodes is used, so only that is computed.
    slope = energy.slope(point, step)
    moved = {n: point[n] - jnp.asarray(rate, slope[n].dtype) * slope[n] for n in names}
    return {**point, **moved}
