"""Random projections sent directly to every node: of the error, or of the target.

    delta_n = scale B_n s + dL/dn,      dW_n = the pull-back of delta_n,

with s the array that is sent (of the output's shape), B_n fixed and random, and dL/dn
the gradient of terms of the loss that read the node directly, not through a synapse (a
penalty on activity; usually 0). `_axis_maps` maps the axes of the output to those of a
node.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import OUTPUT, Circuit, Synapse, beside, zeros
from .._axis_maps import AxisMap, axis_maps_by_output
from .._base import Credit, Signal, rule
from .._numerics import fold_in_name
from .._random import draw_matrices
from ._connection_masks import ConnectedRule, FeedbackState
from ._feedback_weights import through_feedback


class DirectSignals(NamedTuple):
    """One evaluation, with the teaching signal at each node and the gradients."""

    value: jax.Array
    aux: Any
    grads: list[jax.Array]
    values: dict[str, jax.Array]
    delta: dict[str, jax.Array]


@rule
class DirectProjectionRule(ConnectedRule):
    """A rule that sends a random projection of one array to every node.

    State: `FeedbackState(feedback, connections)`, with a matrix `[units, columns]` for
    each node, by name; a tuple of matrices where several outputs have other steps.
    """

    scale: float = 1.0

    def message(self, circuit: Circuit, args: Any, error: jax.Array) -> jax.Array:
        """The array that is sent, of the output's shape, given the error there."""
        raise NotImplementedError

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw a matrix for each node."""
        del args
        circuit.require_layers_apart(or_flat=True)
        if circuit.nodes:
            circuit.require_output()
            _require_heads_that_can_be_cut(circuit)
        own = fold_in_name(key, f"apical.{type(self).__name__}")
        matrices = draw_node_matrices(circuit, own) if circuit.nodes else {}
        return FeedbackState(matrices, self.connect(circuit, key, params, matrices))

    def masked_credit(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Credit:
        """One forward pass, and one local step at every node."""
        if not circuit.nodes:
            return through_feedback(circuit, params, args, state)
        found = self._evaluate(circuit, params, state, args)
        grads = circuit.leaves.combine(found.grads)
        return Credit(found.value, found.aux, grads, state, ())

    def masked_signals(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Any:
        """The projected signal at each node."""
        if not circuit.nodes:
            return {}
        found = self._evaluate(circuit, params, state, args)
        return {n: Signal(v, v, found.delta[n]) for n, v in found.values.items()}

    def _evaluate(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> DirectSignals:
        learned, fixed = circuit.leaves.split(params)
        # A node that is the output receives the error directly.
        last = circuit.output_node
        path = _without_other_heads(circuit)

        def tap(site: str, computed: Any, injected: Any) -> Any:
            passes = site == OUTPUT and last is not None
            return (computed if passes else jax.lax.stop_gradient(computed)) + injected

        def network(learned: Any, errors: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            run = circuit.run(here, args, tap=tap, inject=errors, **path)
            return (run.loss, run.sites), run.aux

        start = {**circuit.zeros(), OUTPUT: zeros(circuit.output_shape)}
        (value, values), transposed, aux = jax.vjp(
            network, learned, start, has_aux=True
        )
        one = jnp.ones_like(value)
        delta = transposed((one, jax.tree.map(jnp.zeros_like, values)))[1]
        error = delta.pop(OUTPUT)
        message = self.message(circuit, args, error)
        matrices = self.effective_feedback(state, state.feedback)
        for name, maps in axis_maps_by_output(circuit).items():
            if name != last:
                projected = project(circuit, maps, matrices[name], message)
                projected = (self.scale * projected).astype(values[name].dtype)
                delta[name] += beside(projected, delta[name])
        readout = error if last is None else jnp.zeros_like(error)
        grads = transposed((one, {**delta, OUTPUT: readout}))[0]
        values = {n: values[n] for n in delta}
        return DirectSignals(value, aux, grads, values, delta)


def draw_node_matrices(circuit: Circuit, key: jax.Array) -> dict[str, Any]:
    """For each node a matrix `[units, columns]`, uniform within 1/sqrt(units).

    Where several outputs differ in more than their units, a tuple: one for each output.
    """
    maps = axis_maps_by_output(circuit)
    flat = [axes for each in maps.values() for axes in each]
    shapes = [(axes.unit_count, axes.column_count) for axes in flat]
    dtypes = [np.zeros((), axes.dtype).real.dtype for axes in flat]
    drawn = iter(draw_matrices(key, shapes, dtypes))
    found = {name: tuple(next(drawn) for _ in each) for name, each in maps.items()}
    return {name: own[0] if len(own) == 1 else own for name, own in found.items()}


def project(
    circuit: Circuit, maps: list[AxisMap], own: Any, message: jax.Array
) -> jax.Array:
    """A projection of an array of the output's shape, in the shape of a node.

    Args:
      circuit: of the loss function.
      maps: the node's axes, for all outputs or for each of them.
      own: its matrix, or one for each output.
      message: the array that is sent.
    """
    if len(maps) == 1:
        return maps[0].project(own, message)
    parts = zip(maps, own, circuit.batch.outputs.split(message), strict=True)
    first, *rest = (axes.project(matrix, part) for axes, matrix, part in parts)
    return sum(rest, start=first)


# ---- Heads that the loss reads beside the outputs that are marked.
# They learn from the loss, but send no signal back: it would pass their true weights.


def _without_other_heads(circuit: Circuit) -> dict[str, Any]:
    """The arguments of `Circuit.run` with which heads that are not outputs are cut."""
    heads = circuit.structure.heads_beside
    if not heads:
        return {}
    cut = set(circuit.structure.described(heads))

    def backward(synapse: Synapse, weight: jax.Array, copy: Any) -> jax.Array:
        del copy
        return jnp.zeros_like(weight) if synapse in cut else weight

    return {"backward": backward}


def _require_heads_that_can_be_cut(circuit: Circuit) -> None:
    for head in circuit.structure.heads_beside:
        if head.weight is None:
            raise ValueError(
                f"The loss reads `{head.op.name}` at {head.op.where} beside the "
                "outputs that are marked, and a signal would pass back through its "
                "true weights. Mark its result too: `y = apical.output(y)`."
            )
