"""The active front: which nodes a signal has reached, step by step.

At the feed-forward values there are no errors, and only the loss pulls. In a step a
signal passes from a node to those that predict it, and to those that it predicts:

    moved_0   = {}
    erring_t  = moved_t, and what they predict directly
    moved_t+1 = erring_t, what predicts them, and what the loss reads

All other errors and slopes are exactly 0, and need not be computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...circuit import LOSS, Circuit

# Each stage is compiled by itself: few, so that compiling takes as long as so many
# passes whatever the depth; many, so that little is computed that is 0. Of 20 layers
# and 20 steps, 8 gain a factor of 1.67 where a stage for every step gains 1.72 and
# takes 1.5 times as long to compile.
_STAGES = 8


class ActiveFront(NamedTuple):
    """The nodes that a signal can have reached in a step.

    Attributes:
      erring: those that may have an error.
      moving: those that may have a slope.
    """

    erring: frozenset[str]
    moving: frozenset[str]


def fronts(circuit: Circuit, steps: int) -> list[ActiveFront]:
    """The front in each step from the feed-forward values, until it stays the same.

    Inside loops, and where a user's reverse rule need not return 0 for no error, it
    is everywhere at once.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     for w_l in w:
      ...         x = jnp.tanh(x @ w_l)
      ...     return jnp.mean(x**2)
      >>> w = [jnp.eye(2)] * 4
      >>> circuit = apical.trace(loss_fn)(w, jnp.ones((3, 2)))
      >>> [sorted(front.moving) for front in fronts(circuit, 20)]
      [['2'], ['1', '2'], ['0', '1', '2'], ['0', '1', '2']]
    """
    every = frozenset(node.name for node in circuit.nodes)
    if circuit.has_loop or not circuit.linear_derivatives:
        return [ActiveFront(every, every)]
    found: list[ActiveFront] = []
    moved: frozenset[str] = frozenset()
    for _ in range(steps):
        front = _next(circuit, moved, free=True)
        if found and front == found[-1]:
            break
        found.append(front)
        moved = front.moving
    return found


def _next(circuit: Circuit, moved: frozenset[str], free: bool) -> ActiveFront:
    """The front after these nodes have moved."""
    after = {name: {to for to, _ in reached} for name, reached in circuit.reach.items()}
    predicted = {to for name in moved for to in after[name] if free and to is not LOSS}
    erring = moved | predicted
    pulls = {LOSS, *erring}
    return ActiveFront(erring, erring | {name for name in after if after[name] & pulls})


def needed_sweeps(
    circuit: Circuit, free: bool, visits: Sequence[Sequence[str]]
) -> dict[str, int]:
    """How many sweeps a signal needs to reach each node; empty with loops: unknown."""
    found: dict[str, int] = {}
    moved: frozenset[str] = frozenset()
    if circuit.has_loop or not circuit.linear_derivatives:
        return found
    for sweep in range(1, len(circuit.nodes) + 1):
        for visit in visits:
            moved |= _next(circuit, moved, free).moving & set(visit)
        for name in _next(circuit, moved, free).erring:
            found.setdefault(name, sweep)
    return {name: found[name] for name in circuit.reach if name in found}


def needed_steps(circuit: Circuit, free: bool, steps: int) -> dict[str, int]:
    """How many steps a signal needs to reach each node, in forward order.

    Where predictions are free it also arrives from below, by a prediction that moved:
    a node that it reaches so within these steps needs no more than these.
    """
    found = circuit.distances
    if not free or circuit.has_loop or not circuit.linear_derivatives:
        return found
    last = fronts(circuit, steps)[-1]
    reached = last.erring | last.moving
    return {n: min(d, steps) if n in reached else d for n, d in found.items()}


def stages(
    circuit: Circuit, steps: int, written_out: bool
) -> list[tuple[ActiveFront, int]]:
    """Steps in a row with one front that covers them all: the front, and how many.

    Args:
      circuit: of the loss function.
      steps: how many there are in all.
      written_out: whether each step is compiled by itself anyway.
    """
    each = fronts(circuit, steps)
    length = 1 if written_out else -(-len(each) // _STAGES)
    # The last front stays, so that its stage takes all the steps that are left.
    firsts = range(0, len(each), length)
    ends = [*firsts[1:], steps]
    return [
        (each[min(end, len(each)) - 1], end - first)
        for first, end in zip(firsts, ends, strict=True)
    ]
