"""What a circuit knows of the examples of its batch: where they are in each node."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax

from .._jaxpr import Op
from .._loss_spec import LossSpec
from .._marks import OUTPUT
from .._partition import Partition
from .._structure import Structure
from ._batch_axes import Examples
from ._outputs import Outputs
from ._per_example_loss import Shares
from ._position import Place, axis_of_its_own, unfolded
from ._separation import Separation


class Batched(Structure):
    """A structure whose arguments hold several examples."""

    spec: LossSpec
    _examples: Examples
    _given: Partition
    _retrace: Callable[[Any, Any], Any]

    @cached_property
    def _separation(self) -> Separation | None:
        """Where examples are in every value; None of a single example."""
        examples, body = self._examples, self._flow.program.body
        if examples.size == 1:
            return None
        none = [None] * (len(body.inputs) - len(examples.axes))
        ranks = [len(shape) for shape in examples.shapes]
        places = [
            None if axis is None else Place(axis % rank)
            for axis, rank in zip(examples.axes, ranks, strict=True)
        ]
        return Separation(self._flow, [*none, *places], examples.size)

    @cached_property
    def _shares(self) -> Shares:
        sums = self._separation.sums.values() if self._separation else ()
        return Shares(self._flow, list(sums), self._shape, self.batch_size)

    @property
    def meeting(self) -> str | None:
        """The operation in which activities of several examples meet, and its line.

        None where the loss is a sum of one loss for each example, and each has
        activities of its own.
        """
        op: Op | None = self._separation.meeting if self._separation else None
        return None if op is None else f"`{op.name}` at {op.where}"

    def require_separate(self, rule: str) -> None:
        """Refuse a loss that is not a sum of one loss for each example."""
        if self.meeting:
            raise ValueError(
                f"{rule} needs a loss that is a sum of one loss for each example, and "
                f"activities of several examples meet in {self.meeting} (batch "
                "normalisation? a contrastive loss? the root of a mean?). Give each "
                "example numbers of its own there (layer normalisation, a mean as the "
                "last step), see that `batch_axes` describes the arguments, or use a "
                "rule that needs no loss of single examples."
            )

    @cached_property
    def example_places(self) -> dict[str, Place | None]:
        """Where the examples are at each node and at `"output"`; None: it has none.

        Of a single example, it is the axis that grows when there are more.
        """
        places = dict(zip(self._sites, self._places_found, strict=True))
        found: dict[str, Place | None] = {n.name: places[n.name] for n in self.nodes}
        return {**found, OUTPUT: self.joined.place} if self.outputs else found

    @property
    def _sites(self) -> dict[str, int]:
        """The variable of each node, and of each output by a name for messages."""
        nodes = {self._names[n]: n for n in self._numbers}
        return {**nodes, **{f"\0{k}": n for k, n in enumerate(self.outputs)}}

    @cached_property
    def _places_found(self) -> list[Place | None]:
        """Where the examples are in each of the sites."""
        return [self._place(site, number) for site, number in self._sites.items()]

    def _place(self, site: str, number: int) -> Place | None:
        place = self._separation and self._separation.of[number].place
        if place is not None:
            loops = len(self._loops[id(self._flow.maker[number][0])])
            return place.at(place.axis + loops)
        counted = any(axis is not None for axis in self._examples.axes)
        return self._grown(site) if counted and self._flow.varies(number) else None

    @cached_property
    def joined(self) -> Outputs:
        """The outputs, as one."""
        if not self.outputs:
            raise ValueError(
                "The loss function has no output that can be told from the program. "
                "Mark it: `y = apical.output(y)`."
            )
        shapes = [self._shape(n) for n in self.outputs]
        places = self._places_found[len(self.nodes) :]
        if len(shapes) > 1 and None in places and self.batch_size > 1:
            raise ValueError(
                f"The loss reads {len(shapes)} outputs ({self._told_outputs}), which "
                "are joined for each example, and not all of them have an axis of "
                "examples. Mark those that have: `y = apical.output(y)`."
            )
        return Outputs(shapes, places, self.batch_size)

    def apart(self, output: jax.Array) -> Any:
        """The output, or a tuple of all of them where there are several."""
        parts = self.joined.split(output)
        return parts[0] if self.joined.alone else tuple(parts)

    @property
    def output_shape(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the output (of all of them as one), loops in front."""
        return self.joined.shape

    @cached_property
    def example_axes(self) -> dict[str, int | None]:
        """The axis of the examples in the `unfolded` value of each node and output."""
        places = self.example_places
        return {s: None if p is None else axis_of_its_own(p) for s, p in places.items()}

    def unfolded(self, site: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a node or the output with an axis of the examples alone.

        It differs where other axes are folded into that of the examples, as the heads
        of an attention: `[batch * heads, ...]` becomes `[batch, heads, ...]`.
        """
        place = self.example_places[site]
        return shape if place is None else unfolded(place, shape, self.batch_size)

    def _grown(self, site: str) -> Place | None:
        """The axis that grows with twice as many examples."""
        twice, shape, other = self._twice, self._shape(self._sites[site]).shape, ()
        if site in twice._sites:
            number = twice._sites[site]
            if self._separation is None:
                return twice._place(site, number)
            other = twice._shape(number).shape
        where = f"node {site!r}" if site in self._names.values() else "the output"
        axis = self._examples.axis(where, shape, other)
        return None if axis is None else Place(axis)

    @cached_property
    def _twice(self) -> Any:
        """The circuit of twice as many examples."""
        inputs, shapes = self._flow.program.body.inputs, self._flow.program.shapes
        first, second = len(self.leaves.learned), len(self.leaves.arrays)
        structs = [shapes[n] for n in inputs]
        arrays = structs[first + second :]
        params = self.leaves.combine(structs[:first], structs[first : first + second])
        pairs = zip(arrays, self._examples.repeated(), strict=True)
        twice = [jax.ShapeDtypeStruct(shape, x.dtype) for x, shape in pairs]
        try:
            return self._retrace(params, self._given.combine([], twice))
        except Exception as error:
            raise ValueError(
                "To find the axis of the examples, `loss_fn` was traced with twice as "
                f"many of them, which it refused: {error}. Pass what has one entry per "
                "example as an argument, and see that `batch_axes` describes the "
                "arguments."
            ) from error

    @property
    def batch_size(self) -> int:
        """The number of examples, from the shapes of the arguments."""
        return self._examples.size

    @property
    def scale(self) -> int:
        """How many times larger an example's own gradient is than its share."""
        return self.batch_size if self.spec.reduction == "mean" else 1
