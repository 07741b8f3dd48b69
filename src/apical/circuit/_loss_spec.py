"""`LossSpec`: the description of a loss function by its keywords."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class LossSpec:
    """The description of a loss function: keywords of `apical.value_and_grad`."""

    has_aux: bool = False
    reduction: str = "mean"
    batch_axes: Any = 0
    nodes: str = "entry"
    target: Callable[..., Any] | None = None
    input_argnums: tuple[int, ...] | None = None
    carry: tuple[int, Any] | None = None
    derivative: bool = True  # whether the loss must be differentiable in the parameters
    stepwise: bool = False  # whether a loss without a loop is a step from its carry

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ValueError(
                f"`reduction` must be 'mean' or 'sum', not {self.reduction!r}."
            )
        if self.nodes not in ("entry", "step", "unit", "marked", "every"):
            raise ValueError(
                "`nodes` must be 'entry', 'step', 'unit', 'marked' or 'every', not "
                f"{self.nodes!r}."
            )
        if not all(map(_is_axis, jax.tree.leaves(self.batch_axes))):
            raise ValueError(
                "`batch_axes` must be the axis of the examples: an integer, None, or a "
                "tuple of these, one per argument after `params`, not "
                f"{self.batch_axes!r}."
            )
        if self.target is not None and not callable(self.target):
            raise TypeError(
                "`target` must be a function of the arguments after `params` that "
                "returns what the output should be (`lambda x, y: y`), not a "
                f"{type(self.target).__name__}."
            )
        if self.input_argnums is not None and not _are_positions(self.input_argnums):
            raise ValueError(
                "`input_argnums` must hold the positions of arguments after `params`, "
                f"as `(0,)` for the first of them, not {self.input_argnums!r}."
            )
        if self.carry is not None and not _is_carry(self.carry):
            raise ValueError(
                "`carry` must be a pair `(position, path)`: the argument after "
                "`params` that a window starts from, and where `aux` holds what it "
                f"ended with, as `(0, 'carry')` or `(0, (1, 'h'))`, not {self.carry!r}."
            )


def _are_positions(given: Any) -> bool:
    """Whether these are whole numbers of at least 0, each once."""
    return (
        isinstance(given, tuple)
        and 0 < len(given) == len(set(given))
        and all(_is_axis(i) and i >= 0 for i in given)
    )


def _is_carry(given: Any) -> bool:
    """Whether this is a position and a path."""
    return isinstance(given, tuple) and len(given) == 2 and _are_positions(given[:1])


def _is_axis(leaf: Any) -> bool:
    return isinstance(leaf, (int, np.integer)) and not isinstance(leaf, bool)
