"""Several outputs as one array, concatenated per example.

Rules treat several outputs (two heads, an actor and a critic, boxes and classes) as one
array. Outputs that differ only in their last axis are concatenated along it (so that
time steps remain an axis); others are first flattened per example.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

from .._evaluate._taps import Tap
from .._marks import INTERNAL, OUTPUT
from ._example_position import Place, unfolded, unfolded_axis


class Outputs:
    """The outputs of a circuit, in the order of the program.

    Args:
      shapes: the shape of each, with the loops around it as leading axes.
      places: the place of the examples in each; None if it has none.
      count: the number of examples.

    Attributes:
      names: the name of each one's site.
      shape: shape and dtype of all as one.
      place: the place of the examples in it.
    """

    def __init__(
        self,
        shapes: Sequence[jax.ShapeDtypeStruct],
        places: Sequence[Place | None],
        count: int,
    ) -> None:
        self.shapes, self.places, self.count = shapes, places, count
        self.alone = len(shapes) == 1
        several = [f"{INTERNAL}{OUTPUT} {k}" for k in range(len(shapes))]
        self.names = [OUTPUT] if self.alone else several
        self.place = places[0] if self.alone or self._alike else Place(0)
        self.shape = (
            shapes[0]
            if self.alone
            else jax.eval_shape(
                self.join, [jax.ShapeDtypeStruct(s.shape, s.dtype) for s in shapes]
            )
        )

    @property
    def _alike(self) -> bool:
        """Whether all outputs differ only in their last axis."""
        place, rank = self.places[0], len(self.shapes[0].shape)
        return (
            len(set(self.places)) == len({s.shape[:-1] for s in self.shapes}) == 1
            and all(len(s.shape) == rank for s in self.shapes)
            and (place is None or place.axis < rank - 1)
        )

    def join(self, values: Sequence[jax.Array]) -> jax.Array:
        """All outputs as one array."""
        if self.alone:
            return values[0]
        if self._alike:
            return jnp.concatenate(values, axis=-1)
        rows = [self._rows(i, x) for i, x in enumerate(values)]
        return jnp.concatenate(rows, axis=-1)

    def split(self, joined: jax.Array) -> list[jax.Array]:
        """The outputs in one array, each with its shape and dtype."""
        if self.alone:
            return [joined]
        sizes = [s.shape[-1] for s in self.shapes]
        if not self._alike:
            sizes = [math.prod(s.shape) // self.count for s in self.shapes]
        parts = jnp.split(joined, list(accumulate(sizes))[:-1], axis=-1)
        if not self._alike:
            parts = [self._from_rows(i, x) for i, x in enumerate(parts)]
        return [x.astype(s.dtype) for x, s in zip(parts, self.shapes, strict=True)]

    def _rows(self, i: int, value: jax.Array) -> jax.Array:
        form, axis = self._form(i)
        return jnp.moveaxis(value.reshape(form), axis, 0).reshape(self.count, -1)

    def _from_rows(self, i: int, rows: jax.Array) -> jax.Array:
        form, axis = self._form(i)
        rest = [n for a, n in enumerate(form) if a != axis]
        moved = jnp.moveaxis(rows.reshape(self.count, *rest), 0, axis)
        return moved.reshape(self.shapes[i].shape)

    def _form(self, i: int) -> tuple[tuple[int, ...], int]:
        place, shape = self.places[i], self.shapes[i].shape
        if place is None:  # a batch of one example
            return (1, *shape), 0
        return unfolded(place, shape, self.count), unfolded_axis(place)

    # ------------------------------------------------------------ in an evaluation

    def sites(self, wanted: Sequence[str]) -> list[str]:
        """The sites, with `"output"` replaced by the sites of the single outputs."""
        every = [self.names if site == OUTPUT else [site] for site in wanted]
        return [site for sites in every for site in sites]

    def spread(self, inject: Mapping[str, Any]) -> dict[str, Any]:
        """The injected values, by the site of each output."""
        found = {site: x for site, x in inject.items() if site != OUTPUT}
        if OUTPUT in inject:
            parts = self.split(inject[OUTPUT])
            found.update(zip(self.names, parts, strict=True))
        return found

    def tap(self, given: Tap | None) -> Tap | None:
        """A tap that is called with `"output"` at the site of each output."""
        if self.alone or given is None:
            return given
        return lambda site, computed, injected: given(
            OUTPUT if site in self.names else site, computed, injected
        )

    def gathered(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the sites, with all outputs as one."""
        rest = {site: x for site, x in found.items() if site not in self.names}
        if self.names[0] in found:
            rest[OUTPUT] = self.join([found[name] for name in self.names])
        return rest
