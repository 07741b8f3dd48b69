"""Loops, branches and checkpoints, evaluated through JAX's public functions.

A loop stays a loop: values injected at a site inside it are another `xs`, values
computed there another `ys`, with the loop's length as leading axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._analysis._dataflow import ACTIVITY, Flow
from .._analysis._graph import walk
from .._jaxpr import Body, Literal, Op
from ._interpreter import Runner, Scope
from ._manual_axes import scan
from ._sharding import struct_like, zeros


def enter_remat(runner: Runner, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
    """`jax.checkpoint`, with the policy it had."""
    (body,) = op.bodies
    again = jax.checkpoint(
        runner.inside(body, scope),
        policy=op.params["policy"],
        prevent_cse=op.params["prevent_cse"],
    )
    operands = [scope.read(a) for a in op.inputs]
    feedback = _feedback_values(scope, op.inputs, body.inputs)
    outs, copies, sites = again(operands, feedback, runner.injected(op, inject))
    return _leave(op, scope, outs, copies, sites)


def enter_cond(runner: Runner, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
    """`lax.switch`; a site in a branch that is not taken has the injected value."""
    operands = [scope.read(a) for a in op.inputs[1:]]
    shapes = _site_shapes(runner.flow, runner.plan.sites, op)
    weights = runner.weights_out(op)

    def branch(body: Body) -> Callable[[Any, Any], Any]:
        def run(operands: Any, inject: Any) -> Any:
            feedback = _feedback_values(scope, op.inputs[1:], body.inputs)
            outs, copies, sites = runner.inside(body, scope)(operands, feedback, inject)
            absent = {n: _absent(inject.get(n), s) for n, s in shapes.items()}
            return outs, _where(weights, outs, copies), {**absent, **sites}

        return run

    branches = [branch(body) for body in op.bodies]
    index, inside = scope.read(op.inputs[0]), runner.injected(op, inject)
    outs, copies, sites = jax.lax.switch(index, branches, operands, inside)
    return _leave(op, scope, outs, copies, sites)


def enter_scan(runner: Runner, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
    """`lax.scan`, or all steps in parallel if they are independent."""
    inside = runner.injected(op, inject)
    free = runner.parallel and parallel_carries(runner.flow, runner.plan.sites, op)
    if free and all(n in inside for n in _carried_sites(runner.plan.sites, op)):
        return _side_by_side(runner, op, scope, inside)
    return _in_turn(runner, op, scope, inside)


ENTER = {"remat": enter_remat, "cond": enter_cond, "scan": enter_scan}


def _in_turn(runner: Runner, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
    (body,), loop, weights = op.bodies, op.loop, runner.weights_out(op)
    assert loop is not None
    (consts, carry, xs), (_, carried, sliced) = _divided(op, scope), _divided(op, None)
    numbers = body.inputs[loop.consts : loop.consts + loop.carry]
    fixed = _feedback_values(
        scope, op.inputs[: loop.consts], body.inputs[: loop.consts]
    )
    moving = _feedback_values(scope, sliced, body.inputs[loop.consts + loop.carry :])
    copies = _where(weights, carry, [scope.feedback_value(a) for a in carried])

    def step(state: Any, slices: Any) -> Any:
        (carry, copies), (xs, moving, inject) = state, slices
        pairs = zip(numbers, copies, strict=True)
        feedback = {**fixed, **moving, **{n: c for n, c in pairs if c is not None}}
        outs, copies, sites = runner.inside(body, scope)(
            [*consts, *carry, *xs], feedback, inject
        )
        copies, n = _where(weights, outs, copies), loop.carry
        return (outs[:n], copies[:n]), (outs[n:], copies[n:], sites)

    (carry, copies), (ys, stacked, sites) = scan(
        step,
        (carry, copies),
        (xs, moving, inject),
        length=loop.length,
        reverse=loop.reverse,
        unroll=loop.unroll,
    )
    return _leave(op, scope, [*carry, *ys], [*copies, *stacked], sites)


def _side_by_side(runner: Runner, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
    """All steps of a loop in parallel: every carry is held, so they are independent."""
    (body,), loop = op.bodies, op.loop
    assert loop is not None
    consts, starts, xs = _divided(op, scope)
    held = [inject[name] for name in _carried_sites(runner.plan.sites, op)]
    before = [_shifted(s, h, loop.reverse) for s, h in zip(starts, held, strict=True)]

    fixed = _feedback_values(
        scope, op.inputs[: loop.consts], body.inputs[: loop.consts]
    )
    first = loop.consts + loop.carry
    moving = _feedback_values(scope, op.inputs[first:], body.inputs[first:])

    def step(carry: Any, xs: Any, moving: Any, inject: Any) -> Any:
        operands, feedback = [*consts, *carry, *xs], {**fixed, **moving}
        outs, copies, sites = runner.inside(body, scope)(operands, feedback, inject)
        return outs[loop.carry :], copies[loop.carry :], sites

    ys, copies, sites = jax.vmap(step)(before, xs, moving, inject)
    last = [h[0 if loop.reverse else -1] for h in held]
    copies = [*([None] * loop.carry), *copies]
    return _leave(op, scope, [*last, *ys], copies, sites)


def _divided(op: Op, scope: Scope | None) -> tuple[list[Any], list[Any], list[Any]]:
    """The values of a scan's consts, carry and xs; without a scope the atoms."""
    assert op.loop is not None
    values = [a if scope is None else scope.read(a) for a in op.inputs]
    first, second = op.loop.consts, op.loop.consts + op.loop.carry
    return values[:first], values[first:second], values[second:]


def _shifted(start: Any, held: Any, reverse: bool) -> Any:
    parts = [held[1:], start[None]] if reverse else [start[None], held[:-1]]
    return jnp.concatenate(parts)


def _carried_sites(sites: Mapping[int, Sequence[str]], op: Op) -> list[str]:
    """The site on each carry of a scan, by the name that is injected."""
    assert op.loop is not None
    outs = op.bodies[0].outputs[: op.loop.carry]
    return [sites[a][0] for a in outs if not isinstance(a, Literal) and a in sites]


def parallel_carries(flow: Flow, sites: Mapping[int, Any], op: Op) -> bool:
    """Whether every carry of a scan is a site, so that its steps are independent."""
    assert op.loop is not None
    outs = op.bodies[0].outputs[: op.loop.carry]
    held = (
        not isinstance(a, Literal) and a in sites and flow.kind[a] == ACTIVITY
        for a in outs
    )
    return op.loop.carry > 0 and len(set(outs)) == len(outs) and all(held)


def _feedback_values(scope: Scope, atoms: Any, numbers: Any) -> dict[int, Any]:
    """The second copies of operands, by the variables of the body."""
    pairs = zip(atoms, numbers, strict=True)
    return {n: scope.feedback_values[a] for a, n in pairs if scope.has_feedback([a])}


def _where(weights: Sequence[bool], values: Any, copies: Any) -> list[Any]:
    """The second copy of each effective weight; its own value if it has none."""
    columns = zip(weights, values, copies, strict=False)
    return [(v if c is None else c) if w else None for w, v, c in columns]


def _absent(injected: Any, shape: jax.ShapeDtypeStruct) -> Any:
    return zeros(shape) if injected is None else injected


def _leave(op: Op, scope: Scope, outs: Any, copies: Any, sites: Any) -> Sequence[Any]:
    for number, copy in zip(op.outputs, copies, strict=False):
        if copy is not None:
            scope.feedback_values[number] = copy
    scope.sites.update(sites)
    return outs


def _site_shapes(
    flow: Flow, sites: Mapping[int, Sequence[str]], op: Op
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the sites inside an operation, with loops as leading axes."""
    found: dict[str, jax.ShapeDtypeStruct] = {}
    for site in (s for body in op.bodies for s in walk(body)):
        for number in site.op.outputs:
            inner = flow.program.shapes[number]
            shape, loops = (*site.loops, *inner.shape), len(site.loops)
            struct = struct_like(inner, shape, inner.dtype, loops)
            found.update(dict.fromkeys(sites.get(number, ()), struct))
    return found
