"""Check of weight transport: the forward weights that a feedback path reads.

The teaching signals at every operation where a parameter enters an activity are traced
once, as a function of the parameters, their second copies, the arguments and the
cotangent of the loss. In that program a value is a *signal* if it depends on the
cotangent, and an operation of a signal and a weight made of true parameters is a
*read*. It transports that weight, unless the weight is a gain, which the circuit lists.

The check relies neither on the rewriting nor on the classification of products: every
weight without a copy is found. The only exemption is a product classified as a gain;
its weight passes a mark, so that its reads can be recognised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.ad_checkpoint
import jax.numpy as jnp

from .._analysis._dataflow import PARAMETER, Flow
from .._analysis._graph import walk
from .._analysis._primitives import LINEAR_NOT_REWRITTEN, STRUCTURAL, SYNAPTIC
from .._analysis._synapses import WeightedOp
from .._jaxpr import Atom, Body, Literal, Op, Program, trace_program
from .._marks import NODE_MARK
from ._control_flow import ENTER
from ._interpreter import Plan, Runner
from ._sharding import struct_like, zeros
from ._taps import TAPS, Tap

_GAIN = "apical.gain"
_READS = LINEAR_NOT_REWRITTEN | SYNAPTIC | {"mul", "div"}
# Operations allowed between the mark of a gain and the signal that reads it.
_KEEPS_MARK = STRUCTURAL | {"neg", "integer_pow", "square", "conj"}


class Read(NamedTuple):
    """A true weight in a backward path: its leaves, by position, and its reader."""

    leaves: frozenset[int]
    operation: str
    where: str

    def message(self, names: Sequence[str]) -> str:
        """The error message, with the names of the leaves."""
        weight = " + ".join(names[i] for i in sorted(self.leaves))
        return (
            f"The backward path reads the true {weight!r} at {self.where} "
            f"(`{self.operation}`), where no copy stands in for it. Write that layer "
            "as a matrix product or a convolution; if it scales an activity entry by "
            "entry, mark the result with `apical.node`, or what it is divided by."
        )


def weight_reads(
    flow: Flow, synapses: list[WeightedOp], gains: list[WeightedOp], parameters: int
) -> list[Read]:
    """The true weights, except gains, that the backward path of feedback reads.

    Args:
      flow: the dataflow of the loss function.
      synapses: the operations with a second copy of the weight.
      gains: the operations without one, which may be read.
      parameters: the number of program inputs that are parameters.
    """
    found = _reads(flow, synapses, gains, parameters, TAPS["offset"])
    if not any(read.operation in ("mul", "div") for read in found):
        return found
    # A product that fans out may be read by a square, for example: it is an activity
    # there, and its derivative is its own value. In a linear operation it is a weight.
    apart = _reads(flow, synapses, gains, parameters, _entrance)
    return [r for r in found if r.operation not in ("mul", "div") or r in apart]


def _reads(
    flow: Flow,
    synapses: list[WeightedOp],
    gains: list[WeightedOp],
    parameters: int,
    entrance: Tap,
) -> list[Read]:
    program, shared = _backward_program(flow, synapses, gains, parameters, entrance)
    backward = Flow(program, parameters, 0, shared)
    signals = _signals(program, program.body.inputs[-1])
    found: dict[Read, None] = {}
    for site in walk(program.body):
        op = site.op
        live = any(
            n in backward.live and 0 not in backward.shape(n) for n in op.outputs
        )
        if op.enterable or op.name not in _READS or not live:
            continue
        read = [a for a in op.inputs if not isinstance(a, Literal) and a not in signals]
        weights = [a for a in read if backward.is_weight(a)]
        leaves = frozenset[int]().union(*map(backward.raw_of, weights))
        signalled = len(read) < sum(not isinstance(a, Literal) for a in op.inputs)
        if signalled and leaves and not all(_is_gain(backward, a) for a in weights):
            found[Read(leaves, op.name, op.where)] = None
    return list(found)


def _backward_program(
    flow: Flow,
    synapses: list[WeightedOp],
    gains: list[WeightedOp],
    parameters: int,
    entrance: Tap,
) -> tuple[Program, frozenset[int]]:
    """The program of the signals, and which of its inputs are not true parameters."""
    sites, shapes = _entrances(flow)
    every = [*synapses, *gains]
    crossed = {
        id(m.op): (i, m.weight) for i, m in enumerate(every) if m.weight is not None
    }
    structs = [flow.program.shapes[n] for n in flow.program.body.inputs]
    count = len(structs)

    def backward(number: int, weight: Any, copy: Any) -> Any:
        if number < len(synapses):
            return copy
        return jax.ad_checkpoint.checkpoint_name(weight, _GAIN)

    def signals(*values: Any) -> Any:
        inputs, copies, one = values[:count], values[count:-1], values[-1]

        def loss(errors: Any) -> Any:
            plan = Plan(sites, crossed)
            runner = Runner(flow, plan, ENTER, entrance, errors, backward)
            return runner(inputs, copies)[0][0]

        still = {name: zeros(s) for name, s in shapes.items()}
        leaves = jax.tree.leaves(jax.vjp(loss, still)[1](one))
        return sum(map(jnp.sum, leaves), start=jnp.zeros_like(one))

    loss = flow.program.body.outputs[0]
    one = jax.ShapeDtypeStruct((), _dtype(flow, loss))
    given = (*structs, *structs[:parameters], one)
    program, _ = trace_program(signals, *given, derived=True)
    inputs = enumerate(flow.program.body.inputs)
    shared = {i for i, n in inputs if i >= parameters and not flow.varies(n)}
    return program, frozenset({*shared, *range(count, count + parameters)})


def _entrance(site: str, computed: Any, injected: Any) -> Any:
    """A tap after which a value counts as an activity, even if it contains weights."""
    return jax.ad_checkpoint.checkpoint_name(computed + injected, NODE_MARK + site)


def _dtype(flow: Flow, atom: Atom) -> Any:
    if isinstance(atom, Literal):
        return jnp.result_type(atom.value)
    return flow.program.shapes[atom].dtype


def _entrances(
    flow: Flow,
) -> tuple[dict[int, list[str]], dict[str, jax.ShapeDtypeStruct]]:
    """Sites wherever a parameter enters an activity, with their shapes."""
    sites: dict[int, list[str]] = {}
    shapes: dict[str, jax.ShapeDtypeStruct] = {}
    for i, site in enumerate(walk(flow.program.body)):
        number = site.op.outputs[0] if site.op.outputs else None
        met = any(flow.kind_of(a) == PARAMETER for a in site.op.inputs)
        if site.op.enterable or number is None or not met:
            continue
        if flow.is_activity(number) and not flow.is_weight(number):
            inner = flow.program.shapes[number]
            sites[number] = [str(i)]
            shape, loops = (*site.loops, *inner.shape), len(site.loops)
            struct = struct_like(inner, shape, inner.dtype, loops)
            shapes[str(i)] = struct
    return sites, shapes


def _signals(program: Program, cotangent: int) -> set[int]:
    """Every value that depends on the loss's cotangent, through carries too."""
    found = {cotangent}

    def depends(atom: Atom) -> bool:
        return not isinstance(atom, Literal) and atom in found

    def enter(op: Op, body: Body) -> None:
        pairs = [
            *zip(op.operands, body.inputs, strict=True),
            *zip(body.outputs, op.outputs, strict=True),
        ]
        if op.loop is not None:
            carried = body.inputs[op.loop.consts :][: op.loop.carry]
            pairs += zip(body.outputs, carried, strict=False)
        found.update(n for atom, n in pairs if depends(atom))

    while True:
        before = len(found)
        for site in walk(program.body):
            for body in site.op.bodies if site.op.enterable else ():
                enter(site.op, body)
            if not site.op.enterable and any(map(depends, site.op.inputs)):
                found.update(site.op.outputs)
        if len(found) == before:
            return found


def _is_gain(flow: Flow, atom: Atom) -> bool:
    """Whether a weight passed the mark of a gain, and was at most rearranged after."""
    if isinstance(atom, Literal):
        return False
    if atom in flow.entry:
        op, _, i = flow.entry[atom]
        carried = op.loop is not None and op.loop.carries(i)
        return not carried and _is_gain(flow, op.operands[i])
    if atom not in flow.maker:
        return False
    op, i = flow.maker[atom]
    if op.enterable:  # outputs that depend on no true weight do not count
        made = [body.outputs[i] for body in op.bodies]
        return all(_is_gain(flow, a) for a in made if flow.raw_of(a))
    if op.name == "name" and str(op.params["name"]) == _GAIN:
        return True
    if op.name == "div":
        return _is_gain(flow, op.inputs[1])
    return op.name in _KEEPS_MARK and _is_gain(flow, op.inputs[0])
