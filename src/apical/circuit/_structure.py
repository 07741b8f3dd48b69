"""What was found in one loss function: nodes, synapses, reach, and what was refused."""

from __future__ import annotations

from functools import cached_property

import jax

from ._analysis import _refusals as refused
from ._analysis._dataflow import ACTIVITY, CONSTANT, DATA, Flow
from ._analysis._drive import drive
from ._analysis._effective_weights import Frozen, frozen, passed_as_they_are
from ._analysis._graph import walk
from ._analysis._layers import Layer, layers
from ._analysis._naming import names, outputs
from ._analysis._nodes import (
    LOSS,
    LOSS_NUMBER,
    Edge,
    End,
    Node,
    Parents,
    Reach,
    Reacher,
    entering,
    everything,
    marked,
    marked_outputs,
    parents,
)
from ._analysis._path_lengths import distances, longest_path
from ._analysis._products import Products
from ._analysis._refusals import Refusal, refusals, unknowns
from ._analysis._synapses import (
    WeightedOp,
    gains,
    leaves_of,
    make_synapses,
    weighted_ops,
)
from ._evaluate._control_flow import parallel_carries
from ._evaluate._sharding import in_front
from ._evaluate._weight_transport import Read, weight_reads
from ._jaxpr import Atom
from ._loss_spec import LossSpec
from ._marks import BERNOULLI_MARK, NODE_MARKS
from ._partition import Partition


class Structure:
    """Nodes and synapses, found once in a traced program."""

    def __init__(
        self,
        flow: Flow,
        products: Products,
        leaves: Partition,
        given: Partition,
        spec: LossSpec,
    ) -> None:
        self.leaves, self._given = leaves, given
        self._flow, self._products = flow, products
        self._found = found = weighted_ops(flow, products)
        self._policy = spec.nodes
        self._given_names = marked(flow, NODE_MARKS)
        # What a spike does is seen in the loss, also through what has no derivative.
        judged = () if spec.derivative else (BERNOULLI_MARK,)
        self._judged = set(marked(flow, judged))
        complete = self._policy == "entry"
        self._reacher = Reacher(flow, self._chosen(), self._judged, complete=complete)
        if spec.derivative:
            refused.require_loops(flow, leaves.names, self._reacher.reach)
        self._check_marks()
        self._numbers = [n for n in flow.maker if n in self._reacher.nodes]
        reach = self._reacher.reach
        self._live = [m for m in found if any(map(reach.get, m.op.outputs))]
        self._names = names(
            flow, self._numbers, leaves.keys, self._live, self._given_names
        )
        self.nodes = tuple(self._node(n) for n in self._numbers)
        self.synapses = make_synapses(flow, products, self._live, leaves.names)

    def _check_marks(self) -> None:
        for number, name in self._given_names.items():
            if number not in self._reacher.chosen:
                raise ValueError(
                    f"The activity marked {name!r} is not a nonlinearity of one "
                    "activity, so it is left out by nodes='unit'."
                )
            if number not in self._reacher.nodes:
                raise ValueError(
                    f"The loss is not reached from the activity marked {name!r}, so no "
                    "rule could send it a signal. Remove the mark."
                )

    def _chosen(self) -> set[int]:
        marks = set(self._given_names)
        if self._policy == "marked":
            return marks
        if self._policy == "every":
            return everything(self._flow) | marks
        entry = entering(self._flow, self._found)
        if self._policy == "unit":
            return {n for n in entry | marks if drive(self._flow, n) is not None}
        return entry | marks

    def _node(self, number: int) -> Node:
        flow, op = self._flow, self._flow.maker[number][0]
        found = self._shape(number)
        return Node(
            name=self._names[number],
            shape=found.shape,
            dtype=found.dtype,
            why=self._why(number),
            unit=drive(flow, number) is not None,
            loops=self._loops[id(op)],
            scope=op.scope,
            where=op.where,
        )

    def _shape(self, number: int) -> jax.ShapeDtypeStruct:
        """Shape and dtype of a value, the lengths of the loops around it in front."""
        inner = self._flow.program.shapes[number]
        loops = self._loops[id(self._flow.maker[number][0])]
        divided = in_front(inner.sharding, len(loops))
        shape = (*loops, *inner.shape)
        return jax.ShapeDtypeStruct(shape, inner.dtype, sharding=divided)

    def _why(self, number: int) -> str:
        if number in self._given_names:
            return "marked"
        if number in self._reacher.added:
            return "paths part"
        return "operation" if self._policy == "every" else "enters a synapse"

    @cached_property
    def _loops(self) -> dict[int, tuple[int, ...]]:
        return {id(s.op): s.loops for s in walk(self._flow.program.body)}

    @cached_property
    def reach(self) -> dict[str, tuple[Edge, ...]]:
        """For each node, what it reaches directly: in forward order, the loss last."""
        following = self._reacher.next
        return {self._names[n]: self._edges(following[n]) for n in self._numbers}

    def _edges(self, reached: Reach) -> tuple[Edge, ...]:
        at = {
            **{n: i for i, n in enumerate(self._numbers)},
            LOSS_NUMBER: len(self._numbers),
        }
        return tuple(
            Edge(LOSS if number == LOSS_NUMBER else self._names[number], later)
            for number, later in sorted(reached, key=lambda t: (at[t[0]], t[1]))
        )

    @cached_property
    def parents(self) -> dict[str | End, Parents]:
        """What each node and the loss is made of, with no node or synapse between."""
        nodes = {number: self._names[number] for number in self._numbers}
        synapses = {m.op.outputs[0]: i for i, m in enumerate(self._live)}
        starts: dict[str | End, Atom] = {name: n for n, name in nodes.items()}
        starts[LOSS] = self._flow.program.body.outputs[0]
        return {
            name: parents(self._flow, at, nodes, synapses)
            for name, at in starts.items()
        }

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The learned leaves by what they make, in the order of the computation."""
        flow = self._flow
        entry = entering(flow, self._found)
        reach = Reacher(flow, entry, self._judged, complete=True).reach
        inputs = flow.program.body.inputs[: len(self.leaves.learned)]
        return layers([reach[n] for n in inputs], self.leaves.keys, flow.order)

    @cached_property
    def separated(self) -> bool:
        """Whether each synapse's output reaches exactly one node or the loss."""
        reach = self._reacher.reach
        return all(len(reach[m.op.outputs[0]]) == 1 for m in self._live)

    @cached_property
    def depth(self) -> int:
        """The largest number of nodes on a path from the inputs to the loss."""
        return longest_path(self._flow, set(self._numbers))

    @cached_property
    def distances(self) -> dict[str, int]:
        """The fewest nodes on a path from each node to the loss, itself included.

        That is how many steps a signal needs to come to it; in a loop, to every step.
        """
        found = distances(self._flow, set(self._numbers))
        return {self._names[n]: found[n] for n in self._numbers if n in found}

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """The activities that the loss reads, by variable; see `output`."""
        given = marked_outputs(self._flow).values()
        found = outputs(self._flow, self._live, self._reacher.reach)
        return tuple(given) or tuple(found)

    @property
    def _told_outputs(self) -> str:
        makers = (self._flow.maker[n][0] for n in self.outputs)
        return ", ".join(f"`{op.name}` at {op.where}" for op in makers)

    @property
    def output_node(self) -> str | None:
        """The name of the node that is the one output too, if one is."""
        if len(self.outputs) != 1:
            return None
        sources = {at: source for source, at in marked_outputs(self._flow).items()}
        return self._names.get(sources.get(self.outputs[0], self.outputs[0]))

    @cached_property
    def feedback_leaves(self) -> tuple[int, ...]:
        """The learned leaves, by position, that a second copy would reach."""
        return leaves_of(m for m in self._found if m.weight is not None)

    @cached_property
    def carrying_leaves(self) -> tuple[int, ...]:
        """Those of them that a teaching signal passes back through.

        A weight that meets data alone has no node below it, and no one reads its copy.
        """
        crossed = (m for m in self._live if m.weight is not None)
        is_activity = self._flow.is_activity
        return leaves_of(m for m in crossed if any(map(is_activity, m.activities)))

    @cached_property
    def _gains(self) -> list[WeightedOp]:
        return gains(self._flow, self._products)

    @cached_property
    def gains(self) -> tuple[tuple[str, str], ...]:
        """What scales an activity entry by entry: the parameters, and the line.

        A signal passes back through a gain as it is, unless a rule replaces that too.
        """
        return tuple(
            (" + ".join(self.leaves.names[i] for i in sorted(m.leaves)), m.op.where)
            for m in self._gains
        )

    @cached_property
    def gain_leaves(self) -> tuple[int, ...]:
        """The learned leaves, by position, that multiply an activity entry by entry."""
        return leaves_of(self._gains)

    @cached_property
    def _refusals(self) -> list[Refusal]:
        return refusals(self._flow, self._reacher.reach, self._products)

    @cached_property
    def unreached(self) -> dict[str, str]:
        """The leaves that no synapse carries, and why."""
        reasons = {n: r.reason for r in self._refusals for n in r.leaves}
        inputs, reach = self._flow.program.body.inputs, self._reacher.reach
        rest = "bias, gain or table: it takes the gradient that its node's signal gives"
        return {
            path: reasons.get(i)
            or (rest if reach.get(inputs[i]) else "not in the loss")
            for i, path in enumerate(self.leaves.names)
            if i not in self.feedback_leaves or i in reasons
        }

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """Operations that apical cannot look into, with their lines."""
        ops = unknowns(self._flow, self._reacher.reach)
        return tuple(f"`{op.name}` at {op.where}" for op in ops)

    @cached_property
    def fixed(self) -> tuple[str, ...]:
        """Products of an activity with what is not learned, which no rule replaces."""
        return self._products_of([CONSTANT, ACTIVITY], [DATA, ACTIVITY])

    @cached_property
    def exact(self) -> tuple[str, ...]:
        """Products of two activities: signals pass back through either as it is."""
        return self._products_of([ACTIVITY, ACTIVITY])

    def _products_of(self, *kinds: list[int]) -> tuple[str, ...]:
        known = {id(m.op) for m in self._found}
        return passed_as_they_are(self._flow, known, self._alive, kinds)

    @cached_property
    def frozen(self) -> tuple[Frozen, ...]:
        """Arrays that all examples share and that an activity meets as a weight."""
        paths = [self._given.paths[i] for i in self._given.arrays]
        return frozen(self._flow, paths, self._alive)

    @cached_property
    def _alive(self) -> set[int]:
        """The values from which the loss is reached."""
        return {n for n, reach in self._reacher.reach.items() if reach}

    @cached_property
    def has_convolution(self) -> bool:
        """Whether a synapse is a convolution (slow in a rolled loop on a CPU)."""
        return any(m.op.name == "conv_general_dilated" for m in self._live)

    @cached_property
    def has_loop(self) -> bool:
        """Whether some node stands inside a loop."""
        makers = (self._flow.maker[n][0] for n in self._numbers)
        return any(self._loops[id(op)] for op in makers)

    @cached_property
    def linear_derivatives(self) -> bool:
        """Whether no user-written reverse rule, which need not be linear, is met."""
        return not any(
            s.op.name.startswith("custom_vjp") for s in walk(self._flow.program.body)
        )

    def require_reversible(self) -> None:
        """Refuse a loop on activities that JAX cannot reverse."""
        refused.require_reversible(self._flow, self._reacher.reach)

    def require_feedback(self) -> None:
        """Refuse if a leaf meets data where no second copy stands in for it."""
        self.require_reversible()
        for refusal in self._refusals:
            raise ValueError(refusal.message(self.leaves.names))
        self._products.require_one_kind()
        if not self.feedback_leaves:
            raise ValueError(
                "No synapse was found: nothing in `params` meets data in a matrix "
                "product or a convolution, so there is no path for feedback. (Is the "
                "data closed over? Pass it as an argument.)"
            )
        for read in self._transported:
            raise ValueError(read.message(self.leaves.names))

    @cached_property
    def _transported(self) -> list[Read]:
        """True weights that a backward path through second copies reads."""
        count = len(self.leaves.learned)
        return weight_reads(self._flow, self._found, self._gains, count)

    def require_nodes(self) -> None:
        """Refuse if there is no node, or if a chain bypasses one."""
        self.require_reversible()
        if not self.nodes:
            hidden = [r.message(self.leaves.names) for r in self._refusals]
            advice = "Mark one with `apical.node`, or pass `nodes='every'`."
            raise ValueError(
                "No node was found: no activity that depends on `params` enters a "
                f"synapse. {hidden[0] if hidden else advice}"
            )
        if not self.separated:
            raise ValueError(
                f"With nodes={self._policy!r} some synapse reaches more than one "
                "node or a node and the loss; this rule needs separated nodes: use "
                "nodes='entry'."
            )

    def require_layers_apart(self) -> None:
        """Refuse as `require_nodes` does, and what hides several layers in one."""
        self.require_nodes()
        refused.require_layers_apart(self._live, self.leaves.names)

    def require_output(self) -> None:
        """Refuse if there is no output, or if a node stands after one."""
        if not self.outputs:
            read = [n for n in self.nodes if Edge(LOSS) in self.reach[n.name]]
            raise ValueError(refused.no_output(read))
        reacher = self._reacher
        for number in self.outputs:
            is_node = number in self._names
            reached = reacher.next[number] if is_node else reacher.reach[number]
            after = [edge for edge in self._edges(reached) if edge.to is not LOSS]
            if after:
                raise ValueError(
                    f"The output reaches the node {str(after[0])!r}, and this rule "
                    "needs an output that only the loss reads. Mark a later activity "
                    "with `apical.output`, or choose the nodes by `nodes=`. (Outputs "
                    f"found: {self._told_outputs}.)"
                )
        marks = marked_outputs(self._flow)
        nodes = [self._names[n] for n in (*marks, *self.outputs) if n in self._names]
        if nodes and len(self.outputs) > 1:
            raise ValueError(
                f"The loss reads {len(self.outputs)} outputs ({self._told_outputs}), "
                f"and one of them is the node {nodes[0]!r}. Where there are several, "
                "each must be an activity that no synapse reads: mark these."
            )

    @cached_property
    def parallel(self) -> bool:
        """Whether some loop's steps are independent once its nodes are held."""
        sites = {n: [self._names[n]] for n in self._numbers}
        return any(
            parallel_carries(self._flow, sites, s.op)
            for s in walk(self._flow.program.body)
            if s.op.loop is not None
        )

    def _drive(self, number: int) -> int:
        found = drive(self._flow, number)
        if found is None:
            raise ValueError(
                f"Node {self._names[number]!r} is not a nonlinearity of one activity, "
                "so it has no drive; pass nodes='unit' to keep the nodes that have one."
            )
        return found
