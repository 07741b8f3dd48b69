"""Predictions fixed at their feed-forward values: inference is linear.

With p_n and its derivatives fixed, dE/dv of one example is affine in the errors,

    dE/dv = e - A e + c,    (A e)_n = sum_m <e_m, dp_m/dv_n>,    c_n = pull dL/dv_n

(with a precision, pi e in place of e) and A^k = 0 for k as large as the longest path
of nodes. Millidge et al. 2020; Rosenbaum 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import Circuit
from .._iteration import repeat
from .._numerics import narrowed, relative_norm, wide
from ._energy import Settled, Terms
from .inference._gradient_descent import Stage

Errors = dict[str, jax.Array]


@dataclass(frozen=True)
class Linear:
    """The forward pass, and its local derivatives at the feed-forward values.

    Its points are errors: `start` are those of the feed-forward values.
    """

    terms: Terms
    value: jax.Array
    aux: Any
    values: Errors
    transposed: Callable[[tuple[Any, Errors]], tuple[list[jax.Array], Errors]]

    @property
    def circuit(self) -> Circuit:
        """Of the loss function."""
        return self.terms.circuit

    @property
    def start(self) -> Errors:
        """No errors."""
        return wide(self.circuit.zeros())

    def stages(self, steps: int) -> list[Stage]:
        """All steps alike."""
        return [(self.slope, steps)]

    def pull(self, loss: Any, errors: Errors) -> tuple[list[jax.Array], Errors]:
        """`loss dL - sum_n <e_n, dp_n> / scale`, to parameters and to values.

        In the units of the loss, so that a user's derivative rule that is not linear
        (a clipped gradient) sees what it sees in backpropagation.
        """
        scale = self.circuit.scale
        seeds = {n: -e / scale for n, e in errors.items()}
        seeds = narrowed(self.circuit, seeds)
        seed = jnp.asarray(loss, self.value.dtype) * jnp.ones_like(self.value)
        return self.transposed((seed, seeds))

    def slope(self, errors: Errors, tick: Any = None) -> Errors:
        """dE/dv of one example: pi e - A pi e + c."""
        scale, weighted = self.circuit.scale, self.terms.weighted(errors, tick)
        pulled = self.pull(self.terms.pull, weighted)[1]
        return jax.tree.map(lambda e, p: e + scale * p, weighted, pulled)

    def settled(self, errors: Errors, residual: Any, steps: Any) -> Settled:
        """Where inference ended, with the gradients of the parameters."""
        grads = self.pull(self.terms.pull, self.terms.weighted(errors))[0]
        moved = narrowed(self.circuit, jax.tree.map(jnp.add, self.values, errors))
        return Settled(self.value, self.aux, grads, moved, errors, residual, steps)


def linearise(terms: Terms) -> Linear:
    """Run forward once and keep the local derivatives, no chain crossing a node."""
    circuit, args, sites = terms.circuit, terms.args, terms.sites
    learned, fixed = circuit.leaves.split(terms.params)
    # The steps of a loop are independent once its values are known.
    start = circuit.run(terms.params, args) if circuit.structure.parallel else None

    def network(learned: Any, errors: Errors) -> Any:
        here = circuit.leaves.combine(learned, fixed)
        errors = narrowed(circuit, errors)
        how: dict[str, Any] = {"feedback": terms.feedback, "sites": terms.visited}
        if start is None:
            run = circuit.run(here, args, tap="hold", inject=errors, **how)
        else:
            held = jax.tree.map(jnp.add, start.sites, errors)
            run = circuit.run(
                here, args, tap="clamp", inject=held, parallel=True, **how
            )
        pulled = {n: run.sites[site] for n, site in sites.items()}
        return (run.loss, pulled), (run.aux, {n: run.sites[n] for n in sites})

    (value, _), transposed, (aux, values) = jax.vjp(
        network, learned, wide(circuit.zeros()), has_aux=True
    )
    if start is not None:
        value, aux, values = start.loss, start.aux, start.sites
    return Linear(terms, value, aux, values, transposed)


def relax_in_closed_form(linear: Linear, steps: int, rate: Any) -> Settled:
    """The errors after `steps` gradient steps, and the relative residual at the last.

        e_T = - sum_k a_k A^k c,     a_k = P[Binomial(T, rate) > k]

    The recursion e <- e - rate (e - A e + c) never leaves the span of c, A c, A^2 c,
    ..., so only its coefficients are stepped, and A is applied as often as the longest
    path is long.
    """
    circuit, zeros = linear.circuit, linear.start
    terms = max(min(steps, circuit.depth), 1)
    weights, slopes = coefficients(steps, rate, terms)
    first = linear.slope(zeros)  # c

    def add(k: Any, power: Errors, errors: Errors, slope: Errors) -> Any:
        errors = jax.tree.map(
            lambda e, p: e - weights[k].astype(p.dtype) * p, errors, power
        )
        slope = jax.tree.map(
            lambda s, p: s + slopes[k].astype(p.dtype) * p, slope, power
        )
        return errors, slope

    def term(state: Any) -> Any:
        k, power, *sums = state
        sums = add(k, power, *sums)
        pulled = linear.pull(0.0, power)[1]
        return k + 1, jax.tree.map(lambda p: -circuit.scale * p, pulled), *sums

    state = repeat(circuit, term, (jnp.zeros((), int), first, zeros, zeros), terms - 1)
    errors, last = add(*state)  # the last power needs no further pull
    return linear.settled(errors, relative_norm(last, first), steps)


def coefficients(steps: int, rate: Any, terms: int) -> tuple[jax.Array, jax.Array]:
    """The a_k after all steps, and those of dE/dv at the last, by the recursion.

    A known rate is stepped at once, a traced one in a loop.
    """
    unit = np.eye(1, terms)[0]

    def slope(weights: Any, numpy: Any) -> Any:
        before = numpy.concatenate([numpy.zeros(1), weights[:-1]])
        return unit + before - weights

    if isinstance(rate, (int, float)):
        weights = last = np.zeros(terms)
        with np.errstate(all="ignore"):  # a rate that diverges gives no number
            for _ in range(steps):
                last = slope(weights, np)
                weights = weights + rate * last
        return jnp.asarray(weights, float), jnp.asarray(last, float)

    def step(weights: Any, _: Any) -> Any:
        last = slope(weights, jnp)
        return weights + rate * last, last

    weights, slopes = jax.lax.scan(step, jnp.zeros(terms), length=steps)
    return weights, slopes[-1]


def sweep_exactly(terms: Terms) -> Settled:
    """One back-to-front sweep at rate 1: each node takes its minimum in turn.

    The minimum of node n, given those after it, is e_n = (A e)_n - c_n: reverse-mode
    differentiation, node by node, also inside loops. So it is done by one reverse
    pass, whose cotangents at the nodes are -e.
    """
    circuit = terms.circuit
    learned, fixed = circuit.leaves.split(terms.params)

    def network(learned: Any, errors: Errors) -> Any:
        here = circuit.leaves.combine(learned, fixed)
        run = circuit.run(
            here,
            terms.args,
            tap="offset",
            inject=narrowed(circuit, errors),
            feedback=terms.feedback,
        )
        return terms.pull * run.loss, (run.loss, run.aux, run.sites)

    gradient = jax.grad(network, argnums=(0, 1), has_aux=True)
    (grads, cotangents), (value, aux, values) = gradient(learned, wide(circuit.zeros()))
    errors = jax.tree.map(lambda c: -circuit.scale * c, cotangents)
    settled = narrowed(circuit, jax.tree.map(jnp.add, values, errors))
    return Settled(value, aux, grads, settled, errors, jnp.zeros(()), 1)
