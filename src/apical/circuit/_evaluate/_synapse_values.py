"""The weight of a synapse, its input and the node that it drives, in one evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._analysis._dataflow import Flow
from .._analysis._graph import bound
from .._jaxpr import Atom, Literal, Op
from .._marks import INTERNAL
from .._structure import Structure
from ._control_flow import ENTER
from ._interpreter import Plan, Runner, Scope
from ._synapse_ends import SynapseEnds, stacked

# ---- The effective weight as a function of the parameters.


def effective_weight(flow: Flow, ends: SynapseEnds, known: Mapping[int, Any]) -> Any:
    """The weight of a synapse, from the values of the program's inputs.

    Its first axes are those of the loops over layers around the synapse.

    Raises:
      ValueError: for a weight that changes from step to step of a loop otherwise.
    """
    weight = ends.op.inputs[ends.weight]
    loops = [ends.loops[i] for i in ends.layers]

    def over(chosen: dict[int, Any]) -> Any:
        if len(chosen) == len(loops):
            return jnp.asarray(_read(flow, weight, known, chosen))
        loop = loops[len(chosen)]
        each = jnp.arange(loop.length)
        return jax.vmap(lambda step: over({**chosen, id(loop): step}))(each)

    return over({})


def _read(
    flow: Flow, weight: Atom, known: Mapping[int, Any], steps: Mapping[int, Any]
) -> Any:
    """The weight at these steps of the loops over layers."""
    made: dict[int, Any] = {}

    def read(atom: Atom) -> Any:
        if isinstance(atom, Literal):
            return atom.value
        if atom in known:
            return known[atom]
        if atom in flow.entry:
            op, body, i = flow.entry[atom]
            value = read(_outside(op, body, i))
            return value[steps[id(op.loop)]] if stacked(op, i) else value
        if atom not in made:
            op = flow.maker[atom][0]
            made.update(zip(op.outputs, op(*map(read, op.inputs)), strict=True))
        return made[atom]

    return read(weight)


def _outside(op: Op, body: Any, i: int) -> Atom:
    if op.loop is not None and op.loop.carries(i):
        raise ValueError(
            f"The weight in the loop at {op.where} is computed from the carry, so that "
            "it is another one in every step. In a loop over layers hand the stacked "
            "weights to the loop as `xs` (`jax.lax.scan(layer, h, weights)`); each "
            "layer is then a synapse of its own. A weight that stays the same belongs "
            "outside of the carry: let the step close over it."
        )
    return bound(op, body, i)[0]


# ---- The values.


def _before(i: int) -> str:
    return f"{INTERNAL}input of synapse {i}"


def _after(number: int) -> str:
    return f"{INTERNAL}node {number}"


class _Reader(Runner):
    """A run that keeps the input of each chosen synapse."""

    def op(self, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
        if id(op) in self.plan.crossed:
            i, weight = self.plan.crossed[id(op)]
            scope.sites[_before(i)] = scope.read(op.inputs[1 - weight])
        return super().op(op, scope, inject)


def evaluate(
    structure: Structure, every: Sequence[SynapseEnds], inputs: Sequence[Any]
) -> tuple[list[Any], list[tuple[jax.Array, jax.Array]]]:
    """The outputs of the program, and the input and node of each synapse.

    Time is the first axis of both, after those of loops over layers, in the order in
    which steps are taken; of length 1 where there is no loop.
    """
    plan = Plan(
        {e.node: [_after(e.node)] for e in every},
        {id(e.op): (i, e.weight) for i, e in enumerate(every)},
    )
    runner = _Reader(structure.flow, plan, ENTER, None, {}, None)
    outs, sites = runner(inputs, [])
    found = []
    for i, e in enumerate(every):
        before, node = sites[_before(i)], e.in_steps(sites[_after(e.node)])
        if e.time is not None:
            before = jnp.moveaxis(before, e.time[0], 0)
        found.append((e.in_steps(before), node))
    return outs, found
