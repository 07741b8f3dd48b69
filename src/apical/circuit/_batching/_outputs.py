"""Several outputs as one array, concatenated per example.

Rules treat several outputs (two heads, an actor and a critic, boxes and classes) as one
array. Outputs that differ only in their units, the last axis, are concatenated along it
(so that time steps remain an axis); others are first flattened per example. A head of
one unit may lack that axis: `(h @ w)[..., 0]`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

from .._evaluate._sharding import struct_like
from .._evaluate._taps import Tap
from .._marks import INTERNAL, OUTPUT
from ._example_position import Place, unfolded, unfolded_axis


class Outputs:
    """The outputs of a circuit, in the order of the program.

    Args:
      shapes: the shape of each, with the loops around it as leading axes.
      places: the place of the examples in each; None if it has none.
      count: the number of examples.
      units: whether each has an axis of units, its last one.

    Attributes:
      names: the name of each one's site.
      alike: whether all differ only in their units, and so keep their other axes.
      shape: shape and dtype of all as one.
      place: the place of the examples in it.
    """

    def __init__(
        self,
        shapes: Sequence[jax.ShapeDtypeStruct],
        places: Sequence[Place | None],
        count: int,
        units: Sequence[bool],
    ) -> None:
        self.shapes, self.places, self.count = shapes, places, count
        self.alone = len(shapes) == 1
        pairs = zip(shapes, units, strict=True)
        self.with_units = [s.shape if u else (*s.shape, 1) for s, u in pairs]
        self.alike = self._are_alike()
        several = [f"{INTERNAL}{OUTPUT} {k}" for k in range(len(shapes))]
        self.names = [OUTPUT] if self.alone else several
        self.place = places[0] if self.alone or self.alike else Place(0)
        self.shape = (
            shapes[0]
            if self.alone
            else jax.eval_shape(
                self.join, [struct_like(s, s.shape, s.dtype) for s in shapes]
            )
        )

    def _are_alike(self) -> bool:
        """Whether all outputs differ only in their units."""
        place, rank = self.places[0], len(self.with_units[0])
        return (
            len(set(self.places)) == len({s[:-1] for s in self.with_units}) == 1
            and all(len(s) == rank for s in self.with_units)
            and (place is None or place.axis < rank - 1)
        )

    def join(self, values: Sequence[jax.Array]) -> jax.Array:
        """All outputs as one array."""
        if self.alone:
            return values[0]
        if self.alike:
            full = [x.reshape(s) for x, s in zip(values, self.with_units, strict=True)]
            return jnp.concatenate(full, axis=-1)
        rows = [self._rows(i, x) for i, x in enumerate(values)]
        return jnp.concatenate(rows, axis=-1)

    def split(self, joined: jax.Array) -> list[jax.Array]:
        """The outputs in one array, each with its shape and dtype."""
        if self.alone:
            return [joined]
        sizes = [s[-1] for s in self.with_units]
        if not self.alike:
            sizes = [math.prod(s.shape) // self.count for s in self.shapes]
        parts = jnp.split(joined, list(accumulate(sizes))[:-1], axis=-1)
        if not self.alike:
            parts = [self._from_rows(i, x) for i, x in enumerate(parts)]
        return [
            x.reshape(s.shape).astype(s.dtype)
            for x, s in zip(parts, self.shapes, strict=True)
        ]

    def _rows(self, i: int, value: jax.Array) -> jax.Array:
        form, axis = self._form(i)
        return jnp.moveaxis(value.reshape(form), axis, 0).reshape(self.count, -1)

    def _from_rows(self, i: int, rows: jax.Array) -> jax.Array:
        form, axis = self._form(i)
        rest = [n for a, n in enumerate(form) if a != axis]
        moved = jnp.moveaxis(rows.reshape(self.count, *rest), 0, axis)
        return moved.reshape(self.shapes[i].shape)

    def unfolded_forms(self) -> list[tuple[tuple[int, ...], int]]:
        """Of each, the shape with axes of examples and units, and that of examples."""
        pairs = zip(self.with_units, self.places, strict=True)
        return [self._unfolded(shape, place) for shape, place in pairs]

    def _form(self, i: int) -> tuple[tuple[int, ...], int]:
        return self._unfolded(self.shapes[i].shape, self.places[i])

    def _unfolded(
        self, shape: tuple[int, ...], place: Place | None
    ) -> tuple[tuple[int, ...], int]:
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
