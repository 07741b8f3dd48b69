"""Drives of nodes, and outputs of the network.

The drive of a node is the activity to which its nonlinearity is applied. An output is
the end of the affine operations after a synapse that reaches only the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from .._jaxpr import Atom, Literal, Op
from .._marks import mark_of
from ._dataflow import CONSTANT, PARAMETER, Flow
from ._nodes import LOSS_NUMBER, Reach
from ._primitives import SUMS, is_elementwise, is_identity, is_linear_elementwise
from ._synapses import WeightedOp


def find_drive(flow: Flow, node: int) -> int | None:
    """The activity z of which the node is an elementwise, nonlinear function rho(z).

    Walks back from the node through elementwise operations of activities and constants
    until every path ends in the same activity, and further through nonlinearities that
    nothing else reads (the two halves of a clip). An affine function (a division after
    pooling) is not a nonlinearity, so the walk continues.
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
    """Whether only these operations read an activity, and it has no mark."""
    readers = flow.readers.get(number, [])
    inside = all(id(op) in crossed for op in readers)
    named = mark_of(flow.maker[number][0]) is not None
    return inside and not named and not flow.leaves_body(number)


def behind(flow: Flow, atom: Atom) -> set[int]:
    """The activities that a value, or a comparison, is computed from."""
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
    # A comparison of an activity has no derivative but belongs to rho.
    return same and all(_is_of_rho(flow, a) for a in rest)


def _is_of_rho(flow: Flow, atom: Atom) -> bool:
    if isinstance(atom, Literal) or flow.kind_of(atom) == CONSTANT:
        return True
    maker = flow.maker.get(atom)
    boolean = flow.program.shapes[atom].dtype == bool
    return maker is not None and boolean and not maker[0].enterable


def _is_nonlinear(flow: Flow, op: Op) -> bool:
    if op.name == "select_n":  # a choice that does not depend on activities is a mask
        return bool(behind(flow, op.inputs[0]))
    if not is_linear_elementwise(op):
        return True
    activities = sum(flow.is_activity(a) for a in op.inputs)
    divides = op.name == "div" and flow.is_activity(op.inputs[1])
    return divides or (op.name == "mul" and activities > 1)


# ---- Outputs.


def find_outputs(
    flow: Flow, found: Iterable[WeightedOp], reach: Mapping[int, Reach]
) -> list[int]:
    """The ends of the affine operations after synapses that reach only the loss.

    No output is computed from another: where the loss reads one head and a sum of it
    with a second one (a state's value plus advantages), both heads are outputs.
    """
    starts = [m.op.outputs[0] for m in _last_synapses(found, reach)]
    ends = {number: _tail(flow, number) for number in starts}
    while second := computed_from_another(flow, ends.values()):
        earlier = {n: n if end in second else end for n, end in ends.items()}
        if earlier == ends:  # a head scales the weights of another: the other is last
            kept = [end for end in ends.values() if end in second]
            return list(dict.fromkeys(kept))
        ends = earlier
    return list(dict.fromkeys(ends.values()))


def computed_from_another(flow: Flow, outputs: Iterable[int]) -> set[int]:
    """The outputs that a derivative of the loss passes before it reaches another."""
    found, every = set[int](), set(outputs)
    for number in every if len(every) > 1 else ():
        later = _onward(flow, flow.after(number), flow.is_activity)
        found |= (later & every) - {number}
    return found


def _last_synapses(
    found: Iterable[WeightedOp], reach: Mapping[int, Reach]
) -> list[WeightedOp]:
    """The synapses that reach only the loss."""
    last = frozenset({(LOSS_NUMBER, False)})
    return [m for m in found if reach.get(m.op.outputs[0]) == last]


def _onward(
    flow: Flow, starts: Iterable[int], passes: Callable[[int], bool]
) -> set[int]:
    """These values and those after them that pass, and from which the loss follows."""
    seen, stack = set[int](), list(starts)
    while stack:
        number = stack.pop()
        if number not in seen and number in flow.live and passes(number):
            seen.add(number)
            stack += flow.after(number)
    return seen


def _tail(flow: Flow, number: int) -> int:
    """Follow sums with parameters and other activities, casts and rearrangements."""
    while True:
        readers = flow.readers.get(number, [])
        if flow.leaves_body(number):
            following = flow.outside(number)
            if readers or len(following) != 1:
                return number
            number = following[0]
            continue
        if len(readers) != 1:
            return number
        if not _is_affine(flow, readers[0]) or flow.shape(readers[0].outputs[0]) == ():
            return number
        number = readers[0].outputs[0]


def _is_affine(flow: Flow, op: Op) -> bool:
    if is_identity(op) or op.name in SUMS:
        return True
    fixed = [flow.kind_of(a) in (CONSTANT, PARAMETER) for a in op.inputs]
    if op.name in ("add", "sub", "add_any"):
        # Labels that the loss function closes over are no bias of the output.
        if any(_is_entry_of_data(flow, a) for a in op.inputs):
            return False
        return all(
            f or flow.is_activity(a) for f, a in zip(fixed, op.inputs, strict=True)
        )
    return (op.name == "mul" and any(fixed)) or (op.name == "div" and fixed[1])


def _is_entry_of_data(flow: Flow, atom: Atom) -> bool:
    """Whether a constant differs along the first axis, as labels do, and no bias."""
    return flow.kind_of(atom) == CONSTANT and 0 in flow.axes.of(atom)


def has_units(flow: Flow, output: int, synapses: Mapping[int, WeightedOp]) -> bool:
    """Whether an axis of an output is that of its units.

    A head of one unit may have lost this axis (`(h @ w)[:, 0]`): all other axes are
    then positions, such as steps.

    Args:
      flow: the dataflow of the loss function.
      output: the output.
      synapses: the synapses, by the identity of their operations.
    """
    seen, stack = set[Atom](), list[Atom]([output])
    while stack:
        atom = stack.pop()
        if isinstance(atom, Literal) or atom in seen or not flow.is_activity(atom):
            continue
        seen.add(atom)
        if atom in flow.entry:  # an activity enters a body: some other computation
            return True
        op, i = flow.maker[atom]
        if id(op) in synapses:
            if _units_of(flow, synapses[id(op)]) != 1:
                return True
        elif op.enterable:
            stack += [body.outputs[i] for body in op.bodies]
        elif _regroups(flow, op) or not (is_identity(op) or is_elementwise(op)):
            return True
        else:
            stack += op.inputs
    return 1 in flow.shape(output)[-1:]


def _regroups(flow: Flow, op: Op) -> bool:
    """Whether an operation joins axes, or joins values along an axis."""
    if op.name == "reshape":
        before, after = (flow.shape(a) for a in (op.inputs[0], op.outputs[0]))
        return [n for n in before if n > 1] != [n for n in after if n > 1]
    return op.name in ("concatenate", "stack", "pad")


def _units_of(flow: Flow, found: WeightedOp) -> int | None:
    """The number of output units of a matrix product or convolution."""
    op, weight = found.op, found.weight
    if weight is None:
        return None
    shape = flow.shape(op.inputs[weight])
    if op.name == "dot_general":
        contracted, shared = op.params["dimension_numbers"]
        rest = {*range(len(shape))} - {*contracted[weight], *shared[weight]}
        return math.prod(shape[i] for i in rest)
    if op.name == "conv_general_dilated":
        return shape[op.params["dimension_numbers"].rhs_spec[0]]
    return None


def beside(
    flow: Flow,
    outputs: Iterable[int],
    found: Iterable[WeightedOp],
    reach: Mapping[int, Reach],
) -> list[WeightedOp]:
    """The last synapses of heads from which the loss is reached past every output.

    Marks select outputs; the loss may read other heads too.
    """
    loss = flow.program.body.outputs[0]
    ends = {*outputs} - {loss}

    def reaches_loss(head: WeightedOp) -> bool:
        return loss in _onward(flow, head.op.outputs, lambda n: n not in ends)

    return [m for m in _last_synapses(found, reach) if reaches_loss(m)]
