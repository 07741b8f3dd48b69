"""Checks of a traced loss function, before its circuit is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .._evaluate._manual_axes import varying
from .._jaxpr import Body, Literal, Op, Program
from .._marks import mark_of
from ._dataflow import ACTIVITY, PARAMETER, Flow
from ._graph import walk
from ._hidden_layers import hidden_layers
from ._nodes import Reach, Reachability
from ._primitives import holds_synaptic

REVERSIBLE = (
    "Use `lax.scan`, or `lax.fori_loop` with fixed bounds; in diffrax "
    "`adjoint=diffrax.DirectAdjoint()`; or `jax.lax.stop_gradient` on its result."
)
_MUTABLE = frozenset({"new_ref", "get", "swap", "addupdate", "freeze"})


def require_dependence(flow: Flow) -> None:
    """Require a loss that depends on parameters, and no layers above hidden data."""
    kind = flow.kind_of(flow.program.body.outputs[0])
    if kind == ACTIVITY:
        return
    if kind == PARAMETER:
        if found := hidden_layers(flow):
            raise ValueError(
                "The loss depends on `params` alone, not on the arguments after it, "
                "and it has a hidden layer over an array that is no parameter (at "
                f"{found[0]}). If `loss_fn` closes over its data, pass them as "
                "arguments: apical has to tell data from parameters."
            )
        return
    raise ValueError(
        "The loss does not depend on `params` through a derivative. Rules that read "
        "nothing but losses (`EvolutionStrategy`, `WeightPerturbation`, and "
        "`ScoreFunction` where nodes are stochastic) need none."
    )


def require_loops(flow: Flow, paths: Sequence[str], reach: Mapping[int, Reach]) -> None:
    """Raise for synapses in a loop that JAX cannot reverse, if a gradient is needed."""
    for site in walk(flow.program.body):
        touched = any(flow.kind_of(a) & PARAMETER for a in site.op.inputs)
        needed = touched and any(reach.get(n) for n in site.op.outputs)
        if site.op.name == "while" and needed and holds_synaptic(site.op):
            weights = ", ".join(paths[i] for i in sorted(flow.raw_into(site.op)))
            raise ValueError(
                f"The loop at {site.op.where} (`while_loop`, or a `fori_loop` whose "
                f"number of steps is not fixed) holds synapses ({weights}), and JAX "
                f"cannot reverse it. {REVERSIBLE}"
            )


def require_no_mutable_arrays(program: Program) -> None:
    """Raise for mutable arrays: their values are not variables of the program."""
    for site in walk(program.body):
        if site.op.name in _MUTABLE:
            raise ValueError(
                f"`loss_fn` uses a mutable array (`jax.new_ref`) at {site.op.where}. "
                "What it holds cannot be followed from one operation to the next. "
                "Compute with ordinary arrays: `x = x.at[i].add(y)`, or the carry of "
                "a loop."
            )


def require_same_loss(program: Program) -> None:
    """Require, inside `jax.shard_map`, a loss that is the same on all devices."""
    loss = program.body.outputs[0]
    axes = () if isinstance(loss, Literal) else sorted(varying(program.shapes[loss]))
    if axes:
        names = repr(axes[0] if len(axes) == 1 else tuple(axes))
        raise ValueError(
            f"Inside `jax.shard_map` the loss differs along the mesh axis {names}: "
            "each device returns that of its own examples, and a learning rule needs "
            f"that of all. Return `jax.lax.pmean(loss, {names})` (`jax.lax.psum` with "
            "`reduction='sum'`). Where devices train separate networks, call "
            "`jax.shard_map` with `check_vma=False`."
        )


def require_marks(flow: Flow) -> None:
    """Raise for a mark inside an operation that apical does not evaluate."""
    reached = {id(site.op) for site in walk(flow.program.body)}
    for op, enclosing in _all_ops(flow.program.body, "the loss function"):
        if mark_of(op) and id(op) not in reached:
            raise ValueError(
                f"The mark {mark_of(op)!r} at {op.where} stands inside {enclosing}, "
                "which apical does not enter (its derivative rule is the user's, or it "
                "has none). Mark the value outside of it."
            )


def require_nodes_at_marks(marks: Mapping[int, str], found: Reachability) -> None:
    """Raise for a mark on an activity that is not a node."""
    for number, name in marks.items():
        if number not in found.chosen:
            raise ValueError(
                f"The activity marked {name!r} is not a nonlinearity of one "
                "activity, so it is left out by nodes='unit'."
            )
        if number not in found.nodes:
            raise ValueError(
                f"The loss is not reached from the activity marked {name!r}, so no "
                "rule could send it a signal. Remove the mark."
            )


def _all_ops(body: Body, enclosing: str) -> Iterator[tuple[Op, str]]:
    for op in body.ops:
        yield op, enclosing
        for inner in op.bodies:
            yield from _all_ops(inner, f"`{op.name}` at {op.where}")
