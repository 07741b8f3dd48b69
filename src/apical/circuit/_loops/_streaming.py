"""Which loops continue from call to call, and which parameters have no trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .._analysis._dataflow import Flow
from .._analysis._primitives import STRUCTURAL
from .._jaxpr import Atom, Literal
from .._structure import Structure
from ._rank_one._rank_one_loops import StateLoop
from ._readouts._readout_filters import ReadoutFilter, UnfilteredError, readout_filter
from ._steps._step import reads
from ._traces._online_loops import Loop

# Structural operations of one operand.
_REARRANGING = STRUCTURAL - {"concatenate", "pad", "stack", "gather", "dynamic_slice"}


def continuing(structure: Structure, loops: Sequence[Loop]) -> tuple[bool, ...]:
    """Whether each loop starts from the argument that `carry=` names."""
    return tuple(any(_carry_leaves(structure, loop).values()) for loop in loops)


def continuing_filters(structure: Structure, loop: Loop) -> tuple[ReadoutFilter, ...]:
    """The read-outs of a loop that continue from call to call.

    Raises:
      UnfilteredError: if what enters one is not only synapses of units and biases.
    """
    parts, found = loop.parts, _carry_leaves(structure, loop)
    if parts.readouts is None:
        return ()
    pairs = zip(parts.readouts.carries, parts.readout_carries, strict=True)
    return tuple(
        readout_filter(parts, loop.units.units, k) for n, k in pairs if found[n]
    )


def require_streaming(structure: Structure, loops: Sequence[Loop], rule: str) -> None:
    """Require that the traces of the loops can continue from call to call.

    Raises:
      ValueError: if a part of the carry starts no loop, or a loop starts from the carry
        in part; if a read-out continues, or parameters drive units from outside of the
        loop.
    """
    names = structure.leaves.names
    started = set[str]()
    for loop in loops:
        found, where = _carry_leaves(structure, loop), loop.scans.op.where
        started.update(path for path in found.values() if path)
        if not any(found.values()):
            continue
        if not loop.outermost:
            raise ValueError(
                f"{rule} cannot continue traces of the loop at {where}: it is "
                "inside another loop or a branch. Let the outer loop's steps be calls."
            )
        missing = [
            i for i in loop.units.active if not found[loop.units.step.carries[i]]
        ]
        if missing:
            raise ValueError(
                f"The loop at {where} starts from `carry` in part: "
                f"{len(missing)} of its {len(loop.units.active)} states start anew in "
                "each call. Carry all of them."
            )
        try:
            continuing_filters(structure, loop)
        except UnfilteredError as error:
            raise ValueError(
                f"A read-out of the loop at {where} continues from call to call, and "
                f"its credit cannot: {error}. Let it be a leaky sum of outputs of "
                "synapses and biases, start it anew in each call, or call with the "
                "whole sequence."
            ) from error
        outside = _leaves_of_inputs(structure.flow, loop)
        if outside:
            listed = ", ".join(repr(names[i]) for i in sorted(outside))
            raise ValueError(
                f"{listed} drive the units of the loop at {where} from outside "
                "of the loop, where no trace can continue from call to call. Compute "
                "that product inside the loop, or call with the whole sequence."
            )
    _require_all_started(structure, started)


def require_streaming_states(
    structure: Structure, loops: Sequence[StateLoop], rule: str
) -> None:
    """Require that estimates of the influence on the carry can continue.

    Raises:
      ValueError: if a part of the carry starts no loop, or a loop starts from the carry
        in part, or if an input of a loop depends on parameters.
    """
    started = set[str]()
    for loop in loops:
        step, scans, where = loop.plain.step, loop.scans, loop.scans.op.where
        found = [_leaf(structure, scans.start(i)) for i in step.active]
        if not loop.outermost or not all(found):
            raise ValueError(
                f"{rule} cannot continue the loop at {where}: it is inside "
                "another one, or some of its states do not start from `carry`. Carry "
                "all of them, or call with the whole sequence."
            )
        started.update(path for path in found if path)
        learned = [scans.outer(n) for n in step.xs if step.learns(n)]
        if learned:
            leaves = structure.flow.leaves_before(*learned)
            listed = ", ".join(repr(structure.leaves.names[i]) for i in sorted(leaves))
            raise ValueError(
                f"{listed} make the inputs of the loop at {where} outside of "
                "it, where no estimate can continue from call to call. Compute that "
                "inside the loop, or call with the whole sequence."
            )
    _require_all_started(structure, started)


def _require_all_started(structure: Structure, started: set[str]) -> None:
    for path in _inexact_leaves(structure):
        if path not in started:
            raise ValueError(
                f"Part {path!r} of the `carry` starts no loop, so that what it says of "
                "earlier calls would be lost. Let a `lax.scan` start from it, or leave "
                "it out of `carry`."
            )


def within_step(structure: Structure, loops: Sequence[Loop]) -> tuple[int, ...]:
    """The learned leaves whose credit through units is that of the same step alone.

    They reach units through a synapse of the same step, or other than entry by entry,
    and have no trace in any loop.
    """
    flow, below, traced = structure.flow, set[int](), set[int]()
    for loop in loops:
        step, units = loop.units.step, loop.units
        for i in units.traced:
            synapse = step.synapses[i]
            traced |= flow.leaves_before(synapse.op.inputs[synapse.weight])
            below |= _leaves_within(flow, loop, synapse.input)
        for j, (op, operand) in enumerate(step.uses):
            leaves = flow.leaves_before(op.inputs[operand])
            if j in units.used:
                traced |= leaves
            elif any(units.units.driven(n) is not None for n in op.outputs):
                below |= leaves
        traced |= _leaves_of_inputs(flow, loop)
    return tuple(sorted(below - traced))


def without_credit(structure: Structure, loops: Sequence[Loop]) -> tuple[int, ...]:
    """The learned leaves that no credit reaches, if recurrent synapses pass nothing.

    Such are first values of states that only recurrent synapses read, and weights of
    units that act on the loss only through other units at a later step: back in time,
    credit follows a unit, and passes through a synapse to its weight alone.
    """
    flow, found = structure.flow, set[tuple[Atom, bool]]()
    synapses = {s.output: s for x in loops for s in x.units.step.synapses}
    units, unread = set[int](), set[int]()
    for loop in loops:
        step = loop.units.step
        active = {step.carries[i] for i in loop.units.active}
        units, unread = units | active, unread | (set(step.carries) - active)
    stack: list[tuple[Atom, bool]] = [(flow.program.body.outputs[0], False)]
    while stack:
        atom, earlier = stack.pop()
        if isinstance(atom, Literal) or (atom, earlier) in found:
            continue
        found.add((atom, earlier))
        before = flow.before(atom)
        if atom in synapses and earlier:
            weight = synapses[atom].op.inputs[synapses[atom].weight]
            stack.append((weight, False))
        elif atom in units:
            start, end = before
            stack += [(start, False), (end, True)]
        elif atom in unread:
            stack += [(a, earlier) for a in before[1:]]  # without the first value
        else:
            inside = earlier and atom not in flow.entry
            stack += [(a, inside) for a in before]
    reached = {atom for atom, _ in found}
    inputs = flow.program.body.inputs[: len(structure.leaves.learned)]
    return tuple(i for i, n in enumerate(inputs) if n in flow.live and n not in reached)


def _leaves_within(flow: Flow, loop: Loop, atom: Atom) -> frozenset[int]:
    """The leaves that a value depends on, other than through the carry."""
    step, xs = loop.units.step, loop.parts.whole.xs
    maker = {n: op for op in step.ops for n in op.outputs}
    found, stack, seen = frozenset[int](), [atom], set[int]()
    while stack:
        atom = stack.pop()
        if isinstance(atom, Literal) or atom in seen or atom in step.carries:
            continue
        seen.add(atom)
        if atom in xs:
            found |= flow.leaves_before(loop.scans.outer(atom))
        elif atom in maker:
            if maker[atom].name != "stop_gradient":
                stack += reads(maker[atom])
        else:
            found |= flow.leaves_before(atom)
    return found


def _leaves_of_inputs(flow: Flow, loop: Loop) -> frozenset[int]:
    """The leaves of the inputs that drive units directly."""
    step = loop.units.step
    atoms = [loop.scans.outer(step.xs[i]) for i in loop.units.driving_inputs]
    return flow.leaves_before(*atoms)


def _carry_leaves(structure: Structure, loop: Loop) -> dict[int, str | None]:
    """The leaf of the carried argument that each carry of a loop starts from."""
    found: dict[int, str | None] = {}
    parts = loop.parts
    pairs = [*zip(parts.units.carries, parts.unit_carries, strict=True)]
    if parts.readouts is not None:
        pairs += zip(parts.readouts.carries, parts.readout_carries, strict=True)
    for number, i in pairs:
        found[number] = _leaf(structure, loop.scans.start(i))
    return found


def _leaf(structure: Structure, atom: Atom) -> str | None:
    """The leaf of the carried argument that a value rearranges; None for others."""
    flow = structure.flow
    while not isinstance(atom, Literal):
        if atom in flow.entry:
            return None
        if atom in flow.maker:
            op = flow.maker[atom][0]
            if op.name not in _REARRANGING:
                return None
            atom = op.inputs[0]
            continue
        return _carried(structure).get(atom)
    return None


def _carried(structure: Structure) -> dict[int, str]:
    """The names of the leaves of the argument that `carry=` names, by variable."""
    spec, args = structure.spec, structure.args
    if spec.carry is None:
        return {}
    inputs = structure.flow.program.body.inputs
    arrays = inputs[len(inputs) - len(args.arrays) :]
    position = str(spec.carry[0])
    return {
        n: args.paths[i]
        for n, i in zip(arrays, args.arrays, strict=True)
        if args.texts[i][0] == position
    }


def _inexact_leaves(structure: Structure) -> Iterator[str]:
    shapes: Any = structure.flow.program.shapes
    for number, path in _carried(structure).items():
        if (
            "float" in shapes[number].dtype.name
            or "complex" in shapes[number].dtype.name
        ):
            yield path
