"""Sweeps: values move one node, or one level of nodes, after the other.

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
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ....circuit import LOSS, Circuit
from ..._checks import check_whole
from ..._iteration import repeat
from ..._numerics import relative_norm
from .._energy import Budget, Settled, Values
from .._fixed_prediction import sweep_exactly
from .._free_prediction import Free
from ._gradient_descent import Energy

# ---- How far each node is from the loss, in nodes.


def levels(circuit: Circuit) -> dict[str, int]:
    """The largest number of nodes on a path from a node to the loss, itself included.

    Paths through the carry of a loop are left out: a node in a loop stands for all its
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

    # From the loss back, so that the recursion never goes deep.
    return {n.name: level(n.name) for n in reversed(circuit.nodes)}


EVEN_ODD = "even/odd"


@dataclass(frozen=True)
class Sweep:
    """Visit the nodes one after the other, from the loss back to the input.

    A visit moves nodes by `rate` down the energy, all others held. With fixed
    predictions, rate 1 and the default order a single sweep is exact at the price of
    backpropagation, on every graph: it *is* backpropagation by another route
    (Rosenbaum 2022), not predictive coding made cheap. With free predictions a sweep
    carries a signal through all layers, where a step carries it through one.

    Args:
      sweeps: how often all nodes are visited. The `steps` of the rule are not used.
      order: None is back to front, also inside loops; `"even/odd"` moves every second
        level at once (Kerjan, Hoier & Scellier 2026); or the names of the nodes. With
        an order given, a node inside a loop is visited at all its steps at once.

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

    def require_whole_visits(self, circuit: Circuit) -> None:
        """Refuse the order inside loops where a visit takes all steps at once."""
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

    def settle(self, energy: Energy, budget: Budget) -> Settled:
        """Sweep from the feed-forward values."""
        self.require_whole_visits(energy.circuit)
        visits = self.visits(energy.circuit)

        def sweep(state: Any) -> Any:
            point, tick = state
            for names in visits:
                point = _visit(energy, point, names, budget.rate, tick)
            return point, tick + 1

        start = energy.start
        begin = (start, jnp.zeros((), int))
        point, _ = repeat(energy.circuit, sweep, begin, self.sweeps)
        residual = relative_norm(energy.slope(point), energy.slope(start))
        return energy.settled(point, residual, self.sweeps)


def _visit(
    energy: Energy, point: Any, names: Sequence[str], rate: Any, tick: Any
) -> dict[str, jax.Array]:
    # Only these nodes' part of the slope is used, so only that is computed.
    slope = energy.slope(point, tick)
    moved = {n: point[n] - jnp.asarray(rate, slope[n].dtype) * slope[n] for n in names}
    return {**point, **moved}


# ---- Zero-divergence inference learning: every layer's weights move at its own tick.
#
# Predictions are free and steps have size 1. At tick k the nodes k nodes away from the
# loss move for the first time, and in the same tick the parameters that make them learn
# from their errors, later than those above and sooner than those below:
#
#     v_n <- v_n - dE/dv_n,      d theta_n = -<e_n, dp_n/d theta_n>      at tick k
#
# What makes them has not moved yet, so predictions and their derivatives are still
# those
# of the forward pass: the same as fixed ones. Where paths have different lengths,
# identity nodes make them alike (Salvatori et al. 2022): what has come along a shorter
# one waits for the longest.


@dataclass(frozen=True)
class ZeroDivergence:
    """Free predictions, steps of size 1, and weights that move at their own tick.

    The update is that of backpropagation, on every graph. The `steps` of the rule are
    not used: there are as many ticks as the longest path has nodes (a loop counts
    once). All are taken in one reverse pass, as by `Sweep()`: the error of a node at
    its tick is the cotangent there. The values have not settled when the last weights
    move: the residual is that of free predictions.

    Example:
      >>> import apical
      >>> rule = apical.rules.PredictiveCoding(
      ...     prediction="free", inference=apical.rules.ZeroDivergence()
      ... )

    Source: Song, Lukasiewicz, Xu & Bogacz 2020, NeurIPS; Salvatori, Song, Xu,
    Lukasiewicz & Bogacz 2022, AAAI.
    """

    citation: ClassVar[str] = (
        "@inproceedings{song2020can, title={Can the Brain Do Backpropagation? "
        "Exact Implementation of Backpropagation in Predictive Coding Networks}, "
        "author={Song, Yuhang and Lukasiewicz, Thomas and Xu, Zhenghua and "
        "Bogacz, Rafal}, booktitle={NeurIPS}, year={2020}}"
    )

    def settle(self, energy: Free, budget: Budget) -> Settled:
        """In one reverse pass, whose cotangents are the errors of each tick."""
        del budget
        swept, ticks = sweep_exactly(energy.terms), max(levels(energy.circuit).values())
        residual = _residual(energy, swept.values)
        return swept._replace(residual=residual, steps=ticks)


def _residual(energy: Free, values: Values) -> jax.Array:
    """How far from rest values are that have moved once each."""
    return relative_norm(energy.slope(values), energy.slope(energy.start))
