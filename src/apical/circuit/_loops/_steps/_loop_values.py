"""What is the same at every step of a loop, computed before it."""

from __future__ import annotations

from typing import Any

from ..._evaluate._interpreter import Runner, Scope
from ..._jaxpr import Op
from ._step import Step
from ._weight_values import (
    Fixed,
)


def hoisted(runner: Runner, op: Op, step: Step, scope: Scope) -> Scope:
    """The values, and second copies, of what is the same at every step."""
    (body,), inner = op.bodies, runner.child(scope)
    assert op.loop is not None
    moving = {op.loop.consts + p for p in step.positions}
    for k in range(op.loop.consts + op.loop.carry):
        if k not in moving:
            number, atom = body.inputs[k], op.inputs[k]
            inner.values[number] = scope.read(atom)
            copy = scope.feedback_value(atom)
            if copy is not None:
                inner.feedback_values[number] = copy
    for each in step.hoisted:
        original = step.original[id(each)]
        for a, b in zip(original.inputs, each.inputs, strict=True):
            if a is not b and isinstance(a, int):
                inner.values[a] = inner.read(b)
                copy = inner.feedback_value(b)
                if copy is not None:
                    inner.feedback_values[a] = copy
        outs = runner.op(original, inner, {})
        inner.values.update(zip(each.outputs, outs, strict=True))
    return inner


def fixed_of(runner: Runner, step: Step, inner: Scope) -> Fixed:
    """What a step reads of them, and the weights of the backward path."""
    copies: list[Any] = []
    for synapse in step.synapses:
        copy = None
        if runner.backward is not None and synapse.number is not None:
            atom = synapse.op.inputs[synapse.weight]
            w = inner.read(atom)
            copy = runner.backward(synapse.number, w, inner.read_feedback(atom))
        copies.append(copy)
    others = {n: inner.values[n] for n in step.fixed if n not in step.weights}
    return Fixed([inner.values[n] for n in step.weights], others, copies)
