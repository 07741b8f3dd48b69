"""What the rules have in common that send something to every node directly.

    delta_n = scale B_n s + dL/dn,      dW_n = the pull-back of delta_n,

with s what is sent (an error, a target), B_n fixed and random, and dL/dn what the loss
reads of the node itself (a penalty on activity; mostly 0), not through the output.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..circuit import Circuit, beside, zeros
from ._connections import ConnectedRule, FeedbackState
from ._rule import Credit, Signal, rule, salted
from ._wiring import wirings

OUTPUT = "output"
FRENKEL = (
    "@article{frenkel2021learning, title={Learning Without Feedback: Fixed Random "
    "Learning Signals Allow for Feedforward Training of Deep Neural Networks}, "
    "author={Frenkel, Charlotte and Lefebvre, Martin and Bol, David}, "
    "journal={Frontiers in Neuroscience}, volume={15}, year={2021}}"
)


class Taught(NamedTuple):
    """One tick: what it computed, and what it taught."""

    value: jax.Array
    aux: Any
    grads: list[jax.Array]
    values: dict[str, jax.Array]
    delta: dict[str, jax.Array]


@rule
class DirectRule(ConnectedRule):
    """A rule that sends every node a random projection of one thing."""

    scale: float = 1.0

    def message(self, circuit: Circuit, args: Any, error: jax.Array) -> jax.Array:
        """What is sent, of the output's shape, from the loss's gradient there."""
        raise NotImplementedError

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw a matrix for each node."""
        del args
        circuit.require_layers_apart()
        circuit.require_output()
        own = salted(key, f"apical.{type(self).__name__}")
        matrices = draw_matrices(circuit, own)
        return FeedbackState(matrices, self.connect(circuit, key, params, matrices))

    def taught(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One forward pass, and one local step at every node."""
        found = self._teach(circuit, params, state, args)
        grads = circuit.leaves.build(found.grads)
        return Credit(found.value, found.aux, grads, state, ())

    def sent(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """What is sent to each node."""
        found = self._teach(circuit, params, state, args)
        return {n: Signal(v, v, found.delta[n]) for n, v in found.values.items()}

    def _teach(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Taught:
        learned, fixed = circuit.leaves.pick(params)
        # The node that is the output hears the error itself.
        last = circuit.output_node

        def tap(site: str, computed: Any, injected: Any) -> Any:
            passes = site == OUTPUT and last is not None
            return (computed if passes else jax.lax.stop_gradient(computed)) + injected

        def network(learned: Any, errors: Any) -> Any:
            here = circuit.leaves.build(learned, fixed)
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
        matrices = self.carry(state, state.feedback)
        for name, wiring in wirings(circuit).items():
            if name != last:
                carried = self.scale * wiring.carry(matrices[name], message)
                carried = carried.astype(values[name].dtype)
                delta[name] += beside(carried, delta[name])
        readout = error if last is None else jnp.zeros_like(error)
        grads = transposed((one, {**delta, OUTPUT: readout}))[0]
        values = {n: values[n] for n in delta}
        return Taught(value, aux, grads, values, delta)


def draw_matrices(circuit: Circuit, key: jax.Array) -> dict[str, jax.Array]:
    """For each node a matrix, uniform within 1/sqrt(units of the node)."""
    sizes = {n: w.size for n, w in wirings(circuit).items()}
    counts = [rows * columns for rows, columns in sizes.values()]
    # All at once: a generator is compiled anew for every shape.
    numbers = jax.random.uniform(key, (sum(counts),), minval=-1.0, maxval=1.0)
    parts = jnp.split(numbers, list(accumulate(counts))[:-1])
    real = {n.name: np.zeros((), n.dtype).real.dtype for n in circuit.nodes}
    return {
        name: (part.reshape(size) * size[0] ** -0.5).astype(real[name])
        for part, (name, size) in zip(parts, sizes.items(), strict=True)
    }
