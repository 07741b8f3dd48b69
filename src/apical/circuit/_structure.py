"""`Structure`: the nodes, synapses and outputs of a traced loss function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import jax

from ._analysis._dataflow import ACTIVITY, DATA, Flow
from ._analysis._drives_and_outputs import beside, find_drive, find_outputs, has_units
from ._analysis._effective_weights import NOT_LEARNED, Frozen, frozen, products_of
from ._analysis._gain_or_synapse import Products
from ._analysis._graph import walk
from ._analysis._hidden_layers import hidden_layers
from ._analysis._naming import Layer, find_layers
from ._analysis._nodes import (
    LOSS,
    LOSS_NUMBER,
    Edge,
    End,
    Node,
    Parents,
    Reach,
    Reachability,
    entering,
    marked_outputs,
    parents,
)
from ._analysis._path_lengths import distances, longest_path
from ._analysis._primitives import SYNAPTIC
from ._analysis._synapses import (
    Refusal,
    Synapse,
    WeightedOp,
    gains,
    leaves_of,
    make_synapses,
    refusals,
    unknowns,
)
from ._evaluate._control_flow import parallel_carries
from ._evaluate._sharding import struct_like
from ._evaluate._weight_transport_check import Read, weight_reads
from ._jaxpr import Atom
from ._loss_spec import LossSpec
from ._marks import output_key
from ._partition import Partition


@dataclass(frozen=True, eq=False)
class Structure:
    """Nodes, synapses and outputs of a traced loss function; made by `apical.trace`.

    Variables of the program are integers (`flow.program`); leaves are positions among
    `leaves.names`. Expensive properties are computed when first read.

    Attributes:
      flow: the program, and the dependence of each of its values.
      products: its products of a weight and an activity, gains or synapses.
      spec: the description of the loss function.
      leaves: the leaves of the parameters.
      args: the leaves of the arguments after them.
      weighted_ops: every operation of a weight and a value computed from data.
      reachability: the nodes and losses that each value reaches.
      marks: the name of each marked activity, by variable.
      names: the name of each node, by variable, in the order of the computation.
    """

    flow: Flow
    products: Products
    spec: LossSpec
    leaves: Partition
    args: Partition
    weighted_ops: list[WeightedOp]
    reachability: Reachability
    marks: Mapping[int, str]
    names: Mapping[int, str]

    # ---- Nodes.

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, in the order of the forward computation."""
        return tuple(map(self._node, self.names))

    def _node(self, number: int) -> Node:
        flow, op = self.flow, self.flow.maker[number][0]
        found = self.shape(number)
        return Node(
            name=self.names[number],
            shape=found.shape,
            dtype=found.dtype,
            why=self._why(number),
            unit=find_drive(flow, number) is not None,
            loops=self.loops_around(number),
            scope=op.scope,
            where=op.where,
        )

    def _why(self, number: int) -> str:
        if number in self.marks:
            return "marked"
        if number in self.reachability.added:
            return "paths part"
        return "operation" if self.spec.nodes == "every" else "enters a synapse"

    def shape(self, number: int) -> jax.ShapeDtypeStruct:
        """Shape and dtype of a variable, with its loops as leading axes."""
        inner, loops = self.flow.program.shapes[number], self.loops_around(number)
        shape = (*loops, *inner.shape)
        return struct_like(inner, shape, inner.dtype, len(loops))

    def loops_around(self, number: int) -> tuple[int, ...]:
        """The lengths of the loops around a variable, from the outside."""
        return self._loops[id(self.flow.maker[number][0])]

    @cached_property
    def _loops(self) -> dict[int, tuple[int, ...]]:
        return {id(s.op): s.loops for s in walk(self.flow.program.body)}

    def drive(self, number: int) -> int:
        """The variable of a node's drive.

        Raises:
          ValueError: for a node that is not a nonlinearity of one activity.
        """
        found = find_drive(self.flow, number)
        if found is None:
            raise ValueError(
                f"Node {self.names[number]!r} is not a nonlinearity of one activity, "
                "so it has no drive; pass nodes='unit' to keep the nodes that have one."
            )
        return found

    # ---- Reachability.

    @cached_property
    def reach(self) -> dict[str, tuple[Edge, ...]]:
        """For each node, an edge to each node, or the loss, that it reaches next."""
        following = self.reachability.of_node
        return {name: self.edges(following[n]) for n, name in self.names.items()}

    def edges(self, reached: Reach) -> tuple[Edge, ...]:
        """Edges in the order of the forward computation, the loss last."""
        numbers = [*self.names, LOSS_NUMBER]
        at = {number: i for i, number in enumerate(numbers)}
        return tuple(
            Edge(LOSS if number == LOSS_NUMBER else self.names[number], later)
            for number, later in sorted(reached, key=lambda t: (at[t[0]], t[1]))
        )

    @cached_property
    def parents(self) -> dict[str | End, Parents]:
        """The nodes and synapses that directly compute each node and the loss."""
        synapses = {m.op.outputs[0]: i for i, m in enumerate(self.live_ops)}
        starts: dict[str | End, Atom] = {name: n for n, name in self.names.items()}
        starts[LOSS] = self.flow.program.body.outputs[0]
        return {
            name: parents(self.flow, at, self.names, synapses)
            for name, at in starts.items()
        }

    @cached_property
    def separated(self) -> bool:
        """Whether each synapse's output reaches exactly one node or the loss."""
        found, reach = self.reachability, self.reachability.of_value
        return not any(found.parts(reach[m.op.outputs[0]]) for m in self.live_ops)

    @cached_property
    def depth(self) -> int:
        """The largest number of nodes on a path from the inputs to the loss."""
        return longest_path(self.flow, set(self.names))

    @cached_property
    def distances(self) -> dict[str, int]:
        """The fewest nodes on a path from each node to the loss, itself included.

        This is the number of steps a signal needs to reach the node (in a loop: all its
        steps).
        """
        found = distances(self.flow, set(self.names))
        return {name: found[n] for n, name in self.names.items() if n in found}

    @cached_property
    def live(self) -> set[int]:
        """The variables from which the loss is reached."""
        return {n for n, reach in self.reachability.of_value.items() if reach}

    @cached_property
    def entries(self) -> set[int]:
        """The activities that enter a synapse, whatever `nodes=` says."""
        return entering(self.flow, self.weighted_ops)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The learned leaves grouped into layers, in forward order."""
        flow, stochastic = self.flow, self.reachability.stochastic
        reach = Reachability(flow, self.entries, stochastic, complete=True).of_value
        inputs = flow.program.body.inputs[: len(self.leaves.learned)]
        return find_layers([reach[n] for n in inputs], self.leaves.keys, flow.order)

    # ---- Outputs.

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """The variables that are outputs: those marked, or else those found."""
        given = marked_outputs(self.flow).values()
        reach = self.reachability.of_value
        return tuple(given) or tuple(find_outputs(self.flow, self.live_ops, reach))

    @cached_property
    def output_keys(self) -> tuple[str, ...]:
        """The place of each output in the pytree that was marked; empty if alone."""
        return tuple(output_key(self.flow.maker[n][0]) for n in self.outputs)

    @cached_property
    def output_units(self) -> tuple[bool, ...]:
        """Whether each output has an axis of units, its last one."""
        synapses = {id(m.op): m for m in self.live_ops}
        return tuple(has_units(self.flow, n, synapses) for n in self.outputs)

    @cached_property
    def heads_beside(self) -> list[WeightedOp]:
        """The last synapses of heads that the loss reads past the marked outputs."""
        reach = self.reachability.of_value
        return beside(self.flow, self.outputs, self.live_ops, reach)

    @property
    def outputs_in_words(self) -> str:
        """The operations and lines of the outputs, for messages."""
        makers = (self.flow.maker[n][0] for n in self.outputs)
        return ", ".join(f"`{op.name}` at {op.where}" for op in makers)

    @property
    def output_node(self) -> str | None:
        """The name of the node that is also the only output, if there is one."""
        if len(self.outputs) != 1:
            return None
        sources = {at: source for source, at in marked_outputs(self.flow).items()}
        return self.names.get(sources.get(self.outputs[0], self.outputs[0]))

    # ---- Synapses, gains, and other weights.

    @cached_property
    def live_ops(self) -> list[WeightedOp]:
        """The weighted operations from which the loss is reached: the synapses."""
        return [m for m in self.weighted_ops if self.live.intersection(m.op.outputs)]

    @cached_property
    def synapses(self) -> tuple[Synapse, ...]:
        """Every synapse, in the order of the forward computation."""
        return self.described(self.live_ops)

    def described(self, found: Sequence[WeightedOp]) -> tuple[Synapse, ...]:
        """The `Synapse` of each weighted operation."""
        return make_synapses(self.flow, self.products, found, self.leaves.names)

    @cached_property
    def feedback_leaves(self) -> tuple[int, ...]:
        """The positions of the learned leaves that can have a feedback copy."""
        return leaves_of(m for m in self.weighted_ops if m.weight is not None)

    @cached_property
    def carrying_leaves(self) -> tuple[int, ...]:
        """The feedback leaves that a teaching signal passes: not those of the input."""
        return leaves_of(self.live_ops[i] for i in self.carrying_synapses)

    @cached_property
    def carrying_synapses(self) -> tuple[int, ...]:
        """The positions of the synapses that a teaching signal passes back through."""
        return tuple(
            i
            for i, m in enumerate(self.live_ops)
            if m.weight is not None and any(map(self.flow.is_activity, m.activities))
        )

    @cached_property
    def gain_ops(self) -> list[WeightedOp]:
        """The operations that scale an activity entry by entry."""
        return gains(self.flow, self.products)

    @cached_property
    def gains(self) -> tuple[tuple[str, str], ...]:
        """Elementwise gains of activities: the parameters, and the line of code.

        Signals pass back through the gain itself, unless a rule replaces it too.
        """
        return tuple(
            (" + ".join(self.leaves.names[i] for i in sorted(m.leaves)), m.op.where)
            for m in self.gain_ops
        )

    @cached_property
    def gain_leaves(self) -> tuple[int, ...]:
        """The learned leaves, by position, that multiply an activity entry by entry."""
        return leaves_of(self.gain_ops)

    @cached_property
    def refusals(self) -> list[Refusal]:
        """The leaves that cannot have a feedback copy, and why."""
        return refusals(self.flow, self.live, self.products)

    @cached_property
    def weight_reads(self) -> list[Read]:
        """The true weights that a backward path through second copies reads."""
        count = len(self.leaves.learned)
        return weight_reads(self.flow, self.weighted_ops, self.gain_ops, count)

    @cached_property
    def unreached(self) -> dict[str, str]:
        """The leaves that belong to no synapse, and why."""
        reasons = {n: r.reason for r in self.refusals for n in r.leaves}
        inputs, reach = self.flow.program.body.inputs, self.reachability.of_value
        rest = "bias, gain or table: it takes the gradient that its node's signal gives"
        return {
            path: reasons.get(i)
            or (rest if reach.get(inputs[i]) else "not in the loss")
            for i, path in enumerate(self.leaves.names)
            if i not in self.feedback_leaves or i in reasons
        }

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """Operations whose code apical cannot read, with their lines."""
        ops = unknowns(self.flow, self.live)
        return tuple(f"`{op.name}` at {op.where}" for op in ops)

    @cached_property
    def fixed(self) -> tuple[str, ...]:
        """Products of an activity and an array that is not learned."""
        return self._products_of(*NOT_LEARNED)

    @cached_property
    def exact(self) -> tuple[str, ...]:
        """Products of two activities: signals pass back through the other factor."""
        return self._products_of([ACTIVITY, ACTIVITY])

    def _products_of(self, *kinds: list[int]) -> tuple[str, ...]:
        synapses = {id(m.op) for m in self.weighted_ops}
        return products_of(self.flow, synapses, self.live, kinds)

    @cached_property
    def frozen(self) -> tuple[Frozen, ...]:
        """Arrays shared by all examples that act on an activity as a weight."""
        paths = [self.args.paths[i] for i in self.args.arrays]
        return frozen(self.flow, paths, self.live)

    # ---- The program.

    @cached_property
    def has_convolution(self) -> bool:
        """Whether a synapse is a convolution (slow in a rolled loop on a CPU)."""
        return any(m.op.name == "conv_general_dilated" for m in self.live_ops)

    def acts(self, number: int) -> bool:
        """Whether a linear operation joins the activity and values made from data."""
        linear = (o for o in self.flow.readers.get(number, []) if o.name in SYNAPTIC)
        others = (a for op in linear for a in op.inputs if a != number)
        return any(self.flow.kind_of(a) & DATA for a in others)

    @cached_property
    def is_flat(self) -> bool:
        """Whether there is no hidden layer, so that every signal is the gradient.

        No activity enters a synapse, also if arrays that are no examples were data, and
        apical can read all operations.
        """
        hidden = self.entries or hidden_layers(self.flow)
        return not (hidden or self.refusals or self.unknown)

    @cached_property
    def has_loop(self) -> bool:
        """Whether some node is inside a loop."""
        return any(map(self.loops_around, self.names))

    @cached_property
    def parallel(self) -> bool:
        """Whether some loop's steps are independent once its nodes are held."""
        sites = {n: [name] for n, name in self.names.items()}
        return any(
            parallel_carries(self.flow, sites, s.op)
            for s in walk(self.flow.program.body)
            if s.op.loop is not None
        )

    @property
    def closes_over_tracers(self) -> bool:
        """Whether the loss function closes over values of an outer transformation."""
        return self.flow.program.closes_over_tracers

    @cached_property
    def linear_derivatives(self) -> bool:
        """Whether there are no user-written reverse rules, which may be nonlinear."""
        return not any(
            s.op.name.startswith("custom_vjp") for s in walk(self.flow.program.body)
        )
