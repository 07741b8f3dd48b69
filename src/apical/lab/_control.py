"""The control: random hidden layers that never learn, under a readout that does.

Pictures as easy as the digits are told apart well on random features. A rule that does
not beat this row has not been shown to teach a hidden layer anything.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from apical import Credit
from apical.circuit import Circuit
from apical.rules import Rule, rule


@rule
class UntrainedHiddenLayers(Rule):
    """Gradient descent on what comes after the last nodes; everything else stays.

    Every node is a wall for the gradient, so what it still reaches is the readout. The
    state says which parameters that are: 1 for those that learn, 0 for the others.
    """

    needs: ClassVar[tuple[str, ...]] = ("signed error units",)
    # A linear read-out alone wants larger steps than a net that moves below it.
    rate_scale: ClassVar[float] = 10.0

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Find the parameters that the walls let through."""
        del key
        grads = self._walled(circuit, params, args)[1]
        return jax.tree.map(lambda g: jnp.any(g != 0), grads)

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The loss, and its gradient for the readout alone."""
        (value, aux), grads = self._walled(circuit, params, args)
        return Credit(value, aux, grads, state, ())

    def train(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        optimizer: optax.GradientTransformation,
        optimizer_state: Any,
    ) -> tuple[Any, Any, Credit]:
        """Move the readout; a decay of the optimiser touches nothing else either."""
        moved, optimizer_state, credit = super().train(
            circuit, params, state, args, optimizer, optimizer_state
        )
        before, after = circuit.learned(params), circuit.learned(moved)
        kept = jax.tree.map(jnp.where, state, after, before)
        return circuit.merged(params, kept), optimizer_state, credit

    def _walled(self, circuit: Circuit, params: Any, args: Any) -> Any:
        learned, fixed = circuit.leaves.pick(params)

        def loss(learned: Any) -> Any:
            here = circuit.leaves.build(learned, fixed)
            run = circuit.run(here, args, tap="stop")
            return run.loss, run.aux

        value, grads = jax.value_and_grad(loss, has_aux=True)(learned)
        return value, circuit.leaves.build(grads)
