"""Gradient descent, v <- v - rate dE/dv: all values at once, by any optax optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import optax

from ....circuit import Circuit
from ..._adaptive_step_size import as_optimizer
from ..._field_checks import check_transformation
from ..._iteration import repeat, written_out
from ..._numerics import relative_norm, root_of_ratio, squared_norm
from .._active_front import needed_steps
from .._energy import AbstractEnergy, Settled, Stage
from ._abstract import AbstractInference, Budget, Reach


class Relaxed(NamedTuple):
    """The end of a descent: the point, the relative residual, the steps taken."""

    point: Any
    residual: jax.Array
    steps: Any


@final
@dataclass(frozen=True)
class GradientDescent(AbstractInference):
    """Parallel gradient steps of all values; used for None or an optax transformation.

    Args:
      optimizer: any optax transformation; None: plain steps of the rule's rate.

    Source: Whittington & Bogacz 2017, Neural Computation 29.
    """

    optimizer: optax.GradientTransformation | None = None

    supports_tolerance = True
    supports_free_arguments = True

    def __post_init__(self) -> None:
        if self.optimizer is not None:
            check_transformation(self.optimizer, "inference")

    def reach(self, circuit: Circuit, free: bool, steps: int | None) -> Reach | None:
        """A signal moves by one node per step."""
        if steps is None:
            return None
        return Reach(steps, needed_steps(circuit, free, steps))

    def settle(self, energy: AbstractEnergy, budget: Budget) -> Settled:
        """Descend from the feed-forward values."""
        circuit, start = energy.circuit, energy.start
        optimizer = as_optimizer(self.optimizer, budget.rate, circuit)
        if budget.tolerance:
            relaxed = relax_until(circuit, energy.slope, start, optimizer, budget)
        else:
            stages = energy.stages(budget.steps)
            relaxed = relax(circuit, stages, start, optimizer)
        return energy.settled(*relaxed)


def relax(
    circuit: Circuit,
    stages: Sequence[Stage],
    point: Any,
    optimizer: optax.GradientTransformation,
) -> Relaxed:
    """Steps of an optimiser down a slope: a function of a point and a step.

    Args:
      circuit: determines whether loops are unrolled.
      stages: pairs `(slope, count)`, in order.
      point: where to start: any pytree.
      optimizer: gives the steps.
    """
    # Only the first and the last slope are measured, to keep the steps between cheap.
    (slope, _), (end, _) = stages[0], stages[-1]
    state, first = _move(slope, optimizer, _begin(point, optimizer))
    steps, last = sum(count for _, count in stages), first
    between = [count for _, count in stages]
    between[0] -= 1
    between[-1] -= 1
    for (slope, _), count in zip(stages, between, strict=True):
        state = repeat(
            circuit, partial(_next_state, slope, optimizer), state, count, steps
        )
    if steps > 1:
        state, last = _move(end, optimizer, state)
    return Relaxed(state.point, relative_norm(last, first), steps)


class State(NamedTuple):
    """The state between two steps: point, optimiser state, number of steps taken."""

    point: Any
    memory: Any
    step: jax.Array


def _begin(point: Any, optimizer: optax.GradientTransformation) -> State:
    return State(point, optimizer.init(point), jnp.zeros((), int))


def _move(
    slope: Callable[..., Any], optimizer: optax.GradientTransformation, at: State
) -> tuple[State, Any]:
    """One step, and the slope that it used."""
    grads = slope(at.point, at.step)
    updates, memory = optimizer.update(grads, at.memory, at.point)
    return State(optax.apply_updates(at.point, updates), memory, at.step + 1), grads


def _next_state(
    slope: Callable[..., Any], optimizer: optax.GradientTransformation, at: State
) -> State:
    return _move(slope, optimizer, at)[0]


def relax_until(
    circuit: Circuit,
    slope: Callable[..., Any],
    point: Any,
    optimizer: optax.GradientTransformation,
    budget: Budget,
) -> Relaxed:
    """Take steps until the slope is small enough; it is measured before each step.

    No step is taken once the slope is small, so the returned point has that residual.

    Args:
      circuit: determines whether the loop is unrolled.
      slope: `slope(point, step)`.
      point: where to start: any pytree.
      optimizer: gives the steps.
      budget: the maximum number of steps, and the norm of the slope, relative to the
        first, at which they end.
    """
    first = None

    def advance(state: Any) -> Any:
        here, _, _ = state
        there, grads = _move(slope, optimizer, here)
        return there, here, squared_norm(grads)

    def done(state: Any) -> Any:
        return root_of_ratio(state[2], first) <= budget.tolerance

    begin = _begin(point, optimizer)
    state = advance((begin, begin, jnp.zeros(())))
    first = state[2]
    if written_out(circuit, budget.steps):
        for _ in range(budget.steps - 1):
            held = done(state)
            moved = advance(state)
            state = jax.tree.map(lambda a, b, h=held: jnp.where(h, a, b), state, moved)
    else:
        state = jax.lax.while_loop(
            lambda s: ~done(s) & (s[0].step < budget.steps), advance, state
        )
    there, here, norm = state
    # The slope was measured at `here`; if it was small, the step is undone.
    small = done(state)
    end = jax.tree.map(lambda a, b: jnp.where(small, a, b), here, there)
    return Relaxed(end.point, root_of_ratio(norm, first), end.step)
