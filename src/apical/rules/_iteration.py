"""Repeated steps of inference, in a loop or unrolled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax

from ..circuit import Circuit, scan

S = TypeVar("S")
# Limits on the number of unrolled steps, and of steps times nodes: above them
# compilation takes minutes and much memory.
_WRITTEN_OUT, _WRITTEN_OUT_NODES = 64, 400


def repeat(
    circuit: Circuit,
    step: Callable[[S], S],
    state: S,
    steps: int,
    of: int | None = None,
) -> S:
    """Apply a step `steps` times.

    On a CPU, XLA runs a convolution inside a loop more slowly than outside (2 times, in
    older versions 10-50 times), so short loops with convolutions are unrolled there.
    All others stay loops, so that the time to compile does not grow with the number of
    steps. (Dense layers are no faster when unrolled.)

    Args:
      circuit: of the loss function.
      step: maps a state to the next.
      state: the initial state.
      steps: the number of steps.
      of: the total number of steps, if `steps` are a part of them.
    """
    if steps <= 1 or written_out(circuit, of or steps):
        for _ in range(steps):
            state = step(state)
        return state
    return scan(lambda s, _: (step(s), None), state, length=steps)[0]


def written_out(circuit: Circuit, steps: int) -> bool:
    """Whether a loop with this many steps is unrolled."""
    slow = circuit.structure.has_convolution and jax.default_backend() == "cpu"
    small = steps * len(circuit.nodes) <= _WRITTEN_OUT_NODES
    return slow and small and steps <= _WRITTEN_OUT
