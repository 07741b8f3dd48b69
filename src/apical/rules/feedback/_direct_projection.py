"""Random projections sent directly to every node: of the error, or of the target.

    delta_n = scale B_n s + dL/dn,      dW_n = the pull-back of delta_n,

with s the array that is sent (of the output's shape), B_n fixed and random, and dL/dn
the gradient of terms of the loss that read the node directly, not through the output (a
penalty on activity; usually 0). `_axis_maps` maps the axes of the output to those of a
node.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import OUTPUT, Circuit, beside, zeros
from .._axis_maps import axis_maps
from .._base import Credit, Signal, rule
from .._gradient_alone import gradient_alone
from .._numerics import fold_in_name
from .._random import draw_matrices
from ._connection_masks import ConnectedRule, FeedbackState


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
    each node, by name.
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
        own = fold_in_name(key, f"apical.{type(self).__name__}")
        matrices = draw_node_matrices(circuit, own) if circuit.nodes else {}
        return FeedbackState(matrices, self.connect(circuit, key, params, matrices))

    def masked_credit(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Credit:
        """One forward pass, and one local step at every node."""
        found = self._evaluate(circuit, params, state, args)
        grads = circuit.leaves.combine(found.grads)
        return Credit(found.value, found.aux, grads, state, ())

    def masked_signals(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Any:
        """The projected signal at each node."""
        found = self._evaluate(circuit, params, state, args)
        return {n: Signal(v, v, found.delta[n]) for n, v in found.values.items()}

    def _evaluate(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> DirectSignals:
        if not circuit.nodes:
            return DirectSignals(*gradient_alone(circuit, params, args), {}, {})
        learned, fixed = circuit.leaves.split(params)
        # A node that is the output receives the error directly.
        last = circuit.output_node

        def tap(site: str, computed: Any, injected: Any) -> Any:
            passes = site == OUTPUT and last is not None
            return (computed if passes else jax.lax.stop_gradient(computed)) + injected

        def network(learned: Any, errors: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            run = circuit.run(here, args, tap=tap, inject=errors)
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
        for name, axes in axis_maps(circuit).items():
            if name != last:
                projected = self.scale * axes.project(matrices[name], message)
                projected = projected.astype(values[name].dtype)
                delta[name] += beside(projected, delta[name])
        readout = error if last is None else jnp.zeros_like(error)
        grads = transposed((one, {**delta, OUTPUT: readout}))[0]
        values = {n: values[n] for n in delta}
        return DirectSignals(value, aux, grads, values, delta)


def draw_node_matrices(circuit: Circuit, key: jax.Array) -> dict[str, jax.Array]:
    """For each node a matrix `[units, columns]`, uniform within 1/sqrt(units)."""
    maps = axis_maps(circuit)
    shapes = [(axes.unit_count, axes.column_count) for axes in maps.values()]
    dtypes = [np.zeros((), axes.dtype).real.dtype for axes in maps.values()]
    return dict(zip(maps, draw_matrices(key, shapes, dtypes), strict=True))
