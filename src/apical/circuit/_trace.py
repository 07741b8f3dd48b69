"""`apical.trace`: from a loss function and example arguments to a circuit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.ad_checkpoint
import jax.numpy as jnp

from ._analysis._dataflow import Flow
from ._analysis._drives_and_outputs import find_drive
from ._analysis._effective_weights import shared_weights
from ._analysis._gain_or_synapse import Products
from ._analysis._graph import walk
from ._analysis._loss_checks import (
    require_dependence,
    require_loops,
    require_marks,
    require_no_mutable_arrays,
    require_nodes_at_marks,
    require_same_loss,
)
from ._analysis._naming import node_names
from ._analysis._nodes import Reachability, entering, everything, marked
from ._analysis._step_nodes import entering_in_step
from ._analysis._synapses import WeightedOp, weighted_ops
from ._argument_checks import (
    call_loss,
    kind,
    on_copies,
    require_arrays,
    require_function,
)
from ._batching._batch import Batch
from ._batching._batch_axes import BatchAxes
from ._carry import as_loop
from ._circuit import Circuit
from ._jaxpr import trace_program
from ._loss_spec import LossSpec
from ._marks import BERNOULLI_MARK, NODE_MARKS
from ._partition import Partition, is_array, shapes_of
from ._structure import Structure
from ._widening import Widening, same_nodes

Nodes = Literal["entry", "step", "unit", "marked", "every"]


def trace(
    loss_fn: Callable[..., Any],
    *,
    has_aux: bool = False,
    reduction: Literal["mean", "sum"] = "mean",
    batch_axes: Any = 0,
    nodes: Nodes = "entry",
) -> Callable[..., Circuit]:
    """Find the nodes and synapses of a loss function.

    Args:
      loss_fn: any JAX function `loss_fn(params, *args)` that returns a scalar loss, or
        `(loss, aux)` with `has_aux`.
      has_aux: whether `loss_fn` returns a pair.
      reduction: whether the loss is the mean or the sum over the examples.
      batch_axes: the axis of the examples in each argument, as `in_axes` of `jax.vmap`:
        an integer, None for an argument that all examples share, or a tuple with one
        entry (a pytree prefix) per argument.
      nodes: `"entry"` (activities that enter a synapse, and those where paths branch),
        `"step"` (the same within one step of a loop: the state of a unit, which leads
        to one node, now and later, is none), `"unit"` (the subset of the first that
        are a nonlinearity of one activity), `"marked"` (by `apical.node`) or `"every"`
        (each operation on an activity).

    Returns:
      A function of `(params, *args)` (arrays or `jax.ShapeDtypeStruct`) that returns
      the `Circuit`. The loss function is only traced, not computed.

    Raises:
      ValueError: if the loss is not a real scalar, does not depend on the parameters,
        has a hidden layer above data that it closes over, holds a synapse in a loop
        that JAX cannot reverse, or loses a mark.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> def loss_fn(params, x, y):
      ...     h = jnp.tanh(x @ params["hidden"])
      ...     return jnp.mean((h @ params["readout"] - y) ** 2)
      >>> params = {"hidden": jnp.ones((3, 4)), "readout": jnp.ones((4, 2))}
      >>> circuit = apical.trace(loss_fn)(params, jnp.ones((5, 3)), jnp.ones((5, 2)))
      >>> [node.name for node in circuit.nodes]
      ['hidden']
      >>> [synapse.name for synapse in circuit.synapses]
      ['hidden', 'readout']
    """
    require_function(loss_fn, "loss_fn")
    spec = LossSpec(
        has_aux=has_aux, reduction=reduction, batch_axes=batch_axes, nodes=nodes
    )

    def find(params: Any, *args: Any) -> Circuit:
        require_arrays(params, args)
        return trace_spec(loss_fn, spec, params, args)

    return find


def trace_spec(
    loss_fn: Callable[..., Any],
    spec: LossSpec,
    params: Any,
    args: tuple[Any, ...],
    widening: Widening | None = None,
) -> Circuit:
    """Trace a loss function that a `LossSpec` describes.

    With a `widening`, the nodes are those of the trace without it.
    """
    circuit = _trace(loss_fn, spec, params, args, widening)
    circuit.batch.require_examples_at_priors()
    return circuit


def _trace(
    loss_fn: Callable[..., Any],
    spec: LossSpec,
    params: Any,
    args: tuple[Any, ...],
    widening: Widening | None,
) -> Circuit:
    leaves, given = Partition.of(params), Partition.of(args, learn=False)
    if not leaves.learned:
        raise ValueError(
            "`params` holds no leaf to learn: none is an array of floating-point "
            f"numbers{_found(leaves, params)}. Integer parameters cannot be learned; "
            "cast them with `.astype(float)`, and make arrays of Python's numbers with "
            "`jnp.asarray`. Of a model that is no pytree hand over the arrays that it "
            "holds (Keras: `[v.value for v in model.trainable_variables]`, and "
            "`model.stateless_call` in `loss_fn`)."
        )
    learned, fixed = leaves.split(params)
    arrays = given.split(args)[1]
    counts = len(learned), len(fixed)
    aux_structure: list[Any] = []

    def flat(called: Callable[..., Any], *values: Any) -> Any:
        learned, fixed = values[: counts[0]], values[counts[0] : sum(counts)]
        params = leaves.combine(learned, fixed)
        result = call_loss(called, params, given.combine([], values[sum(counts) :]))
        loss, aux = _loss_and_aux(result, spec.has_aux)
        aux_arrays, rebuild = _aux_arrays(aux)
        aux_structure.append(rebuild)
        return (loss, *aux_arrays)

    shapes = shapes_of([*learned, *fixed, *arrays])
    program, _ = trace_program(partial(flat, loss_fn), *shapes)
    if spec.stepwise and not any(s.op.loop for s in walk(program.body)):
        looped = as_loop(loss_fn, spec)
        program, _ = trace_program(partial(flat, looped), *shapes)
    require_no_mutable_arrays(program)
    require_same_loss(program)
    names: dict[int, str] | None = None
    if widening is not None:
        program = widening.program(program, leaves.names)
        names = same_nodes(widening.structure, program)
    shared = BatchAxes(spec, given, [x.shape for x in shapes_of(arrays)]).shared
    flow = Flow(program, *counts, frozenset(sum(counts) + i for i in shared))
    flow = flow.knowing(*shared_weights(flow))
    products = Products(flow)
    flow = flow.knowing(sums=products.sums)
    if spec.derivative:
        require_dependence(flow)
    require_marks(flow)
    structure = _structure(flow, products, spec, leaves, given, names)

    def retrace(params: Any, args: Any) -> Batch:
        there = None if widening is None else widening.at(params, args)
        return _trace(loss_fn, spec, params, args, there).batch

    batch = Batch(structure, retrace)
    return Circuit(on_copies(loss_fn), structure, batch, aux_structure[-1])


def _structure(
    flow: Flow,
    products: Products,
    spec: LossSpec,
    leaves: Partition,
    args: Partition,
    given: dict[int, str] | None,
) -> Structure:
    """Find the nodes (unless their names are given) and synapses of a program."""
    found = weighted_ops(flow, products)
    marks = marked(flow, NODE_MARKS)
    # A spike also reaches the loss through operations without a derivative.
    stochastic = set(marked(flow, () if spec.derivative else (BERNOULLI_MARK,)))
    chosen = _chosen(flow, spec, found, set(marks)) if given is None else set(given)
    reachability = Reachability(
        flow,
        chosen,
        stochastic,
        complete=given is None and spec.nodes in ("entry", "step"),
        in_step=spec.nodes in ("step", "marked"),
    )
    reach = reachability.of_value
    if spec.derivative:
        require_loops(flow, leaves.names, reach)
    require_nodes_at_marks(marks, reachability)
    numbers = [n for n in flow.maker if n in reachability.nodes]
    live = [m for m in found if any(map(reach.get, m.op.outputs))]
    if given is None:
        names = node_names(flow, numbers, leaves.keys, live, marks)
    else:
        names = {n: given[n] for n in numbers}
    return Structure(
        flow, products, spec, leaves, args, found, reachability, marks, names
    )


def _chosen(
    flow: Flow, spec: LossSpec, found: Sequence[WeightedOp], marks: set[int]
) -> set[int]:
    """The activities that are nodes by the policy `nodes=`, or by a mark."""
    if spec.nodes == "marked":
        return marks
    if spec.nodes == "every":
        return everything(flow) | marks
    if spec.nodes == "step":
        return entering_in_step(flow, found) | marks
    entry = entering(flow, found) | marks
    if spec.nodes == "unit":
        return {n for n in entry if find_drive(flow, n) is not None}
    return entry


def _loss_and_aux(result: Any, has_aux: bool) -> tuple[Any, Any]:
    if has_aux:
        if not isinstance(result, tuple) or len(result) != 2:
            raise ValueError(
                "With `has_aux=True`, `loss_fn` must return a pair `(loss, aux)`; it "
                f"returned {_in_words(result)}."
            )
        loss, aux = result
    else:
        loss, aux = result, None
    if not is_array(loss) and not isinstance(loss, (bool, int, float, complex)):
        raise ValueError(
            f"`loss_fn` returned a {type(loss).__name__}, not a scalar loss; if it "
            "returns `(loss, aux)`, pass `has_aux=True`."
        )
    form = f"shape {jnp.shape(loss)} and dtype {jnp.result_type(loss)}"
    if jnp.shape(loss) != ():
        raise ValueError(
            f"`loss_fn` must return a real scalar; it returned {form}. Take the mean "
            "over the examples."
        )
    if not jnp.issubdtype(jnp.result_type(loss), jnp.floating):
        raise ValueError(
            f"`loss_fn` must return a real scalar; it returned {form}, which has no "
            "gradient. Return a floating-point number."
        )
    return loss, aux


def _in_words(result: Any) -> str:
    counted = f" of {len(result)}" if isinstance(result, (tuple, list)) else ""
    return f"{kind(result)}{counted}"


def _found(leaves: Partition, params: Any) -> str:
    """A description of the first leaf, for the message that none is learned."""
    if not leaves.paths:
        return f" (it is a {type(params).__name__} without leaves)"
    first = jax.tree.leaves(params)[0]
    form = first.dtype if is_array(first) else kind(first)
    return f" ({leaves.paths[0]!r} is {form})"


def _aux_arrays(aux: Any) -> tuple[list[Any], Callable[[Any], Any]]:
    """The arrays of aux, and a function that rebuilds aux from them."""
    flat, treedef = jax.tree.flatten(aux)
    arrays = [
        i for i, leaf in enumerate(flat) if isinstance(leaf, (jax.Array, float, int))
    ]
    rest = {i: leaf for i, leaf in enumerate(flat) if i not in arrays}

    def rebuild(values: Any) -> Any:
        filled = {**rest, **dict(zip(arrays, values, strict=True))}
        return jax.tree.unflatten(treedef, [filled[i] for i in range(len(flat))])

    return [jnp.asarray(flat[i]) for i in arrays], rebuild
