"""Repeat a step of inference: rolled as a loop, or written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax

from ..circuit import Circuit

S = TypeVar("S")
# More steps than these are never compiled one by one, and no more steps times nodes:
# that takes minutes, and memory.
_WRITTEN_OUT, _WRITTEN_OUT_NODES = 64, 400


def repeat(
    circuit: Circuit,
    step: Callable[[S], S],
    state: S,
    steps: int,
    of: int | None = None,
) -> S:
    """Apply a step `steps` times, `of` so many in all.

    XLA runs a convolution inside a loop on a CPU slower than outside (twice, and 10-50
    times in older versions), so there a loop that is not long is written out;
    everywhere else it stays rolled, and the time to compile does not grow with the
    number of steps. (Dense layers are no faster when two, five or all steps are written
    out.)
    """
    if steps <= 1 or written_out(circuit, of or steps):
        for _ in range(steps):
            state = step(state)
        return state
    return jax.lax.scan(lambda s, _: (step(s), None), state, length=steps)[0]


def written_out(circuit: Circuit, steps: int) -> bool:
    """Whether a loop of so many steps is written out rather than rolled."""
    slow = circuit.structure.has_convolution and jax.default_backend() == "cpu"
    small = steps * len(circuit.nodes) <= _WRITTEN_OUT_NODES
    return slow and small and steps <= _WRITTEN_OUT
