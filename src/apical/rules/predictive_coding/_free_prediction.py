"""Predictions that follow the values: traditional predictive coding.

    dE/dv_n = pi_n e_n - sum_m pi_m <e_m, dp_m/dv_n> + pull dL/dv_n

Whittington & Bogacz 2017. The same energy as a function of the errors,

    E(e) = sum_n pi_n |e_n|^2 / 2 + pull L,     v_n = p_n(v) + e_n,

has the same equilibrium, and a global backward pass for its slope (Goemaere et al.
2025).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp

from ...circuit import Circuit, Run, inner
from .._rule import narrowed, wide
from ._energy import Terms, Values
from ._front import Front, stages
from ._relaxation import Stage, written_out
from ._settled import Settled


@dataclass(frozen=True)
class Free:
    """The energy with free predictions; its points are values."""

    terms: Terms

    @property
    def circuit(self) -> Circuit:
        """Of the loss function."""
        return self.terms.circuit

    @cached_property
    def forward(self) -> Run:
        """The undisturbed forward pass."""
        return self.circuit.run(self.terms.params, self.terms.args)

    @property
    def start(self) -> Values:
        """The feed-forward values."""
        return wide(self.forward.sites)

    def slope(
        self, values: Values, tick: Any = None, front: Front | None = None
    ) -> Values:
        """dE/dv of one example; 0 where no signal has been."""
        erring = None if front is None else front.erring
        moving = {n: v for n, v in values.items() if not front or n in front.moving}

        def network(moving: Values) -> Any:
            return self._network(self.terms.params, {**values, **moving}, erring)

        (pulled,), weighted, _ = self._pulled(network, (moving,), values, tick)
        return {
            n: self._sum(weighted.get(n, 0), pulled[n])
            if n in moving
            else jnp.zeros_like(v)
            for n, v in values.items()
        }

    def stages(self, steps: int) -> list[Stage]:
        """Steps from the feed-forward values: at first few nodes have a slope."""
        found = stages(self.circuit, steps, written_out(self.circuit, steps))
        return [(partial(self.slope, front=front), count) for front, count in found]

    def settled(self, values: Values, residual: Any, steps: Any) -> Settled:
        """Where inference ended, with the gradients of the parameters."""
        grads, _, errors = self.pulled(values)
        loss, aux, _ = self.forward
        moved = narrowed(self.circuit, values)
        return Settled(loss, aux, grads, moved, errors, residual, steps)

    def pulled(
        self, values: Values, tick: Any = None
    ) -> tuple[list[jax.Array], Values, Values]:
        """What errors pull at parameters and at values, and the errors."""
        learned, fixed = self.circuit.leaves.pick(self.terms.params)

        def network(learned: Any, values: Values) -> Any:
            return self._network(self.circuit.leaves.build(learned, fixed), values)

        at = (learned, values)
        (grads, pulled), weighted, errors = self._pulled(network, at, values, tick)
        return grads, jax.tree.map(self._sum, weighted, pulled), errors

    def _network(
        self, params: Any, values: Values, erring: Collection[str] | None = None
    ) -> Any:
        """The loss and what (given) errors are pulled through; the predictions."""
        terms, sites = self.terms, self.terms.sites
        run = self.circuit.run(
            params,
            terms.args,
            tap="clamp",
            inject=narrowed(self.circuit, values),
            parallel=True,
            feedback=terms.feedback,
            sites=terms.visited,
        )
        through = {
            n: run.sites[sites[n]] for n in (sites if erring is None else erring)
        }
        return (run.loss, through), run.sites

    def _pulled(
        self,
        network: Callable[..., Any],
        at: tuple[Any, ...],
        values: Values,
        tick: Any,
    ) -> tuple[Any, Values, Values]:
        """What errors pull at the arguments of a network, pi e, and e.

        Each error is pulled through a site of its own, so that this need not be the
        gradient of an energy. What is not used of it costs nothing once compiled.
        """
        (loss, through), transposed, found = jax.vjp(network, *at, has_aux=True)
        errors = {n: values[n] - found[n] for n in through}
        weighted = self.terms.weighted(errors, tick)
        seeds = {n: -e / self.circuit.scale for n, e in weighted.items()}
        seeds = narrowed(self.circuit, seeds)
        pull = jnp.asarray(self.terms.pull, loss.dtype)
        return transposed((pull * jnp.ones_like(loss), seeds)), weighted, errors

    def _sum(self, weighted: Any, pulled: jax.Array) -> jax.Array:
        return weighted + self.circuit.scale * pulled


@dataclass(frozen=True)
class FreeErrors:
    """The energy with free predictions as a function of the errors."""

    terms: Terms

    @property
    def circuit(self) -> Circuit:
        """Of the loss function."""
        return self.terms.circuit

    @property
    def start(self) -> Values:
        """No errors: the feed-forward values."""
        return wide(self.circuit.zeros())

    def stages(self, steps: int) -> list[Stage]:
        """All steps alike: a signal reaches every node at once."""
        return [(self.slope, steps)]

    def slope(self, errors: Values, tick: Any = None) -> Values:
        """dE/de of one example: pi e, and the whole derivative of the loss."""
        pulled = jax.grad(self._loss)(errors)
        weighted, factor = self.terms.weighted(errors, tick), self._factor
        return jax.tree.map(lambda e, p: e + factor * p, weighted, pulled)

    @property
    def _factor(self) -> Any:
        return self.terms.pull * self.circuit.scale

    def _loss(self, errors: Values) -> jax.Array:
        terms = self.terms
        run = self.circuit.run(
            terms.params,
            terms.args,
            tap="offset",
            inject=narrowed(self.circuit, errors),
            feedback=terms.feedback,
        )
        return run.loss

    def settled(self, errors: Values, residual: Any, steps: Any) -> Settled:
        """Where inference ended; one more run gives values and gradients."""
        terms, circuit = self.terms, self.circuit
        learned, fixed = circuit.leaves.pick(terms.params)
        weighted, held = terms.weighted(errors), narrowed(circuit, errors)

        def share(learned: Any) -> Any:
            here = circuit.leaves.build(learned, fixed)
            run = circuit.run(here, terms.args, tap="hold", inject=held)
            products = [inner(weighted[n], p) for n, p in run.sites.items()]
            whole = sum(products, jnp.zeros(())) / circuit.scale
            return terms.pull * run.loss - whole, run.sites

        grads, predictions = jax.grad(share, has_aux=True)(learned)
        values = narrowed(circuit, jax.tree.map(jnp.add, predictions, errors))
        forward = circuit.run(terms.params, terms.args)
        return Settled(
            forward.loss, forward.aux, grads, values, errors, residual, steps
        )
