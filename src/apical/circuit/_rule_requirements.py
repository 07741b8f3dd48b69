"""Requirements of rules on a circuit; each raises ValueError if it is not met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ._analysis._drives_and_outputs import computed_from_another
from ._analysis._graph import walk
from ._analysis._loss_checks import REVERSIBLE
from ._analysis._nodes import LOSS, Edge, Node, marked_outputs
from ._analysis._primitives import LINEAR_NOT_REWRITTEN, SYNAPTIC
from ._batching._batch import Batch
from ._jaxpr import Op, is_concrete
from ._structure import Structure


def require_reversible(structure: Structure) -> None:
    """Require that JAX can reverse all loops on activities."""
    flow = structure.flow
    for site in walk(flow.program.body):
        reaches = structure.live.intersection(site.op.outputs)
        active = any(map(flow.is_activity, site.op.inputs))
        if site.op.name == "while" and active and reaches:
            raise ValueError(
                f"The loop at {site.op.where} (`while_loop`, or a `fori_loop` whose "
                "number of steps is not fixed) acts on activities, and JAX cannot "
                f"reverse it. {REVERSIBLE}"
            )


def require_nodes(structure: Structure, or_flat: bool = False) -> None:
    """Require nodes, and that no path bypasses a node.

    With `or_flat` a loss without any hidden layer will do: a penalty, a partition
    function, a model of one layer. The update is its gradient.
    """
    require_reversible(structure)
    if or_flat and not structure.nodes:
        _require_one_layer_per_operation(structure)
    if not structure.nodes and not (or_flat and structure.is_flat):
        hidden = [r.message(structure.leaves.names) for r in structure.refusals]
        advice = "Mark one with `apical.node`, or pass `nodes='every'`."
        raise ValueError(
            "No node was found: no activity that depends on `params` enters a "
            f"synapse. {hidden[0] if hidden else advice}"
        )
    if not structure.separated:
        raise ValueError(
            f"With nodes={structure.spec.nodes!r} some synapse reaches more than one "
            "node or a node and the loss; this rule needs separated nodes: use "
            "nodes='entry'."
        )


def require_layers_apart(structure: Structure, or_flat: bool = False) -> None:
    """Require what `require_nodes` does, and at most one layer per operation.

    In an operation with several layers a signal passes back through the true weights of
    the upper ones, so the lower ones would learn by backpropagation.
    """
    require_nodes(structure, or_flat)
    _require_one_layer_per_operation(structure)


def _require_one_layer_per_operation(structure: Structure) -> None:
    names = structure.leaves.names
    for synapse in structure.live_ops:
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
    """The number of linear operations in an operation; those in a loop count twice."""
    several = 2 if op.loop is not None or op.name == "while" else 1
    inner = [o for body in op.bodies for o in body.ops]
    return several * sum(
        1 if o.name in SYNAPTIC | LINEAR_NOT_REWRITTEN else _layers(o) for o in inner
    )


def require_feedback(structure: Structure) -> None:
    """Require that the feedback path reads no forward weight."""
    require_reversible(structure)
    names = structure.leaves.names
    for refusal in structure.refusals:
        raise ValueError(refusal.message(names))
    structure.products.require_one_kind()
    if not structure.feedback_leaves and not structure.is_flat:
        raise ValueError(
            "No synapse was found: nothing in `params` meets data in a matrix "
            "product or a convolution, so there is no path for feedback. (Is the "
            "data closed over? Pass it as an argument.)"
        )
    for read in structure.weight_reads:
        raise ValueError(read.message(names))


def require_output(structure: Structure) -> None:
    """Require an output, and no node after it."""
    outputs, names = structure.outputs, structure.names
    if not outputs:
        reads = [n for n in structure.nodes if Edge(LOSS) in structure.reach[n.name]]
        raise ValueError(_no_output(reads))
    reachability = structure.reachability
    for number in outputs:
        found = reachability.of_node if number in names else reachability.of_value
        after = [e for e in structure.edges(found[number]) if e.to is not LOSS]
        if after:
            raise ValueError(
                f"The output reaches the node {str(after[0])!r}, and this rule "
                "needs an output that only the loss reads. Mark a later activity "
                "with `apical.output`, or choose the nodes by `nodes=`. (Outputs "
                f"found: {structure.outputs_in_words}.)"
            )
    second = computed_from_another(structure.flow, outputs)
    if second:
        raise ValueError(
            f"One output is computed from another (outputs: "
            f"{structure.outputs_in_words}), so that its error would count twice or "
            "not at all. Mark only the first of them with `apical.output`, where the "
            "loss reads it."
        )
    marks = marked_outputs(structure.flow)
    nodes = [names[n] for n in (*marks, *outputs) if n in names]
    if nodes and len(outputs) > 1:
        raise ValueError(
            f"The loss reads {len(outputs)} outputs ({structure.outputs_in_words}), "
            f"and one of them is the node {nodes[0]!r}. Where there are several, "
            "none may be a node: take away `apical.node` there (or `nodes='every'`), "
            "and mark only activities that no synapse reads."
        )


def _no_output(reads: Sequence[Node]) -> str:
    listed = ", ".join(f"{n.name!r} at {n.where}" for n in reads)
    return (
        "The loss function has no output that can be told from the program: no synapse "
        "reaches the loss alone, without a node after it"
        f"{f' (the loss reads {listed})' if listed else ''}. Mark it, as "
        "`apical.output(log_prob)` in a normalising flow, or "
        "`apical.output(solution.ys)` of a differential equation."
    )


def require_separate(batch: Batch, rule: str) -> None:
    """Require a loss that is a sum of per-example losses."""
    if batch.mixing:
        raise ValueError(
            f"{rule} needs a loss that is a sum of one loss for each example, and "
            f"activities of several examples meet in {batch.mixing} (batch "
            "normalisation? a contrastive loss? the root of a mean? a `while` loop "
            "under `jax.vmap`, which all examples leave together?). Give each "
            "example numbers of its own there (layer normalisation, a mean as the "
            "last step), see that `batch_axes` describes the arguments, or use a "
            "rule that needs no loss of single examples."
        )


class _Loss(Protocol):
    """A loss function and its batch: a `Circuit`."""

    loss_fn: Callable[..., Any]
    batch: Batch


# Losses below this are too small for the check.
_TINY = 1e-30


def require_reduction(circuit: _Loss, params: Any, args: tuple[Any, ...]) -> None:
    """Require a loss that agrees with `reduction`.

    Repeating every example keeps a mean and doubles a sum, even if examples depend on
    each other: their statistics stay the same. A loss that does neither (it draws
    noise, or works for only one number of examples) passes. The check needs concrete
    values and is left out under `jit`.

    Raises:
      ValueError: if a mean doubles, or a sum does not.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.sum((x @ w) ** 2)
      >>> w, x = jnp.ones((1, 1)), jnp.ones((3, 1))
      >>> circuit = apical.trace(loss_fn, reduction="sum")(w, x)
      >>> require_reduction(circuit, w, (x,))
    """
    examples = circuit.batch.examples
    if not is_concrete((params, args)) or all(a is None for a in examples.axes):
        return
    try:
        both = args, examples.twice(args)
        losses = [examples.loss(circuit.loss_fn, params, each) for each in both]
    except Exception:  # another number of examples is not supported
        return
    if is_concrete(losses):  # an outer transformation may trace numbers too
        _check(circuit.batch.structure.spec.reduction, *map(float, losses))


def _check(reduction: str, loss: float, doubled: float) -> None:
    other, factor = ("sum", 2) if reduction == "mean" else ("mean", 1)
    fix = "divide by the number of examples" if reduction == "mean" else "do not"
    if abs(loss) > _TINY and np.allclose(doubled, factor * loss, rtol=1e-3, atol=0):
        raise ValueError(
            f"The loss is said to be a {reduction} over the examples (`reduction`), "
            f"but with every example twice it goes from {loss:.6g} to {doubled:.6g}, "
            f"as a {other} does. Say `reduction={other!r}`, or {fix}, or see that "
            "`batch_axes` describes the arguments."
        )
