"""How values move: gradient steps by any optax transformation, or sweeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import jax
import optax

from ..circuit import Circuit
from ._rule import relative_norm

S = TypeVar("S")


class Settled(NamedTuple):
    """Where inference ended.

    Attributes:
      value: the loss of the undisturbed forward pass.
      aux: what the loss function returned beside it.
      grads: the gradients of the learned leaves.
      values: the value of each node.
      errors: value minus prediction, of each node.
      residual: the norm of dE/dv at the last step, relative to the first.
    """

    value: jax.Array
    aux: Any
    grads: list[jax.Array]
    values: dict[str, jax.Array]
    errors: dict[str, jax.Array]
    residual: jax.Array


@dataclass(frozen=True)
class Sweep:
    """Visit the nodes one after the other, from the loss back to the input.

    A visit moves one node by `rate` towards the minimum of the energy, all others
    held. With fixed predictions, rate 1 and the default order a single sweep is exact
    at the price of backpropagation, on every graph: it *is* backpropagation by another
    route (Rosenbaum 2022), not predictive coding made cheap.

    Args:
      sweeps: how often all nodes are visited.
      order: the names of the nodes in the order of their visits; None is back to
        front, also inside loops. With an order given, a node inside a loop is visited
        at all its steps at once.

    Example:
      >>> import apical
      >>> rule = apical.rules.PredictiveCoding(inference=apical.rules.Sweep())

    Source: Rosenbaum 2022, PLOS ONE 17(3).
    """

    sweeps: int = 1
    order: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.sweeps, int) or self.sweeps < 1:
            raise ValueError(
                f"`sweeps` must be a whole number above 0, not {self.sweeps!r}."
            )
        if not isinstance(self.order, (tuple, list, type(None))):
            raise ValueError(
                "`order` must be a tuple of the nodes' names, as `('a', 'b')`, not "
                f"{self.order!r}."
            )
        if self.order is not None:
            object.__setattr__(self, "order", tuple(self.order))

    def require_whole_visits(self, circuit: Circuit) -> None:
        """Refuse the order inside loops where a visit takes all steps at once."""
        if self.order is None and circuit.has_loop:
            raise ValueError(
                "`Sweep()` goes back to front inside loops only at a known rate of 1. "
                "With another (or a traced) rate, give `order=` to visit a node at all "
                "steps of its loop at once, or use steps in place of a sweep."
            )

    def visits(self, circuit: Circuit) -> list[str]:
        """The nodes in the order of their visits."""
        names = [n.name for n in circuit.nodes]
        order = tuple(reversed(names)) if self.order is None else self.order
        if set(order) != set(names):
            wrong = sorted(set(order) ^ set(names))[0]
            raise ValueError(
                f"`order` must name every node; {wrong!r} is missing or unknown. The "
                f"nodes are {names}."
            )
        return list(order)


def repeat(circuit: Circuit, step: Callable[[S], S], state: S, steps: int) -> S:
    """Apply a step `steps` times.

    XLA runs a convolution inside a loop on a CPU 10-50 times slower than outside, so
    there the loop is written out; everywhere else it stays rolled, and the time to
    compile does not grow with the number of steps.
    """
    if circuit.has_convolution and jax.default_backend() == "cpu":
        for _ in range(steps):
            state = step(state)
        return state
    return jax.lax.scan(lambda s, _: (step(s), None), state, length=steps)[0]


def as_optimizer(
    inference: optax.GradientTransformation | None, rate: Any
) -> optax.GradientTransformation:
    """The given transformation, or plain gradient steps of a (traced) rate."""
    if inference is not None:
        return inference

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        del params
        return jax.tree.map(lambda g: (-rate * g).astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def relax(
    circuit: Circuit,
    slope: Callable[[Any], Any],
    values: Any,
    optimizer: optax.GradientTransformation,
    steps: int,
) -> tuple[Any, jax.Array]:
    """Steps of an optimiser down a slope, and the relative residual at the last."""

    def move(values: Any, state: Any) -> Any:
        grads = slope(values)
        updates, state = optimizer.update(grads, state, values)
        return (optax.apply_updates(values, updates), state), grads

    # Only the first and the last slope are measured, so that the steps between, which
    # are what takes the time, do nothing else.
    moving, first = move(values, optimizer.init(values))
    moving = repeat(circuit, lambda m: move(*m)[0], moving, max(steps - 2, 0))
    last = first
    if steps > 1:
        moving, last = move(*moving)
    return moving[0], relative_norm(last, first)
