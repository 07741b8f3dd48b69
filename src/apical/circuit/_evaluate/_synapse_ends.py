"""The two ends of a synapse in every time step: its input, and the node it drives.

`SynapseEnds` is what is known from the program: which node, which axis is time, which
holds the examples, and which loops run over layers. The values of one evaluation are
found from it (`_synapse_values`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from .._analysis._driven_node import Driven, Way, driven
from .._analysis._graph import bound
from .._analysis._synapses import WeightedOp
from .._analysis._varying_axes import dot_axes
from .._batching._example_separation import Separation
from .._jaxpr import Atom, Body, Literal, Loop, Op
from .._marks import OUTPUT
from .._structure import Structure

NODE, NODE_OR_OUTPUT, SYNAPSE = POSTS = ("node", "node or output", "synapse")


_BRANCH = (
    "in a branch of a `cond`, so that it may be at rest. Where the choice is known "
    "before the loss function is traced, use `if`; else compute both branches and "
    "choose between their results by `jnp.where`, so that the synapses of both work"
)


class UnknownUnitError(ValueError):
    """It cannot be told what the unit behind a synapse did."""


@dataclass(frozen=True, eq=False)
class SynapseEnds:
    """The ends of one synapse, from the program.

    Attributes:
      op: the operation of the synapse.
      weight: the position of the weight among its operands.
      leaves: the parameters that make the weight, by position.
      name: of the synapse.
      node: the variable of the node that it drives, or of what stands for it.
      loops: the loops around the node, from the outside.
      layers: the positions in `loops` of those that run over layers: their steps have
        weights of their own, which are read from stacked arrays (`xs`).
      time: the axis of time in its input and in its output, where it stands before the
        loop; else None.
      back: the moves that bring a step of the node into the shape of a step of the
        output: `("reshape", shape)` or `("transpose", permutation)`.
      examples: the axis of the examples in a step of the input, of the output and of
        the node; None where it is unknown.
    """

    op: Op
    weight: int
    leaves: frozenset[int]
    name: str
    node: int
    loops: tuple[Loop, ...]
    layers: tuple[int, ...]
    time: tuple[int, int] | None
    back: tuple[tuple[str, tuple[int, ...]], ...]
    examples: tuple[int | None, int | None, int | None]

    @property
    def input(self) -> Atom:
        """The variable of the input."""
        return self.op.inputs[1 - self.weight]

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of layers in each loop over layers."""
        return tuple(self.loops[i].length for i in self.layers)

    @property
    def timed(self) -> bool:
        """Whether some loop around it runs over time."""
        return len(self.loops) > len(self.layers)

    def in_steps(self, x: jax.Array) -> jax.Array:
        """A value in these loops as `[*layers, steps, ...]`, the first step first."""
        front = len(self.layers)
        x = jnp.moveaxis(x, self.layers, range(front))
        rest = [loop for i, loop in enumerate(self.loops) if i not in self.layers]
        backwards = [front + i for i, loop in enumerate(rest) if loop.reverse]
        x = jnp.flip(x, backwards) if backwards else x
        steps = math.prod(loop.length for loop in rest)
        return x.reshape(*self.counts, steps, *x.shape[len(self.loops) :])

    @property
    def unit_axes_of_output(self) -> tuple[tuple[int, int], ...]:
        """The axes of the weight along which its units differ, and of the output."""
        if self.op.name == "conv_general_dilated":
            numbers = self.op.params["dimension_numbers"]
            return ((numbers.rhs_spec[0], numbers.out_spec[1]),)
        ranks = [len(v.aval.shape) for v in self.op.equation.invars]
        return tuple(sorted(dot_axes(self.op, self.weight, ranks)))

    @property
    def unit_axes(self) -> tuple[int, ...]:
        """The axes of the weight along which its units differ."""
        return tuple(axis for axis, _ in self.unit_axes_of_output)


def find_ends(
    structure: Structure,
    separation: Separation | None,
    names: Sequence[str] | None,
    rule: str,
    post: str = NODE,
) -> list[SynapseEnds]:
    """The ends of every synapse, or of those with these names.

    Args:
      structure: of the loss function.
      separation: where the examples are.
      names: the synapses, by name; None: every one.
      rule: who asks, for messages.
      post: what counts as the unit behind a synapse: `NODE`, the node that it drives;
        `NODE_OR_OUTPUT`, that or an output of the network; `SYNAPSE`, the synapse's own
        output.

    Raises:
      UnknownUnitError: for a synapse whose ends cannot be told.
      ValueError: for a name that no synapse has.
    """
    every = list(zip(structure.live_ops, structure.synapses, strict=True))
    known = [described.name for _, described in every]
    missing = [name for name in names or () if name not in known]
    if missing:
        raise ValueError(
            f"`synapses` names {missing[0]!r}; the synapses are "
            f"{', '.join(repr(n) for n in dict.fromkeys(known))}."
        )
    finder = _Finder(structure, separation, rule, post, selected=names is not None)
    return [
        finder.ends(op, described.name)
        for op, described in every
        if names is None or described.name in names
    ]


class _Finder:
    """Finds the ends of synapses, or says why they cannot be told."""

    def __init__(
        self,
        structure: Structure,
        separation: Separation | None,
        rule: str,
        post: str,
        *,
        selected: bool,
    ) -> None:
        self.structure, self.separation = structure, separation
        self.flow, self.rule, self.selected = structure.flow, rule, selected
        # Whatever `nodes=` says: what enters a synapse, and what is marked.
        units = structure.entries | set(structure.marks)
        self.nodes = {n: name for n, name in structure.names.items() if n in units}
        self.post = post
        if post == NODE_OR_OUTPUT:
            self.nodes |= {n: OUTPUT for n in structure.outputs if n not in self.nodes}
        self.around = dict(_surroundings(self.flow.program.body, ()))

    def ends(self, found: WeightedOp, name: str) -> SynapseEnds:
        op, weight = found.op, found.weight
        if weight is None or op.name not in ("dot_general", "conv_general_dilated"):
            raise self._refusal(name, op, f"it is a `{op.name}`, not a matrix product")
        if op.name == "conv_general_dilated" and weight == 0:
            raise self._refusal(name, op, "its weight is slid over")
        if self.around[id(op)] is None:
            raise self._refusal(name, op, f"it stands {_BRANCH}")
        node, way = self._driven(op, name)
        own, loops = self.around[id(op)], self.around[id(self.flow.maker[node][0])]
        assert own is not None
        if loops is None:
            raise self._refusal(name, op, f"its unit stands {_BRANCH}")
        before = sum(move.kind == "loop" for move in way)
        if own + loops[len(own) :] != loops or len(own) + before != len(loops):
            raise self._refusal(name, op, "its unit stands in another loop")
        if before and (own or before > 1):
            raise self._refusal(
                name, op, "it stands outside of the inner of two nested loops"
            )
        back, time = self._back(op, name, node, way)
        times = None
        if time is not None:
            times = self._time_of_input(op, weight, name, time), time
        first = self._examples(op.inputs[1 - weight], name, op)
        rest = (self._examples(v, name, op) for v in (op.outputs[0], node))
        if first is not None and times is not None:
            first = None if first == times[0] else first - (times[0] < first)
        second, third = rest
        examples = first, second, third
        layers = self._layers(op.inputs[weight], own)
        return SynapseEnds(
            op, weight, found.leaves, name, node, loops, layers, times, back, examples
        )

    def _layers(self, weight: Atom, loops: tuple[Loop, ...]) -> tuple[int, ...]:
        """The loops around a synapse in each of whose steps the weight is another."""
        found, seen, stack = set[int](), set[Atom](), [weight]
        while stack:
            atom = stack.pop()
            if isinstance(atom, Literal) or atom in seen:
                continue
            seen.add(atom)
            if atom in self.flow.entry:
                op, body, i = self.flow.entry[atom]
                if stacked(op, i):
                    found.add(id(op.loop))
                stack += bound(op, body, i)[:1]
            elif atom in self.flow.maker:
                stack += self.flow.maker[atom][0].inputs
        return tuple(i for i, loop in enumerate(loops) if id(loop) in found)

    def _driven(self, op: Op, name: str) -> tuple[int, Way]:
        if self.post == SYNAPSE:
            return op.outputs[0], ()
        found = driven(self.flow, op.outputs[0], self.nodes)
        if not found.ways:
            raise self._no_node(op, name, found)
        if len(found.ways) > 1:
            reached = " and ".join(repr(self.nodes[n]) for n in found.ways)
            raise self._refusal(name, op, f"it drives several nodes: {reached}")
        ((node, ways),) = found.ways.items()
        if len(ways) > 1:
            raise self._refusal(
                name, op, f"its output reaches {self.nodes[node]!r} in two arrangements"
            )
        (way,) = ways
        return node, way

    def _no_node(self, op: Op, name: str, found: Driven) -> ValueError:
        if not found.ended:
            return self._refusal(
                name,
                op,
                "no node follows its output: mark the spikes of its units with "
                "`apical.node(spikes, 'name')` inside of the loop",
            )
        where = " and ".join(f"`{o.name}` at {o.where}" for o in found.ended[:2])
        return self._refusal(
            name,
            op,
            "no node of the shape of its output follows, because entries are joined in "
            f"{where}. Mark the spikes of its units before that: "
            "`apical.node(spikes, 'name')`",
        )

    def _refusal(self, name: str, op: Op, why: str) -> UnknownUnitError:
        told = (
            f"{self.rule} needs what the unit behind each synapse did, and for "
            f"{name!r} at {op.where} it cannot tell: {why}."
        )
        if not self.selected:
            told += (
                " Or choose the synapses that it updates: `synapses=(...)`, as they "
                "are called in `print(circuit)`."
            )
        return UnknownUnitError(told)

    # ---- Axes: from a step of the node back to a step of the output.

    def _back(
        self, op: Op, name: str, node: int, way: Way
    ) -> tuple[tuple[tuple[str, tuple[int, ...]], ...], int | None]:
        """The moves from a step of the node to one of the output, and its time axis."""
        moves: list[tuple[str, tuple[int, ...]]] = []
        time: int | None = None
        after = self.flow.shape(node)
        for move in reversed(way):
            before = move.shape
            if move.kind == "loop":
                moves.append(("reshape", (1, *before[1:])))
                time = 0
            elif move.kind == "transpose":
                inverse = tuple(int(i) for i in np.argsort(move.permutation))
                moves.append(("transpose", inverse))
                time = None if time is None else move.permutation[time]
            else:
                time = None if time is None else _same_axis(after, before, time)
                if time is None and any(m.kind == "loop" for m in way):
                    raise self._folded(op, name)
                shape = tuple(1 if a == time else n for a, n in enumerate(before))
                moves.append(("reshape", shape))
            after = before
        return tuple(moves), time

    def _time_of_input(self, op: Op, weight: int, name: str, time: int) -> int:
        """The axis of time in the input of a synapse that stands before the loop."""
        if op.name == "dot_general":
            ranks = [len(self.flow.shape(a)) for a in op.inputs]
            for axis, to in dot_axes(op, 1 - weight, ranks):
                if to == time:
                    return axis
        raise self._folded(op, name)

    def _folded(self, op: Op, name: str) -> ValueError:
        return self._refusal(
            name,
            op,
            "it is applied to all time steps at once, with time folded into another "
            "axis: keep time as an axis of its own (`x @ w` on `[time, batch, "
            "units]`), or apply the weight inside of the loop",
        )

    def _examples(self, atom: Atom, name: str, op: Op) -> int | None:
        """The axis of the examples of a value, in its own scope."""
        if self.separation is None or isinstance(atom, Literal):
            return None
        found = self.separation.of.get(atom)
        place = None if found is None else found.place
        if place is None:
            return None
        if place.axis < 0:
            raise self._refusal(
                name,
                op,
                "the loop around it runs over the examples (`lax.map`), not over time: "
                "use `jax.vmap`",
            )
        return place.axis if place.outer == place.inner == 1 else None


def stacked(op: Op, i: int) -> bool:
    """Whether an operand of a loop is an array with an entry for each step (`xs`)."""
    return op.loop is not None and i >= op.loop.consts + op.loop.carry


def _same_axis(after: Sequence[int], before: Sequence[int], axis: int) -> int | None:
    """The axis before a reshape that has the entries of an axis after it."""
    below = math.prod(after[axis + 1 :])
    for a, size in enumerate(before):
        if size == after[axis] and math.prod(before[a + 1 :]) == below:
            return a
    return None


def _surroundings(
    body: Body, loops: tuple[Loop, ...] | None
) -> Iterator[tuple[int, tuple[Loop, ...] | None]]:
    """The loops around each operation, by identity; None inside of a branch."""
    for op in body.ops:
        yield id(op), loops
        if op.enterable:
            inner = loops if op.loop is None or loops is None else (*loops, op.loop)
            for sub in op.bodies:
                yield from _surroundings(sub, None if op.name == "cond" else inner)
