"""Free predictions: recomputed from the current values (the original form).

    dE/dv_n = pi_n e_n - sum_m pi_m <e_m, dp_m/dv_n> + pull dL/dv_n

Whittington & Bogacz 2017. The same energy as a function of the errors,

    E(e) = sum_n pi_n |e_n|^2 / 2 + pull L,     v_n = p_n(v) + e_n,

has the same equilibria; its slope takes a global backward pass (Goemaere et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp

from ...circuit import Run, inner
from .._iteration import written_out
from .._local_derivatives import visited
from .._numerics import NodeArrays, cast_to_nodes, upcast
from ._active_front import ActiveFront, stages
from ._energy import AbstractEnergy, EnergyTerms, Settled, Stage


@dataclass(frozen=True)
class FreePredictionEnergy(AbstractEnergy):
    """The energy with free predictions; its points are values."""

    @cached_property
    def forward(self) -> Run:
        """The undisturbed forward pass."""
        return self.circuit.run(self.terms.params, self.terms.args)

    @property
    def start(self) -> NodeArrays:
        """The feed-forward values."""
        return upcast(self.forward.sites)

    @property
    def in_error_space(self) -> ErrorSpaceEnergy:
        """The same energy as a function of the errors."""
        return ErrorSpaceEnergy(self.terms)

    def slope(
        self, point: NodeArrays, step: Any = None, front: ActiveFront | None = None
    ) -> NodeArrays:
        """dE/dv of each example; 0 outside the front."""
        values, erring = point, None if front is None else front.erring
        moving = {n: v for n, v in values.items() if not front or n in front.moving}

        def network(moving: NodeArrays) -> Any:
            return self._network(self.terms.params, {**values, **moving}, erring)

        (pulled,), weighted, _ = self._pull_back_errors(
            network, (moving,), values, step
        )
        return {
            n: self._sum(weighted.get(n, 0), pulled[n])
            if n in moving
            else jnp.zeros_like(v)
            for n, v in values.items()
        }

    def stages(self, steps: int) -> list[Stage]:
        """Steps from the feed-forward values; the first ones move few nodes."""
        found = stages(self.circuit, steps, written_out(self.circuit, steps))
        return [(partial(self.slope, front=front), count) for front, count in found]

    def settled(self, point: NodeArrays, residual: Any, steps: Any) -> Settled:
        """The result of inference, with the gradients of the parameters."""
        grads, _, errors = self.pulled(point)
        loss, aux, _ = self.forward
        moved = cast_to_nodes(self.circuit, point)
        return Settled(loss, aux, grads, moved, errors, residual, steps)

    def pulled(
        self, values: NodeArrays, step: Any = None
    ) -> tuple[list[jax.Array], NodeArrays, NodeArrays]:
        """The pull-backs of the errors to parameters and to values, and the errors."""
        learned, fixed = self.circuit.leaves.split(self.terms.params)

        def network(learned: Any, values: NodeArrays) -> Any:
            return self._network(self.circuit.leaves.combine(learned, fixed), values)

        at = (learned, values)
        (grads, pulled), weighted, errors = self._pull_back_errors(
            network, at, values, step
        )
        return grads, jax.tree.map(self._sum, weighted, pulled), errors

    def _network(
        self, params: Any, values: NodeArrays, erring: Collection[str] | None = None
    ) -> Any:
        """The loss, the sites through which errors are pulled, and the predictions."""
        terms, sites = self.terms, self.terms.sites
        run = self.circuit.run(
            params,
            terms.args,
            tap="clamp",
            inject=cast_to_nodes(self.circuit, values),
            parallel=True,
            feedback=terms.feedback,
            sites=visited(terms.sites),
        )
        through = {
            n: run.sites[sites[n]] for n in (sites if erring is None else erring)
        }
        return (run.loss, through), run.sites

    def _pull_back_errors(
        self,
        network: Callable[..., Any],
        at: tuple[Any, ...],
        values: NodeArrays,
        step: Any,
    ) -> tuple[Any, NodeArrays, NodeArrays]:
        """The pull-backs of the errors to the arguments of a network, pi e, and e.

        Each error is pulled through its own site, so the result need not be the
        gradient of an energy. Under `jit`, unused results cost nothing.
        """
        (loss, through), transposed, found = jax.vjp(network, *at, has_aux=True)
        errors = {n: values[n] - found[n] for n in through}
        weighted = self.terms.weighted(errors, step)
        seeds = {n: -e / self.circuit.scale for n, e in weighted.items()}
        seeds = cast_to_nodes(self.circuit, seeds)
        pull = jnp.asarray(self.terms.pull, loss.dtype)
        return transposed((pull * jnp.ones_like(loss), seeds)), weighted, errors

    def _sum(self, weighted: Any, pulled: jax.Array) -> jax.Array:
        return weighted + self.circuit.scale * pulled


def loss_at(terms: EnergyTerms, errors: NodeArrays) -> jax.Array:
    """The loss at the values with these errors."""
    run = terms.circuit.run(
        terms.params,
        terms.args,
        tap="offset",
        inject=cast_to_nodes(terms.circuit, errors),
        feedback=terms.feedback,
    )
    return run.loss


@dataclass(frozen=True)
class ErrorSpaceEnergy(AbstractEnergy):
    """The energy with free predictions as a function of the errors."""

    @property
    def start(self) -> NodeArrays:
        """Errors of 0: the feed-forward values."""
        return upcast(self.circuit.zeros())

    @property
    def in_error_space(self) -> ErrorSpaceEnergy:
        """The energy itself."""
        return self

    def slope(self, point: NodeArrays, step: Any = None) -> NodeArrays:
        """dE/de of each example: pi e plus the total derivative of the loss."""
        pulled = jax.grad(lambda errors: loss_at(self.terms, errors))(point)
        weighted = self.terms.weighted(point, step)
        factor = self.terms.pull * self.circuit.scale
        return jax.tree.map(lambda e, p: e + factor * p, weighted, pulled)

    def settled(self, point: NodeArrays, residual: Any, steps: Any) -> Settled:
        """The result of inference; one more run computes values and gradients."""
        terms, circuit, errors = self.terms, self.circuit, point
        learned, fixed = circuit.leaves.split(terms.params)
        weighted, held = terms.weighted(errors), cast_to_nodes(circuit, errors)

        def share(learned: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            run = circuit.run(here, terms.args, tap="hold", inject=held)
            products = [inner(weighted[n], p) for n, p in run.sites.items()]
            whole = sum(products, jnp.zeros(())) / circuit.scale
            return terms.pull * run.loss - whole, run.sites

        grads, predictions = jax.grad(share, has_aux=True)(learned)
        values = cast_to_nodes(circuit, jax.tree.map(jnp.add, predictions, errors))
        forward = circuit.run(terms.params, terms.args)
        return Settled(
            forward.loss, forward.aux, grads, values, errors, residual, steps
        )
