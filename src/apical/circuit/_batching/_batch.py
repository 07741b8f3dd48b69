"""`Batch`: the axes of the examples in each node and in the output of a circuit."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax

from .._evaluate._manual_axes import devices, varying
from .._evaluate._sharding import struct_like
from .._jaxpr import Op
from .._marks import OUTPUT
from .._structure import Structure
from ._batch_axes import BatchAxes
from ._example_position import Place, unfolded, unfolded_axis
from ._example_separation import Separation
from ._outputs import Outputs
from ._per_example_loss import PerExampleLoss


class Batch:
    """The examples in the arguments of a loss function.

    Args:
      structure: the structure of the loss function.
      retrace: returns the batch of the same loss function at other parameters and
        arguments.
    """

    def __init__(
        self, structure: Structure, retrace: Callable[[Any, Any], Batch]
    ) -> None:
        self.structure, self.retrace = structure, retrace
        program, leaves = structure.flow.program, structure.leaves
        arrays = program.body.inputs[len(leaves.learned) + len(leaves.arrays) :]
        shapes = [program.shapes[n].shape for n in arrays]
        self.examples = BatchAxes(structure.spec, structure.args, shapes)

    @property
    def size(self) -> int:
        """The number of examples, from the shapes of the arguments."""
        return self.examples.size

    @property
    def total(self) -> int:
        """The number of examples on all devices over which the loss is reduced."""
        return self.size * self._devices

    @property
    def scale(self) -> int:
        """The factor from an example's share of the gradient to its own gradient."""
        return self.total if self.structure.spec.reduction == "mean" else 1

    @cached_property
    def device_axes(self) -> frozenset[str]:
        """The axes of a mesh along which devices hold other examples."""
        flow = self.structure.flow
        numbers = [n for n in flow.program.body.inputs if flow.varies(n)]
        found = (varying(flow.program.shapes[n]) for n in numbers)
        return frozenset[str]().union(*found)

    @cached_property
    def _devices(self) -> int:
        """The number of devices that hold other examples."""
        shapes = self.structure.flow.program.shapes
        every = (shapes[n] for n in self.structure.flow.program.body.inputs)
        sizes = {a: devices(s, [a]) for s in every for a in varying(s)}
        return math.prod(sizes[axis] for axis in self.device_axes)

    # ---- Separation of examples.

    @cached_property
    def separation(self) -> Separation | None:
        """The places of the examples in every value; None for a single example."""
        examples, body = self.examples, self.structure.flow.program.body
        if examples.size == 1:
            return None
        none = [None] * (len(body.inputs) - len(examples.axes))
        ranks = [len(shape) for shape in examples.shapes]
        places = [
            None if axis is None else Place(axis % rank)
            for axis, rank in zip(examples.axes, ranks, strict=True)
        ]
        priors = {
            number: place.at(place.axis - len(self.structure.loops_around(number)))
            if place
            else None
            for number, place in self.priors.items()
        }
        return Separation(self.structure.flow, [*none, *places], examples.size, priors)

    @cached_property
    def priors(self) -> dict[int, Place | None]:
        """The place of the examples in each node made of parameters alone."""
        structure, found = self.structure, dict[int, Place | None]()
        for number, name in structure.names.items():
            if number not in structure.flow.priors:
                continue
            found[number] = None
            if self._counted:
                twice = self._twice
                other = twice.structure.shape(twice.sites[name]).shape
                shape = structure.shape(number).shape
                axis = self.examples.axis(f"node {name!r}", shape, other)
                found[number] = None if axis is None else Place(axis)
        return found

    def require_examples_at_priors(self) -> None:
        """Require an axis of the examples at nodes made of parameters alone.

        Where no argument has one, require that the node is not used as a weight.
        """
        for number, place in self.priors.items():
            if place is None and (self._counted or self.structure.acts(number)):
                name, op = (
                    self.structure.names[number],
                    self.structure.flow.maker[number][0],
                )
                raise ValueError(
                    f"The value marked {name!r} at {op.where} depends on parameters "
                    "alone and is one for all examples, and a node has a value for "
                    "each of them. If it is a prior, or a bias that generates, mark "
                    "`jnp.broadcast_to(prior, (len(x), *prior.shape))`, outside of "
                    "`jax.vmap`, with an argument `x` that has examples; if it is a "
                    "weight, remove the mark."
                )

    @property
    def _counted(self) -> bool:
        """Whether some argument has an axis of the examples."""
        return any(axis is not None for axis in self.examples.axes)

    @cached_property
    def per_example_loss(self) -> PerExampleLoss:
        """The loss of each example, from the sums over examples in the loss."""
        sums = self.separation.sums.values() if self.separation else ()
        structure = self.structure
        return PerExampleLoss(structure.flow, list(sums), structure.shape, self.size)

    @property
    def mixing(self) -> str | None:
        """The operation that mixes activities of several examples, and its line.

        None if the loss is a sum of per-example losses, and each activity depends on
        one example.
        """
        op: Op | None = self.separation.mixing if self.separation else None
        return None if op is None else f"`{op.name}` at {op.where}"

    # ---- All outputs as one.

    @cached_property
    def outputs(self) -> Outputs:
        """All outputs of the circuit as one.

        Raises:
          ValueError: if there is none, or if one of several has no axis of examples.
        """
        structure = self.structure
        if not structure.outputs:
            raise ValueError(
                "The loss function has no output that can be told from the program. "
                "Mark it: `y = apical.output(y)`."
            )
        shapes = [structure.shape(n) for n in structure.outputs]
        places = [self._places[k] for k in range(len(shapes))]
        if len(shapes) > 1 and None in places and self.size > 1:
            raise ValueError(
                f"The loss reads {len(shapes)} outputs ({structure.outputs_in_words}), "
                "which are joined for each example, and not all of them have an axis "
                "of examples. Mark those that have: `y = apical.output(y)`."
            )
        return Outputs(shapes, places, self.size, structure.output_units)

    def split_outputs(self, output: jax.Array) -> Any:
        """The output, or a tuple of all outputs if there are several."""
        parts = self.outputs.split(output)
        return parts[0] if self.outputs.alone else tuple(parts)

    # ---- Places of the examples.

    @cached_property
    def example_places(self) -> dict[str, Place | None]:
        """The place of the examples at each node and at `"output"`, or None.

        For a single example, it is the axis that grows with the number of examples.
        """
        nodes = self.structure.names.values()
        found = {name: self._places[name] for name in nodes}
        has_output = bool(self.structure.outputs)
        return {**found, OUTPUT: self.outputs.place} if has_output else found

    @cached_property
    def example_axes(self) -> dict[str, int | None]:
        """The axis of the examples in the `unfolded` value of each node and output."""
        places = self.example_places
        return {s: None if p is None else unfolded_axis(p) for s, p in places.items()}

    def unfolded(self, site: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a node or the output with a separate axis for the examples.

        It differs if other axes are folded into that of the examples, such as the heads
        of attention: `[batch * heads, ...]` becomes `[batch, heads, ...]`.
        """
        place = self.example_places[site]
        return shape if place is None else unfolded(place, shape, self.size)

    @property
    def sites(self) -> dict[str | int, int]:
        """The variable of each node, by name, and of each output, by its position."""
        nodes = {name: number for number, name in self.structure.names.items()}
        return {**nodes, **dict(enumerate(self.structure.outputs))}

    @cached_property
    def _places(self) -> dict[str | int, Place | None]:
        """The places of the examples in all sites."""
        return {site: self.place(site) for site in self.sites}

    def place(self, site: str | int) -> Place | None:
        """The place of the examples in one site."""
        number, structure = self.sites[site], self.structure
        if number in self.priors:
            return self.priors[number]
        place = self.separation and self.separation.of[number].place
        if place is not None:
            return place.at(place.axis + len(structure.loops_around(number)))
        grows = self._counted and structure.flow.varies(number)
        return self._grown(site) if grows else None

    def _grown(self, site: str | int) -> Place | None:
        """The axis that grows with twice as many examples."""
        twice, other = self._twice, ()
        if site in twice.sites:
            if self.separation is None:
                return twice.place(site)
            other = twice.structure.shape(twice.sites[site]).shape
        where = f"node {site!r}" if isinstance(site, str) else "the output"
        shape = self.structure.shape(self.sites[site]).shape
        axis = self.examples.axis(where, shape, other)
        return None if axis is None else Place(axis)

    @cached_property
    def _twice(self) -> Batch:
        """The batch with twice as many examples."""
        leaves, program = self.structure.leaves, self.structure.flow.program
        first, second = len(leaves.learned), len(leaves.arrays)
        structs = [program.shapes[n] for n in program.body.inputs]
        arrays = structs[first + second :]
        params = leaves.combine(structs[:first], structs[first : first + second])
        pairs = zip(arrays, self.examples.repeated(), strict=True)
        twice = [struct_like(x, shape, x.dtype) for x, shape in pairs]
        try:
            return self.retrace(params, self.structure.args.combine([], twice))
        except Exception as error:
            raise ValueError(
                "To find the axis of the examples, `loss_fn` was traced with twice as "
                f"many of them, which it refused: {error}. Pass what has one entry per "
                "example as an argument, and see that `batch_axes` describes the "
                "arguments."
            ) from error
