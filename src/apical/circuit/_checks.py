"""What a traced loss function must be before a circuit is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ._dataflow import ACTIVITY, PARAMETER, Flow
from ._graph import walk
from ._jaxpr import Body, Op, Program
from ._marks import mark_of
from ._nodes import Reach
from ._nodes_and_edges import Node
from ._primitives import LINEAR_NOT_REWRITTEN, SYNAPTIC, holds_synaptic
from ._synapse import Meeting

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


def require_layers_apart(synapses: Sequence[Meeting], names: Sequence[str]) -> None:
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
