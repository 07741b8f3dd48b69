"""The drive of a node: the activity that its nonlinearity was applied to."""

from __future__ import annotations

from collections.abc import Iterable

from .._jaxpr import Atom, Body, Literal, Op
from .._marks import mark_of
from ._dataflow import CONSTANT, Flow
from ._primitives import is_elementwise, is_linear_elementwise


def drive(flow: Flow, node: int) -> int | None:
    """The activity z of which the node is an elementwise, nonlinear function rho(z).

    Walks back from the node through elementwise operations of activities and
    constants until a single activity is left on every path, and on through further
    nonlinearities that nothing else reads (the two halves of a clip). A function that
    is only affine (a division after pooling) is no nonlinearity and is walked through.
    """
    order = flow.order
    frontier, nonlinear, found = {node}, False, None
    crossed: set[int] = set()
    while True:
        if len(frontier) == 1 and nonlinear:
            (found,), nonlinear = frontier, False
        latest = max(frontier, key=order.__getitem__)
        op = flow.maker[latest][0]
        before = set().union(*(behind(flow, a) for a in op.inputs))
        if found is not None and not _is_read_within(flow, latest, crossed):
            return found
        if not _is_pointwise(flow, op, node) or not before:
            return found
        frontier = (frontier - {latest}) | before
        if not frontier <= order.keys():  # an input of the loop's body
            return found
        crossed.add(id(op))
        nonlinear = nonlinear or _is_nonlinear(flow, op)


def _is_read_within(flow: Flow, number: int, crossed: set[int]) -> bool:
    """Whether an activity is read by these operations alone, and has no name."""
    readers = flow.readers.get(number, [])
    inside = all(id(op) in crossed for op in readers)
    named = mark_of(flow.maker[number][0]) is not None
    return inside and not named and _out_of_body(flow, number) is None


def behind(flow: Flow, atom: Atom) -> set[int]:
    """The activities of which a value, or a comparison, is made."""
    if isinstance(atom, Literal):
        return set()
    if flow.is_activity(atom):
        return {atom}
    boolean = flow.program.shapes[atom].dtype == bool
    if not boolean or atom not in flow.maker:
        return set()
    return set().union(*(behind(flow, a) for a in flow.maker[atom][0].inputs))


def _is_pointwise(flow: Flow, op: Op, node: int) -> bool:
    if op.enterable or not is_elementwise(op):
        return False
    rest = [a for a in op.inputs if not flow.is_activity(a)]
    same = all(flow.shape(a) == flow.shape(node) for a in op.inputs if a not in rest)
    # A comparison of an activity carries no derivative but belongs to rho.
    return same and all(_is_of_rho(flow, a) for a in rest)


def _is_of_rho(flow: Flow, atom: Atom) -> bool:
    if isinstance(atom, Literal) or flow.kind_of(atom) == CONSTANT:
        return True
    maker = flow.maker.get(atom)
    boolean = flow.program.shapes[atom].dtype == bool
    return maker is not None and boolean and not maker[0].enterable


def _is_nonlinear(flow: Flow, op: Op) -> bool:
    if op.name == "select_n":  # a choice that the activities do not make is a mask
        return bool(behind(flow, op.inputs[0]))
    if not is_linear_elementwise(op):
        return True
    activities = sum(flow.is_activity(a) for a in op.inputs)
    divides = op.name == "div" and flow.is_activity(op.inputs[1])
    return divides or (op.name == "mul" and activities > 1)


def _out_of_body(flow: Flow, number: int) -> int | None:
    """The output of the enclosing operation through which a value leaves its body."""
    for op, body in _enclosing(flow):
        for i, atom in enumerate(body.outputs):
            if atom == number:
                return op.outputs[i]
    return None


def _enclosing(flow: Flow) -> Iterable[tuple[Op, Body]]:
    seen: set[int] = set()
    for op, body, _ in flow.entry.values():
        if id(body) not in seen and op.enterable:
            seen.add(id(body))
            yield op, body
