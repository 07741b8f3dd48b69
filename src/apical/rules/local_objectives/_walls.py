"""Walls: nodes that learn by objectives of their own, and let no gradient through.

    total = L + sum_n objective_n(s_n) + sum_n <dL/ds_n, s_n>,   consumers read sg(s_n)

with dL/ds_n what the loss reads of a node itself, not through the output (mostly 0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from ...circuit import Circuit, Run, inner

OUTPUT = "output"
# From the values at the walls and from read-outs: an objective for each wall.
Objectives = Callable[[dict[str, jax.Array], Any], dict[str, jax.Array]]


class Taught(NamedTuple):
    """One pass: the evaluation, the objectives, and the gradients of their sum."""

    run: Run
    objectives: dict[str, jax.Array]
    grads: Any
    readouts: Any


class Walled(NamedTuple):
    """A circuit with walls at some of its nodes, and an objective at each."""

    circuit: Circuit
    params: Any
    args: Any
    walls: tuple[str, ...]
    objectives: Objectives

    def taught(self, readouts: Any) -> Taught:
        """The gradients by the parameters and by the read-outs, in one pass."""
        learned, _ = self.circuit.leaves.pick(self.params)
        (_, (run, objectives)), (grads, by_readout) = jax.value_and_grad(
            self._total(), argnums=(0, 1), has_aux=True
        )(learned, readouts, {})
        return Taught(run, objectives, self.circuit.leaves.build(grads), by_readout)

    def signals(self, readouts: Any) -> tuple[dict[str, jax.Array], Any]:
        """Every node's value, and the gradient there."""
        learned, _ = self.circuit.leaves.pick(self.params)
        teaching, (run, _) = jax.grad(self._total(), argnums=2, has_aux=True)(
            learned, readouts, self.circuit.zeros()
        )
        return run.sites, teaching

    def _total(self) -> Callable[..., Any]:
        """The sum above, of learned leaves, read-outs and errors at the nodes."""
        circuit, direct = self.circuit, self._read_directly()
        _, fixed = circuit.leaves.pick(self.params)

        def tap(site: str, computed: Any, injected: Any) -> Any:
            value = computed if injected is None else computed + injected
            return jax.lax.stop_gradient(value) if site in self.walls else value

        def total(learned: Any, readouts: Any, errors: Any) -> Any:
            here = circuit.leaves.build(learned, fixed)
            run = circuit.run(here, self.args, tap=tap, inject=errors)
            values = {n: run.sites[n] + errors.get(n, 0) for n in self.walls}
            objectives = self.objectives(values, readouts)
            penalties = (inner(direct[n], v) for n, v in values.items())
            taught = sum(objectives.values(), start=run.loss)
            return sum(penalties, start=taught), (run, objectives)

        return total

    def _read_directly(self) -> dict[str, jax.Array]:
        """What the loss reads of a wall itself."""
        every = self.circuit.zeros()
        still = {n: every[n] for n in self.walls}
        sites = [*every, OUTPUT]

        def held(site: str, computed: Any, injected: Any) -> Any:
            del site
            value = jax.lax.stop_gradient(computed)
            return value if injected is None else value + injected

        def loss(errors: Any) -> jax.Array:
            given: dict[str, Any] = {"tap": held, "inject": errors, "sites": sites}
            return self.circuit.run(self.params, self.args, **given).loss

        return jax.grad(loss)(still)
