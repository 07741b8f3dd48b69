"""Evaluate a program once more, with taps at its sites and a second set of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from ._cut import Tap
from ._dataflow import ACTIVITY, PARAMETER, Flow, walk
from ._feedback import cross
from ._jaxpr import Atom, Body, Literal, Op

# Given a synapse's number, its effective weight and its second copy: what the backward
# path goes through.
Backward = Callable[[int, Any, Any], Any]


@dataclass(frozen=True)
class Plan:
    """Which variables are sites, and which operations are crossed by feedback.

    `sites` maps a variable to the names of its sites (a node may also be the output);
    `crossed` maps an operation, by identity, to (synapse's number, weight's position).
    """

    sites: Mapping[int, Sequence[str]] = field(default_factory=dict)
    crossed: Mapping[int, tuple[int, int]] = field(default_factory=dict)


@dataclass
class Scope:
    """The values of one evaluation of one body."""

    values: dict[int, Any]
    second: dict[int, Any]  # the second copy, of effective weights alone
    sites: dict[str, Any]

    def read(self, atom: Atom) -> Any:
        return atom.value if isinstance(atom, Literal) else self.values[atom]

    def read_second(self, atom: Atom) -> Any:
        if isinstance(atom, Literal):
            return atom.value
        return self.second.get(atom, self.values[atom])

    def has_second(self, atoms: Iterable[Atom]) -> bool:
        return any(not isinstance(a, Literal) and a in self.second for a in atoms)


class Runner:
    """One evaluation: the loss function, seen through taps and feedback."""

    def __init__(
        self,
        flow: Flow,
        plan: Plan,
        tap: Tap | None,
        inject: Mapping[str, Any],
        backward: Backward | None,
        parallel: bool = False,
    ) -> None:
        self.flow, self.plan, self.tap = flow, plan, tap
        self.inject, self.backward, self.parallel = inject, backward, parallel
        self.inner = _sites_inside(flow.program.body, plan.sites)
        self.entered = _entered(flow.program.body, plan)

    def __call__(self, inputs: Sequence[Any], second: Sequence[Any]) -> Any:
        """Values of the program's outputs, and what was computed at each site."""
        body, program = self.flow.program.body, self.flow.program
        scope = Scope(dict(program.constants), {}, {})
        for number, value in zip(body.inputs, second, strict=False):
            if value is not None:
                scope.second[number] = value
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
            return _ENTER[op.name](self, op, scope, inject)
        if id(op) in self.plan.crossed and self.backward is not None:
            return [self.cross(op, scope)]
        values = [scope.read(a) for a in op.inputs]
        if scope.has_second(op.inputs) and self.is_weight(op):
            seconds = op(*[scope.read_second(a) for a in op.inputs])
            scope.second.update(zip(op.outputs, seconds, strict=True))
        return op(*values)

    def is_weight(self, op: Op) -> bool:
        return any(self.flow.kind[n] == PARAMETER for n in op.outputs)

    def cross(self, op: Op, scope: Scope) -> Any:
        number, weight = self.plan.crossed[id(op)]
        x, w = scope.read(op.inputs[1 - weight]), scope.read(op.inputs[weight])
        assert self.backward is not None
        b = self.backward(number, w, scope.read_second(op.inputs[weight]))
        return cross(op, weight, x, w, b)

    def child(self, scope: Scope) -> Scope:
        """A scope for an inner body: it sees the program's constants only."""
        constants = self.flow.program.constants
        return Scope({n: scope.values[n] for n in constants}, {}, {})

    def bind(self, scope: Scope, inner: Scope, atoms: Any, numbers: Any) -> None:
        for atom, number in zip(atoms, numbers, strict=True):
            if scope.has_second([atom]):
                inner.second[number] = scope.second[atom]

    def run_inside(self, body: Body, scope: Scope) -> Any:
        """A function of the operands that evaluates a body without a loop."""

        def run(operands: Any, seconds: Any, inject: Any) -> Any:
            inner = self.child(scope)
            inner.second.update(seconds)
            outs = self.body(body, inner, operands, inject)
            kept = {n: inner.second.get(n) for n in body.outputs if n in inner.second}
            return outs, [kept.get(a) for a in body.outputs], inner.sites

        return run


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
    """The loops, branches and checkpoints whose body has to be evaluated by us."""
    found: set[int] = set()

    def visit(body: Body) -> bool:
        any_here = False
        for op in body.ops:
            inside = op.enterable and any([visit(b) for b in op.bodies])
            if inside:
                found.add(id(op))
            here = id(op) in plan.crossed or any(n in plan.sites for n in op.outputs)
            any_here |= inside or here
        return any_here

    visit(body)
    return found


def _run_remat(runner: Runner, op: Op, scope: Scope, inject: Any) -> Any:
    (body,) = op.bodies
    run = runner.run_inside(body, scope)
    options = {"policy": op.params["policy"], "prevent_cse": op.params["prevent_cse"]}
    operands = [scope.read(a) for a in op.inputs]
    inside = {n: inject[n] for n in runner.inner[id(op)] if n in inject}
    seconds = _seconds(scope, op.inputs, body.inputs)
    outs, second, sites = jax.checkpoint(run, **options)(operands, seconds, inside)
    return _leave(op, scope, outs, second, sites)


def _run_cond(runner: Runner, op: Op, scope: Scope, inject: Any) -> Any:
    names = runner.inner[id(op)]
    operands = [scope.read(a) for a in op.inputs[1:]]
    shapes = site_shapes(runner.flow, runner.plan.sites, op)
    inside = {n: inject[n] for n in names if n in inject}

    def branch(body: Body) -> Callable[[Any, Any], Any]:
        def run(operands: Any, inject: Any) -> Any:
            seconds = _seconds(scope, op.inputs[1:], body.inputs)
            run = runner.run_inside(body, scope)
            outs, second, sites = run(operands, seconds, inject)
            # A branch that is not taken computes nothing: its sites agree with
            # whatever is held there, so that no error and no derivative arises.
            absent = {n: _absent(inject.get(n), shapes[n]) for n in names}
            return outs, _filled(outs, second), {**absent, **sites}

        return run

    branches = [branch(body) for body in op.bodies]
    index = scope.read(op.inputs[0])
    outs, second, sites = jax.lax.switch(index, branches, operands, inside)
    keep = _second_outputs(runner, op, scope)
    return _leave(op, scope, outs, _where(keep, second), sites)


def _run_scan(runner: Runner, op: Op, scope: Scope, inject: Any) -> Any:
    (body,), loop = op.bodies, op.loop
    assert loop is not None
    names = runner.inner[id(op)]
    inside = {n: inject[n] for n in names if n in inject}
    if runner.parallel and parallel_carries(runner.flow, runner.plan.sites, op):
        if all(n in inject for n in carried_sites(runner.plan.sites, op)):
            return _run_side_by_side(runner, op, scope, inside)
    split = (loop.consts, loop.consts + loop.carry)
    values = [scope.read(a) for a in op.inputs]
    keep = _second_outputs(runner, op, scope)
    consts, carry, xs = (
        values[: split[0]],
        values[split[0] : split[1]],
        values[split[1] :],
    )
    numbers = body.inputs
    fixed = _seconds(scope, op.inputs[: split[0]], numbers[: split[0]])
    moved = _seconds(scope, op.inputs[split[1] :], numbers[split[1] :])
    started = [
        scope.read_second(a) if k else None
        for a, k in zip(op.inputs[split[0] : split[1]], keep, strict=False)
    ]

    def step(state: Any, slices: Any) -> Any:
        (carry, carried), (xs, moved, inside) = state, slices
        seconds = {**fixed, **moved}
        pairs = zip(numbers[split[0] : split[1]], carried, strict=True)
        seconds.update({n: s for n, s in pairs if s is not None})
        run = runner.run_inside(body, scope)
        outs, second, sites = run([*consts, *carry, *xs], seconds, inside)
        second = _where(keep, _filled(outs, second))
        now, ys = outs[: loop.carry], outs[loop.carry :]
        return (now, second[: loop.carry]), (ys, second[loop.carry :], sites)

    start = (carry, started)
    (carry, carried), (ys, seconds, sites) = jax.lax.scan(
        step, start, (xs, moved, inside), loop.length, loop.reverse, loop.unroll
    )
    return _leave(op, scope, [*carry, *ys], [*carried, *seconds], sites)


def _run_side_by_side(runner: Runner, op: Op, scope: Scope, inject: Any) -> Any:
    """All steps of a loop at once: when every carry is held, none waits for another."""
    (body,), loop = op.bodies, op.loop
    assert loop is not None
    values = [scope.read(a) for a in op.inputs]
    held = [inject[n] for n in carried_sites(runner.plan.sites, op)]
    starts = values[loop.consts : loop.consts + loop.carry]
    before = [_shifted(s, h, loop.reverse) for s, h in zip(starts, held, strict=True)]
    consts, xs = values[: loop.consts], values[loop.consts + loop.carry :]

    def step(carry: Any, xs: Any, inject: Any) -> Any:
        run = runner.run_inside(body, scope)
        outs, _, sites = run([*consts, *carry, *xs], {}, inject)
        return outs[loop.carry :], sites

    ys, sites = jax.vmap(step)(before, xs, inject)
    last = 0 if loop.reverse else -1
    return _leave(op, scope, [*(h[last] for h in held), *ys], [None] * 0, sites)


def _shifted(start: Any, held: Any, reverse: bool) -> Any:
    parts = [held[1:], start[None]] if reverse else [start[None], held[:-1]]
    return jnp.concatenate(parts)


def carried_sites(sites: Mapping[int, Sequence[str]], op: Op) -> list[str]:
    """The site on each carry of a scan, by the name that is injected."""
    assert op.loop is not None
    outs = op.bodies[0].outputs[: op.loop.carry]
    return [sites[a][0] for a in outs if not isinstance(a, Literal) and a in sites]


def parallel_carries(flow: Flow, sites: Mapping[int, Any], op: Op) -> bool:
    """Whether every carry of a scan is a site, so that its steps are independent."""
    assert op.loop is not None
    outs = op.bodies[0].outputs[: op.loop.carry]
    return (
        op.loop.carry > 0
        and all(
            not isinstance(a, Literal) and a in sites and flow.kind[a] == ACTIVITY
            for a in outs
        )
        and len(set(outs)) == len(outs)
    )


def _second_outputs(runner: Runner, op: Op, scope: Scope) -> list[bool]:
    """Which outputs are effective weights, and so have a second copy."""
    if runner.backward is None:
        return [False] * len(op.outputs)
    return [runner.flow.kind[n] == PARAMETER for n in op.outputs]


def _seconds(scope: Scope, atoms: Any, numbers: Any) -> dict[int, Any]:
    pairs = zip(atoms, numbers, strict=True)
    return {n: scope.second[a] for a, n in pairs if scope.has_second([a])}


def _filled(values: Sequence[Any], seconds: Sequence[Any]) -> list[Any]:
    return [v if s is None else s for v, s in zip(values, seconds, strict=True)]


def _where(keep: Sequence[bool], seconds: Sequence[Any]) -> list[Any]:
    return [s if k else None for k, s in zip(keep, seconds, strict=True)]


def _absent(injected: Any, shape: jax.ShapeDtypeStruct) -> Any:
    return jnp.zeros(shape.shape, shape.dtype) if injected is None else injected


def _leave(op: Op, scope: Scope, outs: Any, seconds: Any, sites: Any) -> Any:
    for number, second in zip(op.outputs, seconds, strict=False):
        if second is not None:
            scope.second[number] = second
    scope.sites.update(sites)
    return outs


def site_shapes(
    flow: Flow, sites: Mapping[int, Sequence[str]], op: Op
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the sites inside an operation, as they leave it (loops in front)."""
    found: dict[str, jax.ShapeDtypeStruct] = {}
    for body in op.bodies:
        for site in walk(body):
            for number in site.op.outputs:
                inner = flow.program.shapes[number]
                shape = (*site.loops, *inner.shape)
                struct = jax.ShapeDtypeStruct(shape, inner.dtype)
                found.update(dict.fromkeys(sites.get(number, ()), struct))
    return found


_ENTER = {"remat": _run_remat, "cond": _run_cond, "scan": _run_scan}
