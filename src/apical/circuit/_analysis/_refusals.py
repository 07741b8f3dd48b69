"""What a second, backward copy of the parameters could not reach, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .._jaxpr import Atom, Body, Literal, Op, Program, known_primitives
from .._marks import mark_of
from ._dataflow import ACTIVITY, DATA, PARAMETER, Flow
from ._graph import walk
from ._nodes import Node, Reach
from ._primitives import LINEAR_NOT_REWRITTEN, SYNAPTIC, holds, holds_synaptic
from ._products import Products
from ._synapses import WeightedOp

# ---- What a traced loss function must be before a circuit is made of it.

_REVERSIBLE = (
    "Use `lax.scan`, or `lax.fori_loop` with fixed bounds; in diffrax "
    "`adjoint=diffrax.DirectAdjoint()`; or `jax.lax.stop_gradient` on what comes out."
)
_MUTABLE = frozenset({"new_ref", "get", "swap", "addupdate", "freeze"})


def require_dependence(flow: Flow) -> None:
    """Refuse a loss that does not depend on both parameters and arguments."""
    kind = flow.kind_of(flow.program.body.outputs[0])
    if kind == ACTIVITY:
        return
    if kind == PARAMETER:
        raise ValueError(
            "The loss depends on `params` alone, not on the arguments after it. If "
            "`loss_fn` closes over its data, pass them as arguments: apical has to "
            "tell data from parameters."
        )
    raise ValueError(
        "The loss does not depend on `params` through a derivative. Rules that read "
        "nothing but losses (`EvolutionStrategy`, `WeightPerturbation`, and "
        "`ScoreFunction` where nodes are stochastic) need none."
    )


def require_loops(flow: Flow, paths: Sequence[str], reach: Mapping[int, Reach]) -> None:
    """Refuse synapses in a loop that JAX cannot reverse, where a gradient comes by."""
    for site in walk(flow.program.body):
        touched = any(flow.kind_of(a) & PARAMETER for a in site.op.inputs)
        needed = touched and any(reach.get(n) for n in site.op.outputs)
        if site.op.name == "while" and needed and holds_synaptic(site.op):
            weights = ", ".join(paths[i] for i in sorted(flow.raw_into(site.op)))
            raise ValueError(
                f"The loop at {site.op.where} (`while_loop`, or a `fori_loop` whose "
                f"number of steps is not fixed) holds synapses ({weights}), and JAX "
                f"cannot reverse it. {_REVERSIBLE}"
            )


def require_no_mutable_arrays(program: Program) -> None:
    """Refuse arrays that change: what one holds is not in the program's variables."""
    for site in walk(program.body):
        if site.op.name in _MUTABLE:
            raise ValueError(
                f"`loss_fn` uses a mutable array (`jax.new_ref`) at {site.op.where}. "
                "What it holds cannot be followed from one operation to the next. "
                "Compute with ordinary arrays: `x = x.at[i].add(y)`, or the carry of "
                "a loop."
            )


def require_marks(flow: Flow) -> None:
    """Refuse a mark that stands where no evaluation of ours comes by."""
    reached = {id(site.op) for site in walk(flow.program.body)}
    for op, enclosing in _all_ops(flow.program.body, "the loss function"):
        if mark_of(op) and id(op) not in reached:
            raise ValueError(
                f"The mark {mark_of(op)!r} at {op.where} stands inside {enclosing}, "
                "which apical does not enter (its derivative rule is the user's, or it "
                "has none). Mark the value outside of it."
            )


def _all_ops(body: Body, enclosing: str) -> Iterator[tuple[Op, str]]:
    for op in body.ops:
        yield op, enclosing
        for inner in op.bodies:
            yield from _all_ops(inner, f"`{op.name}` at {op.where}")


def require_reversible(flow: Flow, reach: Mapping[int, Reach]) -> None:
    """Refuse a loop on activities that JAX cannot reverse."""
    for site in walk(flow.program.body):
        reaches = any(reach.get(n) for n in site.op.outputs)
        active = any(map(flow.is_activity, site.op.inputs))
        if site.op.name == "while" and active and reaches:
            raise ValueError(
                f"The loop at {site.op.where} (`while_loop`, or a `fori_loop` whose "
                "number of steps is not fixed) acts on activities, and JAX cannot "
                f"reverse it. {_REVERSIBLE}"
            )


def no_output(read: Sequence[Node]) -> str:
    """What is said where no output is found; `read` are the nodes the loss reads."""
    listed = ", ".join(f"{n.name!r} at {n.where}" for n in read)
    return (
        "The loss function has no output that can be told from the program: no synapse "
        "reaches the loss alone, without a node after it"
        f"{f' (the loss reads {listed})' if listed else ''}. Mark it, as "
        "`apical.output(log_prob)` in a normalising flow, or "
        "`apical.output(solution.ys)` of a differential equation."
    )


def require_layers_apart(synapses: Sequence[WeightedOp], names: Sequence[str]) -> None:
    """Refuse an operation that holds several layers.

    A signal that its output is told passes back through the upper of them by their true
    weights, so those below would learn by backpropagation.
    """
    for synapse in synapses:
        op = synapse.op
        if synapse.weight is None and _layers(op) > 1:
            paths = ", ".join(names[i] for i in sorted(synapse.leaves))
            raise ValueError(
                f"`{op.name}` at {op.where} holds several layers ({paths}) that cannot "
                "be told apart, so within it they would learn by backpropagation. "
                "Compute them without a derivative rule of their own (in diffrax "
                "`adjoint=diffrax.DirectAdjoint()`)."
            )


def _layers(op: Op) -> int:
    """How many linear operations are in the bodies of an operation; of a loop, two."""
    several = 2 if op.loop is not None or op.name == "while" else 1
    inner = [o for body in op.bodies for o in body.ops]
    return several * sum(
        1 if o.name in SYNAPTIC | LINEAR_NOT_REWRITTEN else _layers(o) for o in inner
    )


_KNOWN = known_primitives()


@dataclass(frozen=True, eq=False)
class Refusal:
    """Leaves that reach a linear operation that cannot be rewritten, and why."""

    op: Op
    leaves: frozenset[int]
    reason: str

    def message(self, names: Sequence[str]) -> str:
        """What is refused, with the names of the leaves."""
        paths = ", ".join(names[i] for i in sorted(self.leaves))
        where = f"at {self.op.where}: {self.reason}."
        return f"Parameter {paths!r} cannot be given feedback {where}"


def refusals(
    flow: Flow, reach: Mapping[int, Reach], products: Products
) -> list[Refusal]:
    """What a second, backward copy of the parameters could not reach.

    Only where a derivative leads to the loss: no feedback comes by elsewhere.
    """
    sites = [s for s in walk(flow.program.body) if _matters(s.op, reach)]
    found = (_refusal(flow, site.op) for site in sites)
    mixed = (
        _met_data(flow, op, [op.inputs[i]])
        for op, i in products.mixed
        if _matters(op, reach)
    )
    return [*(r for r in found if r is not None), *mixed]


def _matters(op: Op, reach: Mapping[int, Reach]) -> bool:
    return any(reach.get(n) for n in op.outputs)


def _refusal(flow: Flow, op: Op) -> Refusal | None:
    if op.enterable or not any(flow.kind_of(a) & DATA for a in op.inputs):
        return None
    if _has_active_kernel(flow, op):
        reason = "it makes a kernel that is an activity, which has no second copy"
        return Refusal(op, flow.leaves_before(op.inputs[1]), reason)
    weights = flow.raw_into(op)
    if op.name not in _KNOWN and any(flow.kind_of(a) & PARAMETER for a in op.inputs):
        return _unknown(flow, op, weights)
    if not weights:
        return None
    if op.name in SYNAPTIC:
        return _mixed_weight(flow, op)
    if holds_synaptic(op):
        return Refusal(op, weights, _inside(op))
    if op.name in LINEAR_NOT_REWRITTEN:
        return Refusal(op, weights, f"it meets data in `{op.name}`, not rewritten")
    return None


def _has_active_kernel(flow: Flow, op: Op) -> bool:
    """Whether the kernel of a convolution is an activity and no weight."""
    convolution = op.name == "conv_general_dilated"
    return convolution and flow.is_activity(op.inputs[1]) and flow.weight_of(op) is None


def _inside(op: Op) -> str:
    reason = (
        f"inside `{op.name}` it meets data in a linear operation, which cannot be "
        "rewritten"
    )
    if not op.name.startswith("custom_"):
        return reason
    remedy = "Compute it without a derivative rule of its own"
    # As diffrax and equinox differentiate their loops, unless they are told not to.
    if holds(op, frozenset({"while"})):
        remedy += " (diffrax: `diffeqsolve(..., adjoint=diffrax.DirectAdjoint())`)"
    return f"{reason}. {remedy}"


def _unknown(flow: Flow, op: Op, weights: frozenset[int]) -> Refusal | None:
    """Of activities alone it is one more function, with the derivative that it has."""
    if weights:
        return Refusal(
            op, weights, f"it meets data in `{op.name}`, which is not known to apical"
        )
    if not _is_differentiable(flow, op):
        reason = f"`{op.name}`, which JAX cannot differentiate, is behind it"
        return Refusal(op, flow.leaves_before(*op.inputs), reason)
    return None


def _is_differentiable(flow: Flow, op: Op) -> bool:
    def struct(atom: Atom) -> Any:
        return atom.value if isinstance(atom, Literal) else flow.program.shapes[atom]

    moving = [i for i, a in enumerate(op.inputs) if flow.is_activity(a)]
    given = {i: struct(a) for i, a in enumerate(op.inputs)}

    def pulled(given: Any) -> Any:
        def outs(moved: Any) -> Any:
            values = {**given, **dict(zip(moving, moved, strict=True))}
            found = op(*(values[i] for i in range(len(op.inputs))))
            return [x for x in found if jnp.issubdtype(jnp.result_type(x), jnp.inexact)]

        values, pull = jax.vjp(outs, [given[i] for i in moving])
        return pull(values)

    try:
        jax.eval_shape(pulled, given)
    except Exception:  # whatever the package that made it raises there
        return False
    return True


def _mixed_weight(flow: Flow, op: Op) -> Refusal | None:
    if flow.weight_of(op) is not None:
        return None
    if not all(flow.kind_of(a) & DATA for a in op.inputs[:2]):
        return None  # sums with fixed coefficients, of what was weighted above
    mixed = [a for a in op.inputs[:2] if flow.is_mixed(a)]
    return _met_data(flow, op, mixed) if mixed else None


def _met_data(flow: Flow, op: Op, mixed: Sequence[Atom]) -> Refusal:
    leaves = frozenset[int]().union(*(flow.raw_of(a) for a in mixed))
    reason = "it met data before it reached a linear operation (a mask or an index"
    return Refusal(
        op,
        leaves,
        f"{reason} that is an argument?): mark the value with `apical.node` if it is "
        "an activity; if it is a weight, say that all examples share what it met, by "
        "None in `batch_axes`, or close over that",
    )


def unknowns(flow: Flow, reach: Mapping[int, Reach]) -> list[Op]:
    """Operations on activities or parameters that apical cannot look into."""
    found = []
    for site in walk(flow.program.body):
        touched = any(flow.kind_of(a) & PARAMETER for a in site.op.inputs)
        unknown = not site.op.enterable and site.op.name not in _KNOWN
        if touched and unknown and _matters(site.op, reach):
            found.append(site.op)
    return found
