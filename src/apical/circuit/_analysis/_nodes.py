"""Nodes of a program, the nodes that each reaches, and the parents of each.

By default the nodes are the activities that enter a synapse, and those from which two
or more different nodes (or a node and the loss) are reached. Then the output of each
synapse reaches exactly one node or the loss, so each parameter has one local
derivative. Nodes are canonical: casts, reshapes, slices and the carries of a scan are
traced back, so that one activity is one node, regardless of how it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

from .._jaxpr import Atom, Body, Literal, Op
from .._marks import OUTPUT_MARK, draws, mark_of, marks_output
from ._dataflow import ACTIVITY, DATA, PARAMETER, Flow
from ._graph import bound, walk
from ._primitives import is_identity
from ._synapses import WeightedOp

# ---- Nodes, and edges to the next nodes or to the loss.


class End(Enum):
    """An end of an edge that is not a node; it differs from every name."""

    LOSS = "the loss"


LOSS: Final = End.LOSS
"""The loss, as the end of an edge: `Edge(LOSS)`. It is not a node and has no name."""


class Edge(NamedTuple):
    """An edge from a node or synapse to a node or the loss, without a node in between.

    Attributes:
      to: the name of a node, or `LOSS`.
      later: whether it passes through the carry of a loop to a later iteration.
    """

    to: str | End
    later: bool = False

    def __str__(self) -> str:
        name = self.to.value if isinstance(self.to, End) else self.to
        return f"{name} (later)" if self.later else name


@dataclass(frozen=True)
class Node:
    """An activity that a rule may read, hold or send a teaching signal to.

    Attributes:
      name: from the paths of its parameters, or given by `apical.node`.
      shape: its shape, with the lengths of the loops around it as leading axes.
      dtype: its dtype.
      why: "enters a synapse", "paths part", "marked" or "operation".
      unit: whether it is a nonlinearity of one activity, its drive.
      loops: the lengths of the loops around it.
      scope: the names of the modules or functions that compute it.
      where: the line of code that computes it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Any
    why: str
    unit: bool
    loops: tuple[int, ...]
    scope: str
    where: str


LOSS_NUMBER = -1
# A node, by its variable, or the loss; and whether it is reached through the carry of a
# loop, in a later iteration.
Terminal = tuple[int, bool]
Reach = frozenset[Terminal]


# Finds the values that an operation selects from; None where it reads its operands.
Picks = Callable[[Flow, Op, int], "list[Atom] | None"]


def sources(
    flow: Flow,
    atom: Atom,
    seen: set[int] | None = None,
    picks: Picks | None = None,
) -> set[int]:
    """The activities of which a value is a copy, a cast or a rearrangement.

    Args:
      flow: the program.
      atom: the value.
      seen: the variables that were visited.
      picks: `picks(flow, op, i)` narrows the operands of an operation that selects.
    """
    seen = set() if seen is None else seen
    if isinstance(atom, Literal) or atom in seen or flow.kind[atom] != ACTIVITY:
        return set()
    seen.add(atom)
    origins = _origins(flow, atom, picks)
    if not origins:
        return {atom}
    return set().union(*(sources(flow, o, seen, picks) for o in origins))


def _origins(flow: Flow, number: int, picks: Picks | None = None) -> list[Atom]:
    """The values that an operation only copies or rearranges; empty for others."""
    if number in flow.entry:
        op, body, i = flow.entry[number]
        return bound(op, body, i)
    op, i = flow.maker[number]
    if op.enterable:
        return [body.outputs[i] for body in op.bodies]
    if draws(op):  # a spike and its probability are two activities
        return []
    if mark_of(op) or is_identity(op):
        picked = None if picks is None else picks(flow, op, i)
        return (
            [a for a in op.inputs if flow.is_activity(a)] if picked is None else picked
        )
    return []


def marked(flow: Flow, prefixes: Sequence[str]) -> dict[int, str]:
    """Canonical activities with a mark, and the names given by the marks."""
    found: dict[int, str] = {}
    for site in walk(flow.program.body):
        mark = mark_of(site.op) or ""
        prefix = next((p for p in prefixes if mark.startswith(p)), None)
        if prefix is None:
            continue
        name = mark.removeprefix(prefix)
        for number in _marked_sources(flow, site.op, mark):
            if found.get(number, name) != name:
                raise ValueError(
                    f"One activity is marked {found[number]!r} and {name!r} (at "
                    f"{site.op.where}); give it one name."
                )
            found[number] = name
    return found


def marked_outputs(flow: Flow) -> dict[int, int]:
    """The value at each output mark, by the activity that is marked.

    The value may be a rearrangement of the activity. A rearrangement of several
    activities counts as an activity itself.
    """
    found: dict[int, int] = {}
    for site in walk(flow.program.body):
        if marks_output(site.op):
            value = site.op.outputs[0]
            made = _marked_sources(flow, site.op, OUTPUT_MARK, joined=True)
            found[made.pop() if len(made) == 1 else value] = value
    return found


def _marked_sources(flow: Flow, op: Op, mark: str, *, joined: bool = False) -> set[int]:
    found = sources(flow, op.outputs[0])
    if len(found) == 1 or (found and joined):
        return found
    if not found:
        problem = (
            "depends on parameters alone, and an output is computed from data"
            if flow.kind_of(op.inputs[0]) == PARAMETER
            else "does not depend on the parameters through a derivative"
        )
    else:
        problem = "joins several activities; mark each of them before they are joined"
    raise ValueError(
        f"The value marked {mark.partition(':')[2] or mark!r} at {op.where} {problem}."
    )


def entering(flow: Flow, found: Iterable[WeightedOp]) -> set[int]:
    """The activities that enter a synapse."""
    roots = (sources(flow, a) for m in found for a in m.activities)
    return set().union(*roots)


def everything(flow: Flow) -> set[int]:
    """Every activity that is computed by an operation, not only rearranged."""
    made = (n for site in walk(flow.program.body) for n in site.op.outputs)
    return {n for n in made if flow.kind[n] == ACTIVITY and not _origins(flow, n)}


class Reachability:
    """The terminals that every value reaches, found backwards from the loss.

    Args:
      flow: the program.
      chosen: the activities that are nodes.
      stochastic: those that reach the loss even without a derivative.
      complete: whether an activity that reaches two terminals becomes a node too.
      in_step: whether a node now and the same node at a later step count as one.

    Attributes:
      of_value: the terminals that a value reaches; a node reaches itself.
      of_node: the terminals that a node reaches next.
      added: the nodes that were not chosen.
    """

    def __init__(
        self,
        flow: Flow,
        chosen: set[int],
        stochastic: set[int],
        *,
        complete: bool,
        in_step: bool = False,
    ) -> None:
        self.flow, self.chosen, self.complete = flow, chosen, complete
        self.stochastic, self.in_step = stochastic, in_step
        self.of_value: dict[int, Reach] = {}
        self.of_node: dict[int, Reach] = {}
        self.added: set[int] = set()
        self.keep = False
        outputs = flow.program.body.outputs
        loss = frozenset({(LOSS_NUMBER, False)})
        self._body(
            outputs, flow.program.body, [loss, *[frozenset()] * (len(outputs) - 1)]
        )

    @property
    def nodes(self) -> set[int]:
        """The chosen and added activities from which the loss is reached."""
        return {n for n in self.chosen | self.added if self.of_node.get(n)}

    def _body(self, atoms: Sequence[Atom], body: Body, outs: Sequence[Reach]) -> None:
        for number in self._inside(body):
            self.of_value[number] = frozenset()
        for atom, out in zip(atoms, outs, strict=True):
            self._join(atom, out)
        for op in reversed(body.ops):
            for number in op.outputs:
                self._visit(number, op)
            self._op(op, [self.of_value[n] for n in op.outputs])

    def _inside(self, body: Body) -> Iterable[int]:
        yield from body.inputs
        for op in body.ops:
            yield from op.outputs

    def _join(self, atom: Atom, out: Reach) -> None:
        if not isinstance(atom, Literal):
            self.of_value[atom] = self.of_value.get(atom, frozenset()) | out

    def _visit(self, number: int, op: Op) -> None:
        if self.flow.kind[number] == DATA:  # it has no derivative
            self.of_value[number] = frozenset()
        out = self.of_value[number]
        if not out and number in self.stochastic:
            out = frozenset({(LOSS_NUMBER, False)})
        if self._is_node(number, op, out):
            self.of_node[number] = out
            self.of_value[number] = frozenset({(number, False)}) if out else out
        else:
            self.of_node.pop(number, None)

    def _is_node(self, number: int, op: Op, out: Reach) -> bool:
        if number in self.chosen or (self.keep and number in self.added):
            return True
        made = self.flow.kind[number] == ACTIVITY and not _origins(self.flow, number)
        branches = self.complete and made and not op.enterable and self.parts(out)
        (self.added.add if branches else self.added.discard)(number)
        return branches

    def parts(self, out: Reach) -> bool:
        """Whether paths part: whether more than one terminal is reached."""
        return len({n for n, _ in out} if self.in_step else out) > 1

    def _op(self, op: Op, outs: Sequence[Reach]) -> None:
        if op.name == "scan":
            self._scan(op, outs)
        elif op.enterable:
            self._branches(op, outs)
        elif op.name != "stop_gradient":
            for atom in op.inputs:
                self._join(atom, frozenset().union(*outs))

    def _branches(self, op: Op, outs: Sequence[Reach]) -> None:
        for body in op.bodies:
            self._body(body.outputs, body, outs)
            for atom, number in zip(op.operands, body.inputs, strict=True):
                self._join(atom, self.of_value[number])

    def _scan(self, op: Op, outs: Sequence[Reach]) -> None:
        (body,), loop = op.bodies, op.loop
        assert loop is not None
        carried = body.inputs[loop.consts : loop.consts + loop.carry]
        # Until the sets of the carries no longer change. Nodes once chosen are kept, so
        # that this ends.
        later: list[Reach] = [frozenset()] * loop.carry
        was_kept = self.keep
        for round_ in range(64):
            self.keep = was_kept or round_ > 8
            joined = [o | n for o, n in zip(outs, later, strict=False)]
            self._body(body.outputs, body, [*joined, *outs[loop.carry :]])
            new = [_later(self.of_value[c]) for c in carried]
            if new == later:
                break
            later = new
        self.keep = was_kept
        for atom, number in zip(op.inputs, body.inputs, strict=True):
            self._join(atom, self.of_value[number])


def _later(out: Reach) -> Reach:
    return frozenset((n, n != LOSS_NUMBER) for n, _ in out)


# ---- Parents of nodes.


class Parents(NamedTuple):
    """The direct parents of a node or the loss: nodes and synapses.

    Attributes:
      nodes: the names of the nodes.
      synapses: the positions of the synapses among `circuit.synapses`.
    """

    nodes: tuple[str, ...]
    synapses: tuple[int, ...]


def parents(
    flow: Flow, start: Atom, nodes: Mapping[int, str], synapses: Mapping[int, int]
) -> Parents:
    """Walk back from a value to nodes, by variable, and outputs of synapses."""
    found_nodes: set[str] = set()
    found: set[int] = set()
    seen: set[Atom] = set()
    stack = [start]
    if not isinstance(start, Literal) and start in nodes:
        stack = [*flow.computed_from(start)]
    while stack:
        atom = stack.pop()
        if isinstance(atom, Literal) or atom in seen or not flow.is_activity(atom):
            continue
        seen.add(atom)
        if atom in nodes:
            found_nodes.add(nodes[atom])
        elif atom in synapses:
            found.add(synapses[atom])
        else:
            stack += flow.computed_from(atom)
    return Parents(tuple(sorted(found_nodes)), tuple(sorted(found)))
