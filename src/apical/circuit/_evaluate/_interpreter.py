"""The interpreter: runs a program with taps at its sites and feedback weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._analysis._dataflow import Flow
from .._jaxpr import Atom, Body, Literal, Op
from ._feedback_weight import with_feedback_weight
from ._taps import Tap

# Maps a synapse's number, effective weight and second copy to the backward weight.
Backward = Callable[[int, Any, Any], Any]
# Maps a synapse's number and input to the input that it reads instead.
Send = Callable[[int, Any], Any]


@dataclass(frozen=True)
class Plan:
    """The variables that are sites, and the operations with a second weight.

    `sites` maps a variable to the names of its sites (a node may also be the output);
    `crossed` maps an operation, by identity, to (synapse's number, weight's position);
    `loops` are the scans, by identity, whose derivative is found forwards in time.
    """

    sites: Mapping[int, Sequence[str]] = field(default_factory=dict)
    crossed: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    loops: frozenset[int] = frozenset()


@dataclass
class Scope:
    """The values of one evaluation of one body.

    `feedback_values` are the second copies of effective weights.
    """

    values: dict[int, Any]
    feedback_values: dict[int, Any]
    sites: dict[str, Any]

    def read(self, atom: Atom) -> Any:
        return atom.value if isinstance(atom, Literal) else self.values[atom]

    def read_feedback(self, atom: Atom) -> Any:
        """The second copy of a value; the value itself if it has none."""
        if isinstance(atom, Literal):
            return atom.value
        return self.feedback_values.get(atom, self.values[atom])

    def feedback_value(self, atom: Atom) -> Any:
        """The second copy of a value; None if it has none."""
        return None if isinstance(atom, Literal) else self.feedback_values.get(atom)

    def has_feedback(self, atoms: Iterable[Atom]) -> bool:
        found = self.feedback_values
        return any(not isinstance(a, Literal) and a in found for a in atoms)


class Runner:
    """One evaluation of a program, with taps and feedback.

    `enter` evaluates operations with a body: loops, branches, checkpoints.
    """

    def __init__(
        self,
        flow: Flow,
        plan: Plan,
        enter: Mapping[str, Callable[..., Sequence[Any]]],
        tap: Tap | None,
        inject: Mapping[str, Any],
        backward: Backward | None,
        parallel: bool = False,
        send: Send | None = None,
    ) -> None:
        self.flow, self.plan, self.enter, self.tap = flow, plan, enter, tap
        self.inject, self.backward, self.parallel = inject, backward, parallel
        self.send = send
        self.inner = _sites_inside(flow.program.body, plan.sites)
        self.entered = _entered(flow.program.body, plan)

    def __call__(self, inputs: Sequence[Any], feedback: Sequence[Any]) -> Any:
        """The values of the program's outputs, and the values computed at each site."""
        body, program = self.flow.program.body, self.flow.program
        scope = Scope(dict(program.constants), {}, {})
        for number, value in zip(body.inputs, feedback, strict=False):
            if value is not None:
                scope.feedback_values[number] = value
        outs = self.body(body, scope, inputs, self.inject)
        return outs, scope.sites

    def body(self, body: Body, scope: Scope, inputs: Any, inject: Any) -> list[Any]:
        scope.values.update(zip(body.inputs, inputs, strict=True))
        for op in body.ops:
            outs = self.op(op, scope, inject)
            for number, value in zip(op.outputs, outs, strict=True):
                scope.values[number] = self.site(number, value, scope, inject)
        return [scope.read(a) for a in body.outputs]

    def site(self, number: int, value: Any, scope: Scope, inject: Any) -> Any:
        for name in self.plan.sites.get(number, ()):
            scope.sites[name] = value
            if self.tap is not None:
                value = self.tap(name, value, inject.get(name))
        return value

    def op(self, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
        if id(op) in self.entered:
            return self.enter[op.name](self, op, scope, inject)
        if id(op) in self.plan.crossed and self.send is not None:
            return self.sent(op, scope, self.send)
        if self.backward is not None:
            self.make_feedback(op, scope)
            if id(op) in self.plan.crossed:
                return [self.with_feedback_weight(op, scope)]
        return op(*[scope.read(a) for a in op.inputs])

    def make_feedback(self, op: Op, scope: Scope) -> None:
        """The second copies of outputs that are weights, from those of the inputs."""
        if scope.has_feedback(op.inputs) and any(map(self.flow.is_weight, op.outputs)):
            pairs = zip(op.inputs, self.flow.weights_among(op), strict=True)
            values = [scope.read_feedback(a) if w else scope.read(a) for a, w in pairs]
            scope.feedback_values.update(zip(op.outputs, op(*values), strict=True))

    def with_feedback_weight(self, op: Op, scope: Scope) -> Any:
        number, weight = self.plan.crossed[id(op)]
        x, w = scope.read(op.inputs[1 - weight]), scope.read(op.inputs[weight])
        assert self.backward is not None
        b = self.backward(number, w, scope.read_feedback(op.inputs[weight]))
        return with_feedback_weight(op, weight, x, w, b)

    def sent(self, op: Op, scope: Scope, send: Send) -> Sequence[Any]:
        """The outputs of a synapse with its input replaced."""
        number, weight = self.plan.crossed[id(op)]
        values = [scope.read(a) for a in op.inputs]
        values[1 - weight] = send(number, values[1 - weight])
        return op(*values)

    def child(self, scope: Scope) -> Scope:
        """A scope for an inner body: it sees the program's constants only."""
        constants = self.flow.program.constants
        return Scope({n: scope.values[n] for n in constants}, {}, {})

    def inside(self, body: Body, scope: Scope) -> Callable[[Any, Any, Any], Any]:
        """An inner body as a function of operands, second copies and injections.

        It returns outputs, their second copies (None where there is none), and sites.
        """

        def run(operands: Any, feedback: Any, inject: Any) -> Any:
            inner = self.child(scope)
            inner.feedback_values.update(feedback)
            outs = self.body(body, inner, operands, inject)
            copies = [inner.feedback_value(a) for a in body.outputs]
            return outs, copies, inner.sites

        return run

    def injected(self, op: Op, inject: Mapping[str, Any]) -> dict[str, Any]:
        """The values injected at the sites inside an operation."""
        return {name: inject[name] for name in self.inner[id(op)] if name in inject}

    def weights_out(self, op: Op) -> list[bool]:
        """Which outputs of an operation are effective weights."""
        if self.backward is None:
            return [False] * len(op.outputs)
        return [self.flow.is_weight(n) for n in op.outputs]


def _sites_inside(body: Body, sites: Mapping[int, Any]) -> dict[int, list[str]]:
    """For each operation with bodies, by identity: the sites at any depth inside."""
    found: dict[int, list[str]] = {}

    def collect(body: Body) -> list[str]:
        names: list[str] = []
        for op in body.ops:
            inner = [n for b in op.bodies for n in collect(b)] if op.enterable else []
            found[id(op)] = inner
            names += inner + [n for v in op.outputs for n in sites.get(v, ())]
        return names

    collect(body)
    return found


def _entered(body: Body, plan: Plan) -> set[int]:
    """The loops, branches and checkpoints whose body the interpreter must evaluate."""
    found: set[int] = set()

    def visit(body: Body) -> bool:
        any_here = False
        for op in body.ops:
            inside = op.enterable and any([visit(b) for b in op.bodies])
            inside |= id(op) in plan.loops
            if inside:
                found.add(id(op))
            here = id(op) in plan.crossed or any(n in plan.sites for n in op.outputs)
            any_here |= inside or here
        return any_here

    visit(body)
    return found
