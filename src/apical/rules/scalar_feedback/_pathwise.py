"""Estimators that pass the derivative through the spike, as if it had one.

Each draws its networks, differentiates the mean of their losses, and differs from the
others in what consumers read of a node and in what derivative that has.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ...circuit import Circuit, stochastic_nodes
from .._rule import Credit, Signal
from ._spikes import Spiking, StochasticRule, added, node_shapes, uniforms


class PathwiseRule(StochasticRule):
    """A rule that gives the spike a derivative."""

    def spike(self, probability: jax.Array, uniform: jax.Array) -> jax.Array:
        """What consumers read, with a derivative by the probability."""
        raise NotImplementedError(f"{type(self).__name__} does not define `spike`.")

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One forward and one backward pass for each draw, side by side."""
        now, later = jax.random.split(state)
        run = circuit.run(params, args, sites=())
        learned, fixed = circuit.leaves.pick(params)
        names = stochastic_nodes(circuit)
        noise = uniforms(now, node_shapes(circuit, names), self.draws)

        def loss(learned: Any, noise: Any) -> jax.Array:
            here = circuit.leaves.build(learned, fixed)

            def tap(site: str, computed: Any, injected: Any) -> Any:
                del site
                return self.spike(computed, injected)

            return circuit.run(here, args, tap=tap, inject=noise, sites=()).loss

        def mean(learned: Any) -> jax.Array:
            return jnp.mean(jax.vmap(loss, in_axes=(None, 0))(learned, noise))

        spiking, grads = jax.value_and_grad(mean)(learned)
        grads = circuit.leaves.build(grads)
        return Credit(run.loss, run.aux, grads, later, Spiking(spiking))

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """What each node reads in the first draw, and the signal at its probability."""
        now, _ = jax.random.split(state)
        names = stochastic_nodes(circuit)
        noise = uniforms(now, node_shapes(circuit, names), self.draws)
        noise = {n: u[0] for n, u in noise.items()}
        given = {**circuit.zeros(), **noise}

        def loss(errors: Any) -> Any:
            def tap(site: str, computed: Any, injected: Any) -> Any:
                # One array holds both: its value draws the spike, its gradient is the
                # teaching signal.
                here = added(computed, injected)
                if site not in names:
                    return here
                return self.spike(here, jax.lax.stop_gradient(injected))

            run = circuit.run(params, args, tap=tap, inject=errors)
            return run.loss, run.sites

        teaching, means = jax.grad(loss, has_aux=True)(given)
        values = {
            n: self.spike(p, noise[n]) if n in names else p for n, p in means.items()
        }
        return {n: Signal(values[n], p, teaching[n]) for n, p in means.items()}
