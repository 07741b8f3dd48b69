"""What was found in one loss function: nodes, synapses, reach, and what was refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax

from ._dataflow import (
    ACTIVITY,
    BERNOULLI_MARK,
    CONSTANT,
    DATA,
    NODE_MARKS,
    Flow,
    Meeting,
    gains,
    walk,
)
from ._depth import longest_path
from ._enter import parallel_carries
from ._layers import Layer, layers
from ._leaves import Leaves
from ._made_of import MadeOf, made_of
from ._nodes import (
    LOSS,
    Reacher,
    Terminal,
    entering,
    everything,
    marked,
    marked_outputs,
)
from ._places import drive, names, outputs
from ._primitives import SYNAPTIC
from ._refusals import refusals, unknowns
from ._setting import Setting
from ._synapse import make_synapses

_FIXED = ([CONSTANT, ACTIVITY], [DATA, ACTIVITY])


@dataclass(frozen=True)
class Node:
    """An activity that a rule may read, hold or send a teaching signal to.

    Attributes:
      name: from the paths of the parameters that make it, or given by `apical.node`.
      shape: its shape, with the lengths of the loops around it in front.
      dtype: its dtype.
      why: "enters a synapse", "paths part", "marked" or "operation".
      unit: whether it is a nonlinearity of one activity, its drive.
      loops: the lengths of the loops around it.
      scope: the names of the modules or functions that compute it.
      where: the line that computes it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Any
    why: str
    unit: bool
    loops: tuple[int, ...]
    scope: str
    where: str


class Structure:
    """Nodes and synapses, found once in a traced program."""

    def __init__(
        self, flow: Flow, found: list[Meeting], leaves: Leaves, setting: Setting
    ) -> None:
        self.leaves, self._flow, self._found = leaves, flow, found
        self._policy = setting.nodes
        self._given_names = marked(flow, NODE_MARKS)
        # What a spike does is seen in the loss, also through what has no derivative.
        self._judged = (
            set() if setting.derivative else set(marked(flow, (BERNOULLI_MARK,)))
        )
        complete = self._policy == "entry"
        self._reacher = Reacher(flow, self._chosen(), self._judged, complete=complete)
        self._check_marks()
        self._numbers = [n for n in flow.maker if n in self._reacher.nodes]
        self._live = [m for m in found if self._reacher.reach.get(m.op.outputs[0])]
        self._names = names(
            flow, self._numbers, leaves.names, self._live, self._given_names
        )
        self.nodes = tuple(self._node(n) for n in self._numbers)
        self.synapses = make_synapses(flow, self._live, leaves.names)

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
        return jax.ShapeDtypeStruct((*loops, *inner.shape), inner.dtype)

    def _why(self, number: int) -> str:
        if number in self._given_names:
            return "marked"
        if number in self._reacher.added:
            return "paths part"
        return "operation" if self._policy == "every" else "enters a synapse"

    @cached_property
    def _loops(self) -> dict[int, tuple[int, ...]]:
        return {id(s.op): s.loops for s in walk(self._flow.program.body)}

    def _label(self, terminal: Terminal) -> str:
        number, later = terminal
        if number == LOSS:
            return "loss"
        return self._names[number] + (" (later)" if later else "")

    @cached_property
    def reach(self) -> dict[str, tuple[str, ...]]:
        """For each node, what it reaches directly; "(later)": through a carry."""
        following = self._reacher.next
        return {
            self._names[n]: tuple(sorted(self._label(t) for t in following[n]))
            for n in self._numbers
        }

    @cached_property
    def made_of(self) -> dict[str, MadeOf]:
        """What each node and the loss is made of, with no node or synapse between."""
        nodes = {number: self._names[number] for number in self._numbers}
        synapses = {m.op.outputs[0]: i for i, m in enumerate(self._live)}
        loss = self._flow.program.body.outputs[0]
        starts = {**{name: n for n, name in nodes.items()}, "loss": loss}
        return {
            name: made_of(self._flow, at, nodes, synapses)
            for name, at in starts.items()
        }

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The learned leaves by what they make, in the order of the computation."""
        flow = self._flow
        entry = entering(flow, self._found)
        reach = Reacher(flow, entry, self._judged, complete=True).reach
        inputs = flow.program.body.inputs[: len(self.leaves.learned)]
        return layers([reach[n] for n in inputs], self.leaves.names, flow.order)

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
    def outputs(self) -> tuple[int, ...]:
        """The activities that the loss reads, by variable; see `output`."""
        given = marked_outputs(self._flow).values()
        found = outputs(self._flow, self._live, self._reacher.reach)
        return tuple(given) or tuple(found)

    @cached_property
    def output(self) -> int:
        """The variable of the one output node, or refuse."""
        if len(self.outputs) != 1:
            problem = "no output" if not self.outputs else "more than one output"
            makers = (self._flow.maker[n][0] for n in self.outputs)
            listed = ", ".join(f"`{op.name}` at {op.where}" for op in makers)
            raise ValueError(
                f"The loss function has {problem} that can be told from the program "
                f"({len(self.outputs)} candidates{': ' if listed else ''}{listed}). "
                "Mark it: `y = apical.output(y)`."
            )
        return self.outputs[0]

    @property
    def output_shape(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the one output, loops in front; or refuse."""
        return self._shape(self.output)

    @property
    def output_node(self) -> str | None:
        """The name of the node that is the output too, if one is."""
        sources = {at: source for source, at in marked_outputs(self._flow).items()}
        return self._names.get(sources.get(self.output, self.output))

    @cached_property
    def feedback_leaves(self) -> tuple[int, ...]:
        """The learned leaves, by position, that a second copy would reach."""
        crossed = (m.leaves for m in self._found if m.weight is not None)
        return tuple(sorted(frozenset[int]().union(*crossed)))

    @cached_property
    def _gains(self) -> list[Meeting]:
        return gains(self._flow)

    @cached_property
    def gain_leaves(self) -> tuple[int, ...]:
        """The learned leaves, by position, that multiply an activity entry by entry."""
        return tuple(sorted(frozenset[int]().union(*(m.leaves for m in self._gains))))

    @cached_property
    def unreached(self) -> dict[str, str]:
        """The leaves that no synapse carries, and why."""
        reasons = {n: r.reason for r in refusals(self._flow) for n in r.leaves}
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
        return tuple(f"`{op.name}` at {op.where}" for op in unknowns(self._flow))

    @cached_property
    def fixed(self) -> tuple[str, ...]:
        """Products of an activity with what is not learned, which no rule replaces."""
        found = []
        for site in walk(self._flow.program.body):
            kinds = sorted(self._flow.kind_of(a) for a in site.op.inputs[:2])
            live = any(self._reacher.reach.get(n) for n in site.op.outputs)
            if site.op.name in SYNAPTIC and live and kinds in _FIXED:
                found.append(f"`{site.op.name}` at {site.op.where}")
        return tuple(found)

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

    def _require_reversible(self) -> None:
        for site in walk(self._flow.program.body):
            reaches = any(self._reacher.reach.get(n) for n in site.op.outputs)
            active = any(self._flow.is_activity(a) for a in site.op.inputs)
            if site.op.name == "while" and active and reaches:
                raise ValueError(
                    f"The loop at {site.op.where} (`while_loop`, or a `fori_loop` "
                    "whose number of steps is not fixed) acts on activities, and JAX "
                    "cannot reverse it. Use `lax.scan`, or `lax.fori_loop` with fixed "
                    "bounds."
                )

    def require_feedback(self) -> None:
        """Refuse if a leaf meets data where a second copy cannot be followed."""
        self._require_reversible()
        for refusal in refusals(self._flow):
            paths = ", ".join(self.leaves.names[i] for i in sorted(refusal.leaves))
            raise ValueError(
                f"Parameter {paths!r} cannot be given feedback at {refusal.op.where}: "
                f"{refusal.reason}."
            )
        if not self.feedback_leaves:
            raise ValueError(
                "No synapse was found: nothing in `params` meets data in a matrix "
                "product or a convolution, so there is no path for feedback. (Is the "
                "data closed over? Pass it as an argument.)"
            )

    def require_nodes(self) -> None:
        """Refuse if there is no node, or if a chain bypasses one."""
        self._require_reversible()
        if not self.nodes:
            raise ValueError(
                "No node was found: no activity that depends on `params` enters a "
                "synapse. Mark one with `apical.node`, or pass `nodes='every'`."
            )
        if not self.separated:
            raise ValueError(
                f"With nodes={self._policy!r} some synapse reaches more than one "
                "node or a node and the loss; this rule needs separated nodes: use "
                "nodes='entry'."
            )

    def require_output(self) -> None:
        """Refuse if there is not one output, or if a node stands after it."""
        number, reacher = self.output, self._reacher
        reached = (
            reacher.next[number] if number in self._names else reacher.reach[number]
        )
        after = sorted(self._label(t) for t in reached if t[0] != LOSS)
        if after:
            raise ValueError(
                f"The output reaches the node {after[0]!r}, and this rule needs an "
                "output that only the loss reads. Mark a later activity with "
                "`apical.output`, or choose the nodes by `nodes=`."
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
