"""Interventions: the update is run again with one copy, label, output or slope changed.

level of a weight = the weakest change of it that changes some bit of the update:
other signs ("sign"), each entry by its own factor ("scale-free"),
all by one factor ("full")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._update_program import UpdateProgram

# Changes of a label, and what counts as no change, relative to the largest.
_RANK_TOLERANCE, _COUPLING_TOLERANCE = 1e-3, 1e-4
# Directions in which a label is moved, at most.
_DIRECTIONS = 12
# Entries of a leaf that are changed alone, at most.
_PLACES = 4
# The relative changes of the output of the network: a small one, and other signs.
_SHIFT, _FLIP = 0.125, -2.0


class Change(NamedTuple):
    """What is changed: copies `(kind, leaf, value)`, arrays of the state, or others."""

    copies: tuple[tuple[int, int, Any], ...] = ()
    state: tuple[tuple[int, Any], ...] = ()
    given: Sequence[Any] | None = None
    shift: float = 0.0
    slope: str | None = None


NO_CHANGE = Change()
FORWARD, SECOND, REST = 0, 1, 2


class Interventions:
    """The update of a program, run with one thing changed at a time.

    Args:
      update: the program.
      seed: of the random changes.
    """

    def __init__(self, update: UpdateProgram, seed: int = 0) -> None:
        self.update = update
        self.random = np.random.default_rng(seed)
        self.leaves = update.learned
        self.base = self.outputs()

    def outputs(self, change: Change = NO_CHANGE) -> list[np.ndarray]:
        """The outputs, with one thing changed."""
        update = self.update
        copies = [list(self.leaves) for _ in range(3)]
        for kind, leaf, value in change.copies:
            copies[kind][leaf] = value
        state = list(update.old_state)
        for i, value in change.state:
            state[i] = value
        slopes = {n: jnp.ones(()) for n in update.units}
        if change.slope is not None:
            slopes[change.slope] = jnp.full((), 1.5)
        given = list(update.given if change.given is None else change.given)
        found = update.run(copies, state, given, jnp.float32(change.shift), slopes)
        return [np.asarray(each) for each in jax.device_get(found)]

    def changed(self, outputs: Sequence[np.ndarray]) -> list[bool]:
        """Which outputs differ in some bit from those without a change."""
        pairs = zip(outputs, self.base, strict=True)
        return [not np.array_equal(a, b, equal_nan=_real(a)) for a, b in pairs]

    # ---- Weights.

    def levels(self, kind: int, leaf: int) -> list[str | None]:
        """For each output, what of a leaf's copy it depends on."""
        value = np.asarray(self.leaves[leaf])
        signs = self._signs(value.shape)
        flipped = self._after(kind, leaf, value * signs)
        scales = self._scales(value.shape)
        scaled = self._after(kind, leaf, value * scales)
        if not any(flipped) and not any(scaled):
            return [None] * len(flipped)
        doubled = self._after(kind, leaf, value * value.dtype.type(2))
        return [
            "full" if d else "scale-free" if s else "sign" if f else None
            for f, s, d in zip(flipped, scaled, doubled, strict=True)
        ]

    def depends(self, kind: int, leaf: int) -> list[bool]:
        """For each output, whether it depends on a leaf's copy."""
        value = np.asarray(self.leaves[leaf])
        factor = self._signs(value.shape) * self._scales(value.shape)
        return self._after(kind, leaf, value * factor)

    def _after(self, kind: int, leaf: int, value: Any) -> list[bool]:
        return self.changed(self.outputs(Change(copies=((kind, leaf, value),))))

    def reads_others(self, leaf: int) -> bool:
        """Whether an entry of a leaf's update depends on other entries of the leaf."""
        value = np.asarray(self.leaves[leaf])
        places = self.random.permutation(value.size)[:_PLACES]
        for place in places:
            moved = value.copy()
            moved.reshape(-1)[place] *= -2
            found = self.outputs(Change(copies=((REST, leaf, moved),)))[leaf]
            different = (found != self.base[leaf]).reshape(-1)
            different[place] = False
            if different.any():
                return True
        return False

    def crossings(self) -> list[int]:
        """For each output, the weights without which the output does not reach it.

        Without them there is no path from the output of the network: each of its paths
        passes that many uses of weights, of the parameters or of the state.
        """
        zeros: list[Change] = []
        for i, leaf in enumerate(self.leaves):
            zeros.append(Change(copies=((REST, i, jnp.zeros_like(leaf)),)))
        for i in self.update.feedback:
            array = self.update.old_state[i]
            zeros.append(Change(state=((i, jnp.zeros_like(array)),)))
        needed = [0] * len(self.base)
        for zero in zeros:
            without = self.outputs(zero)
            moved = self.outputs(zero._replace(shift=_SHIFT))
            for i, (a, b) in enumerate(zip(without, moved, strict=True)):
                needed[i] += np.array_equal(a, b, equal_nan=_real(a))
        return needed

    def _signs(self, shape: tuple[int, ...]) -> np.ndarray:
        signs = self.random.choice(np.array([-1, 1], np.int8), shape)
        if signs.size:  # at least one
            signs.reshape(-1)[0] = -1
        return signs

    def _scales(self, shape: tuple[int, ...]) -> np.ndarray:
        scales = self.random.choice(np.array([0.5, 2.0], np.float32), shape)
        if scales.size > 1:
            scales.reshape(-1)[:2] = 0.5, 2.0
        return scales

    # ---- Data.

    def _axis(self, x: Any) -> int | None:
        """The axis of the examples in an array of the arguments."""
        size = self.update.circuit.batch_size
        return next((i for i, n in enumerate(np.shape(x)) if n == size), None)

    def reads_output(self) -> list[bool]:
        """Which outputs depend on the output of the network."""
        each = [self.changed(self.outputs(Change(shift=s))) for s in (_SHIFT, _FLIP)]
        return [any(column) for column in zip(*each, strict=True)]

    def slopes(self) -> dict[str, list[bool]]:
        """For each unit, which outputs depend on its nonlinearity's derivative."""
        return {
            n: self.changed(self.outputs(Change(slope=n))) for n in self.update.units
        }

    def ranks(self) -> list[int | None]:
        """For each output, the rank of its changes as one example's label changes."""
        columns = [self.outputs(Change(given=given)) for given in self._other_labels()]
        if not columns:
            return [None] * len(self.base)
        found: list[int | None] = []
        for i, base in enumerate(self.base):
            if not _real(base):
                found.append(None)
                continue
            moved = np.stack([(c[i] - base).reshape(-1) for c in columns])
            singular = np.linalg.svd(moved.astype(np.float64), compute_uv=False)
            large = singular > _RANK_TOLERANCE * singular[0]
            rank = int(np.sum(large)) if singular[0] > 0 else 0
            found.append(min(rank, self.update.outputs or rank))
        return found

    def _other_labels(self) -> list[list[Any]]:
        """The data with another label of the first example."""
        if len(self.update.labels) != 1:
            return []
        (position,) = self.update.labels
        label = np.asarray(self.update.given[position])
        axis = self._axis(label)
        if axis is None:
            return []
        count = min(self.update.outputs + 1, _DIRECTIONS)
        found = []
        for i in range(count):
            moved = np.moveaxis(label.copy(), axis, 0)
            if _real(label):
                step = self.random.normal(size=moved[0].shape)
                moved[0] += (0.5 * step).astype(label.dtype)
            else:
                moved[0] = (moved[0] + 1 + i) % max(self.update.outputs, 2)
            given = list(self.update.given)
            given[position] = jnp.asarray(np.moveaxis(moved, 0, axis))
            found.append(given)
        return found

    def coupled(self) -> list[bool | None]:
        """Which outputs are not a sum over the examples.

        g(a, b) - g(a', b) - g(a, b') + g(a', b') = 0   for such a sum
        """
        if self.update.circuit.batch_size < 3:
            return [None] * len(self.base)
        first, second, both = ({0}, {1}, {0, 1})
        a, b, ab = (
            self.outputs(
                Change(given=[self._replaced(x, rows) for x in self.update.given])
            )
            for rows in (first, second, both)
        )
        found: list[bool | None] = []
        for g, ga, gb, gab in zip(self.base, a, b, ab, strict=True):
            if not _real(g):
                found.append(None)
                continue
            mixed = (g.astype(np.float64) - ga) - (gb.astype(np.float64) - gab)
            size = max(float(np.max(np.abs(each), initial=0)) for each in (g, ga, gb))
            largest = float(np.max(np.abs(mixed), initial=0))
            found.append(bool(largest > _COUPLING_TOLERANCE * size))
        return found

    def _replaced(self, x: Any, rows: set[int]) -> Any:
        """An array whose examples `rows` are replaced by the last one."""
        axis = self._axis(x)
        if axis is None:
            return x
        moved = np.moveaxis(np.array(x), axis, 0)
        for row in rows:
            moved[row] = moved[-1]
        return jnp.asarray(np.moveaxis(moved, 0, axis))


def _real(x: np.ndarray) -> bool:
    return bool(np.issubdtype(x.dtype, np.inexact)) or x.dtype.kind == "V"
