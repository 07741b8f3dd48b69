"""Relaxation: all values move at once, by any optax transformation.

v <- v - rate dE/dv
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import optax

from ...circuit import Circuit
from .._rule import (
    check_transformation,
    relative_norm,
    root_of_ratio,
    squared_norm,
)
from ._settled import Budget, Settled

S = TypeVar("S")


class Energy(Protocol):
    """What inference needs of an energy; its points are values, or errors."""

    @property
    def circuit(self) -> Circuit:
        """Of the loss function."""
        ...

    @property
    def start(self) -> Any:
        """The point of the feed-forward values."""
        ...

    def slope(self, point: Any, tick: Any = None, /) -> Any:
        """dE/dv of one example."""
        ...

    def settled(self, point: Any, residual: Any, steps: Any, /) -> Settled:
        """Where inference ended."""
        ...


class Relaxed(NamedTuple):
    """Where a descent ended: the point, the relative residual, the steps taken."""

    point: Any
    residual: jax.Array
    steps: Any


@dataclass(frozen=True)
class Relaxation:
    """All values move at once: what `inference=` stands for unless it says otherwise.

    Args:
      optimizer: any optax transformation; None: plain steps of the rule's rate.

    Source: Whittington & Bogacz 2017, Neural Computation 29.
    """

    optimizer: optax.GradientTransformation | None = None

    def __post_init__(self) -> None:
        if self.optimizer is not None:
            check_transformation(self.optimizer, "inference")

    def settle(self, energy: Energy, budget: Budget) -> Settled:
        """Descend from the feed-forward values."""
        optimizer = as_optimizer(self.optimizer, budget.rate)
        relaxed = relax(
            energy.circuit,
            energy.slope,
            energy.start,
            optimizer,
            budget.steps,
            budget.tolerance,
        )
        return energy.settled(*relaxed)


def as_optimizer(
    given: optax.GradientTransformation | None, rate: Any
) -> optax.GradientTransformation:
    """The given transformation, or plain gradient steps of a (traced) rate."""
    if given is not None:
        return given

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        del params
        return jax.tree.map(lambda g: (-rate * g).astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def repeat(circuit: Circuit, step: Callable[[S], S], state: S, steps: int) -> S:
    """Apply a step `steps` times.

    XLA runs a convolution inside a loop on a CPU 10-50 times slower than outside, so
    there the loop is written out; everywhere else it stays rolled, and the time to
    compile does not grow with the number of steps.
    """
    if written_out(circuit):
        for _ in range(steps):
            state = step(state)
        return state
    return jax.lax.scan(lambda s, _: (step(s), None), state, length=steps)[0]


def written_out(circuit: Circuit) -> bool:
    """Whether loops are written out rather than rolled."""
    return circuit.has_convolution and jax.default_backend() == "cpu"


def relax(
    circuit: Circuit,
    slope: Callable[[Any, Any], Any],
    point: Any,
    optimizer: optax.GradientTransformation,
    steps: int,
    tolerance: float = 0.0,
) -> Relaxed:
    """Steps of an optimiser down a slope: a function of a point and a tick.

    Args:
      circuit: decides whether the loop is rolled.
      slope: `slope(point, tick)`.
      point: where to start: any pytree.
      optimizer: gives the steps.
      steps: how many at most.
      tolerance: ends at the first slope whose norm, relative to the first, is not
        above it; 0: takes all steps.
    """

    def move(state: Any) -> Any:
        point, memory, tick = state
        grads = slope(point, tick)
        updates, memory = optimizer.update(grads, memory, point)
        return (optax.apply_updates(point, updates), memory, tick + 1), grads

    begin = (point, optimizer.init(point), jnp.zeros((), int))
    if tolerance:
        return _until(circuit, move, begin, steps, tolerance)
    # Only the first and the last slope are measured, so that the steps between, which
    # are what takes the time, do nothing else.
    state, first = move(begin)
    state = repeat(circuit, lambda s: move(s)[0], state, max(steps - 2, 0))
    last = first
    if steps > 1:
        state, last = move(state)
    return Relaxed(state[0], relative_norm(last, first), steps)


def _until(
    circuit: Circuit, move: Callable[[Any], Any], begin: Any, steps: int, tol: float
) -> Relaxed:
    """Steps until the slope, measured before each, is small enough.

    A step that meets a small slope is not taken: what is returned has that residual.
    """
    first = None

    def advance(state: Any) -> Any:
        here, _, _ = state
        there, grads = move(here)
        return there, here, squared_norm(grads)

    def done(state: Any) -> Any:
        return root_of_ratio(state[2], first) <= tol

    state = advance((begin, begin, jnp.zeros(())))
    first = state[2]
    if written_out(circuit):
        for _ in range(steps - 1):
            held = done(state)
            moved = advance(state)
            state = jax.tree.map(lambda a, b, h=held: jnp.where(h, a, b), state, moved)
    else:
        state = jax.lax.while_loop(
            lambda s: ~done(s) & (s[0][2] < steps), advance, state
        )
    there, here, norm = state
    # The slope was measured at `here`; where that was small the step is taken back.
    small = done(state)
    point, _, tick = jax.tree.map(lambda a, b: jnp.where(small, a, b), here, there)
    return Relaxed(point, root_of_ratio(norm, first), tick)
