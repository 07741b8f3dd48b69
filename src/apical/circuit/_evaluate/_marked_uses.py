"""A loss function with a mark on every use of a weight, for `measure.locality`.

At an operation where a weight enters an activity,

    y = result(op(x, weight(W))),

`weight` and `result` are identities (`checkpoint_name`) with the number of the use.
They remain in a program under grad, jvp, vmap, scan and remat, but only on the values
of the forward computation: what reads the marked weight without the second mark on its
result is another use of the weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.ad_checkpoint

from .._analysis._dataflow import PARAMETER, Flow
from .._analysis._graph import walk
from .._analysis._primitives import LINEAR_NOT_REWRITTEN, SYNAPTIC, holds_synaptic
from .._circuit import Circuit
from .._jaxpr import Op
from .._queries import nonlinearity
from .._structure import Structure
from ._control_flow import ENTER
from ._interpreter import Plan, Runner, Scope


class UseMarks(NamedTuple):
    """The names of the marks, which a number or a node's name follows.

    Attributes:
      weight: a weight before its use.
      result: the result of that use.
      slope: the derivative of a unit's nonlinearity.
      output: the output of the network.
    """

    weight: str = "apical.locality.weight:"
    result: str = "apical.locality.result:"
    slope: str = "apical.locality.slope:"
    output: str = "apical.locality.output"


USE_MARKS = UseMarks()


class Use(NamedTuple):
    """One use of a weight by the forward computation.

    Attributes:
      leaves: the learned leaves that make the weight, by position.
      kind: `"synapse"`, `"gain"`, or `"other"` (a bias, a table).
      operation: the name of the operation.
      operands: the positions of the weight among its operands.
      summed: the axes of the weight that a product sums; None if they are not known.
      loops: the number of loops around it.
      where: the line of code.
    """

    leaves: frozenset[int]
    kind: str
    operation: str
    operands: tuple[int, ...]
    summed: frozenset[int] | None
    loops: int
    where: str


def summed_axes(op: Op, operand: int) -> frozenset[int] | None:
    """The axes of an operand that a product sums; None for other operations."""
    if op.name == "dot_general":
        return frozenset(op.params["dimension_numbers"][0][operand])
    if op.name == "conv_general_dilated" and operand == 1:
        return frozenset({op.params["dimension_numbers"].rhs_spec[1]})
    return None


class MarkedLoss:
    """The loss function of a circuit, with its marks.

    Args:
      circuit: a function of `(params, *args)` that returns the circuit at their shapes.
      has_aux: whether the loss function returns a pair.
      derivatives: whether the derivatives of nonlinearities are marked too, which
        makes a function with a derivative of its own of each.
    """

    def __init__(
        self, circuit: Callable[..., Circuit], has_aux: bool, derivatives: bool
    ) -> None:
        self.circuit, self.has_aux, self.derivatives = circuit, has_aux, derivatives

    def __call__(self, params: Any, *args: Any) -> Any:
        circuit = self.circuit(params, *args)
        units = _units(circuit, params, args) if self.derivatives else {}
        runner = _Marker(circuit.structure, units)
        (loss, *aux), _ = runner(circuit.inputs(params, args), [])
        return (loss, circuit.rebuild_aux(aux)) if self.has_aux else loss


def weight_uses(circuit: Circuit) -> tuple[Use, ...]:
    """Every use of a weight by the forward computation, in its order."""
    return tuple(_uses(circuit.structure).values())


def _uses(structure: Structure) -> dict[int, Use]:
    """The uses, by the identity of the operation."""
    flow, found = structure.flow, dict[int, Use]()
    synapses = {id(m.op): m for m in structure.weighted_ops}
    gains = {id(m.op) for m in structure.gain_ops}
    for site in walk(flow.program.body):
        op = site.op
        if op.enterable or not op.outputs:
            continue
        synapse = synapses.get(id(op))
        operands = _weights(flow, op) if synapse is None else _of(flow, synapse)
        if not operands:
            continue
        leaves = (flow.raw_of(op.inputs[i]) for i in operands)
        product = op.name in SYNAPTIC | LINEAR_NOT_REWRITTEN or holds_synaptic(op)
        kind = "gain" if id(op) in gains else "other"
        found[id(op)] = Use(
            leaves=frozenset[int]().union(*leaves),
            kind="synapse" if synapse is not None or product else kind,
            operation=op.name,
            operands=operands,
            summed=summed_axes(op, operands[0]) if len(operands) == 1 else None,
            loops=len(site.loops),
            where=op.where,
        )
    return found


def _of(flow: Flow, synapse: Any) -> tuple[int, ...]:
    if synapse.weight is not None:
        return (synapse.weight,)
    return _weights(flow, synapse.op, always=True)


def _weights(flow: Flow, op: Op, always: bool = False) -> tuple[int, ...]:
    """The operands that are weights, where they enter an activity."""
    number = op.outputs[0]
    enters = flow.is_activity(number) and not flow.is_weight(number)
    if not (enters or always):
        return ()
    kinds = [flow.kind_of(a) for a in op.inputs]
    return tuple(
        i
        for i, kind in enumerate(kinds)
        if kind == PARAMETER and flow.raw_of(op.inputs[i])
    )


Unit = tuple[int, Callable[[jax.Array], jax.Array], str]


def _units(circuit: Circuit, params: Any, args: tuple[Any, ...]) -> dict[int, Unit]:
    """The drive, the nonlinearity and the name of each unit, by its variable."""
    structure, found = circuit.structure, dict[int, Unit]()
    for number, node in zip(structure.names, circuit.nodes, strict=True):
        if node.unit and not node.loops:
            rho = nonlinearity(circuit, params, args, node.name)
            found[number] = structure.drive(number), rho, node.name
    return found


class _Marker(Runner):
    """A run that marks weights, results, outputs and derivatives."""

    def __init__(self, structure: Structure, units: dict[int, Unit]) -> None:
        self.uses, self.units = _uses(structure), units
        self.numbers = {key: i for i, key in enumerate(self.uses)}
        self.outputs = set(structure.outputs)
        crossed = dict.fromkeys(self.uses, (0, 0))
        plan = Plan({n: [] for n in {*self.outputs, *units}}, crossed)
        super().__init__(structure.flow, plan, ENTER, None, {}, None)

    def op(self, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
        use = self.uses.get(id(op))
        if use is not None:
            outs = self.used(op, use, [scope.read(a) for a in op.inputs])
        else:
            outs = super().op(op, scope, inject)
        return [
            self.marked(number, value, scope)
            for number, value in zip(op.outputs, outs, strict=True)
        ]

    def used(self, op: Op, use: Use, values: list[Any]) -> Sequence[Any]:
        number = self.numbers[id(op)]
        for i in use.operands:
            values[i] = jax.ad_checkpoint.checkpoint_name(
                values[i], f"{USE_MARKS.weight}{number}"
            )
        first, *rest = op(*values)
        return [
            jax.ad_checkpoint.checkpoint_name(first, f"{USE_MARKS.result}{number}"),
            *rest,
        ]

    def marked(self, number: int, value: Any, scope: Scope) -> Any:
        if number in self.units:
            drive, rho, name = self.units[number]
            value = with_marked_derivative(
                rho, USE_MARKS.slope + name, scope.values[drive]
            )
        if number in self.outputs:
            value = jax.ad_checkpoint.checkpoint_name(value, USE_MARKS.output)
        return value


def with_marked_derivative(
    rho: Callable[[jax.Array], jax.Array], name: str, z: jax.Array
) -> jax.Array:
    """rho(z), whose derivative rho'(z) passes a mark."""

    @jax.custom_jvp
    def unit(z: jax.Array) -> jax.Array:
        return rho(z)

    @unit.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        (z,), (dz,) = primals, tangents
        y, slope = jax.jvp(rho, (z,), (jax.numpy.ones_like(z),))
        return y, jax.ad_checkpoint.checkpoint_name(slope, name) * dz

    return unit(z)
