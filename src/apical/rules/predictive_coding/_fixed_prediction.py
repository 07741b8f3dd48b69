"""Fixed predictions: inference with predictions held at their feed-forward values.

With p_n and its derivatives fixed, dE/dv of one example is affine in the errors,

    dE/dv = e - A e + c,    (A e)_n = sum_m <e_m, dp_m/dv_n>,    c_n = pull dL/dv_n

(with a precision, pi e in place of e) and A^k = 0 for k at least the length of the
longest path of nodes. Millidge et al. 2020; Rosenbaum 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import scan
from .._iteration import repeat
from .._local_derivatives import LocalDerivatives, local_derivatives
from .._numerics import NodeArrays, cast_to_nodes, relative_norm, upcast
from ._energy import AbstractEnergy, EnergyTerms, Settled


@dataclass(frozen=True)
class FixedPredictionEnergy(AbstractEnergy):
    """The energy with fixed predictions; its points are errors.

    Attributes:
      network: the local derivatives.
      in_own_units: whether the slope at each node is divided by its precision. A step
        of size 1 is then exact for the node, and as many steps as the longest path has
        nodes reach the equilibrium, whatever the precisions.
    """

    network: LocalDerivatives
    in_own_units: bool = False

    @classmethod
    def of(
        cls, terms: EnergyTerms, *, in_own_units: bool = False
    ) -> FixedPredictionEnergy:
        """Run forward once and keep the local derivatives."""
        network = local_derivatives(
            terms.circuit,
            terms.params,
            terms.args,
            feedback=terms.feedback,
            derivative=terms.derivative,
        )
        return cls(terms, network, in_own_units)

    @property
    def start(self) -> NodeArrays:
        """Errors of 0: the feed-forward values."""
        return upcast(self.circuit.zeros())

    @property
    def in_error_space(self) -> AbstractEnergy:
        """The energy itself: its points are errors."""
        return self

    def slope(self, point: NodeArrays, step: Any = None) -> NodeArrays:
        """dE/dv of each example: pi e - A pi e + c."""
        scale, weighted = self.circuit.scale, self.terms.weighted(point, step)
        pulled = self.network.pull(self.terms.pull, weighted)[1]
        found = jax.tree.map(lambda e, p: e + scale * p, weighted, pulled)
        if not self.in_own_units or self.terms.precision is None:
            return found
        own = self.terms.weighted(jax.tree.map(jnp.ones_like, found), step)
        return jax.tree.map(jnp.divide, found, own)

    def settled(self, point: NodeArrays, residual: Any, steps: Any) -> Settled:
        """The result of inference, with the gradients of the parameters."""
        network = self.network
        grads = network.pull(self.terms.pull, self.terms.weighted(point))[0]
        moved = cast_to_nodes(
            self.circuit, jax.tree.map(jnp.add, network.values, point)
        )
        return Settled(network.value, network.aux, grads, moved, point, residual, steps)


def relax_in_closed_form(
    energy: FixedPredictionEnergy, steps: int, rate: Any
) -> Settled:
    """The errors after `steps` gradient steps, and the relative residual at the last.

        e_T = - sum_k a_k A^k c,     a_k = P[Binomial(T, rate) > k]

    The recursion e <- e - rate (e - A e + c) stays in the span of c, A c, A^2 c, ...,
    so only its coefficients are iterated, and A is applied only as many times as the
    longest path has nodes.
    """
    circuit, zeros = energy.circuit, energy.start
    terms = max(min(steps, circuit.depth), 1)
    weights, slopes = coefficients(steps, rate, terms)
    first = energy.slope(zeros)  # c

    def add(k: Any, power: NodeArrays, errors: NodeArrays, slope: NodeArrays) -> Any:
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
        pulled = energy.network.pull(0.0, power)[1]
        return k + 1, jax.tree.map(lambda p: -circuit.scale * p, pulled), *sums

    state = repeat(circuit, term, (jnp.zeros((), int), first, zeros, zeros), terms - 1)
    errors, last = add(*state)  # no pull after the last power
    return energy.settled(errors, relative_norm(last, first), steps)


def coefficients(steps: int, rate: Any, terms: int) -> tuple[jax.Array, jax.Array]:
    """The a_k after all steps, and the coefficients of dE/dv at the last step.

    Computed with NumPy for a known rate, in a loop for a traced one.
    """
    unit = np.eye(1, terms)[0]

    def slope(weights: Any, numpy: Any) -> Any:
        before = numpy.concatenate([numpy.zeros(1), weights[:-1]])
        return unit + before - weights

    if isinstance(rate, (int, float)):
        weights = last = np.zeros(terms)
        with np.errstate(all="ignore"):  # a diverging rate overflows
            for _ in range(steps):
                last = slope(weights, np)
                weights = weights + rate * last
        return jnp.asarray(weights, float), jnp.asarray(last, float)

    def step(weights: Any, _: Any) -> Any:
        last = slope(weights, jnp)
        return weights + rate * last, last

    weights, slopes = scan(step, jnp.zeros(terms), length=steps)
    return weights, slopes[-1]


def sweep_exactly(terms: EnergyTerms) -> Settled:
    """One back-to-front sweep at rate 1: each node is set to its minimum in turn.

    The minimum of node n, given those after it, is e_n = (A e)_n - c_n: reverse-mode
    differentiation, node by node, also inside loops. So a single reverse pass computes
    the sweep; its cotangents at the nodes are -e.
    """
    circuit = terms.circuit
    learned, fixed = circuit.leaves.split(terms.params)

    def network(learned: Any, errors: NodeArrays) -> Any:
        here = circuit.leaves.combine(learned, fixed)
        run = circuit.run(
            here,
            terms.args,
            tap="offset",
            inject=cast_to_nodes(circuit, errors),
            feedback=terms.feedback,
        )
        return terms.pull * run.loss, (run.loss, run.aux, run.sites)

    gradient = jax.grad(network, argnums=(0, 1), has_aux=True)
    (grads, cotangents), (value, aux, values) = gradient(
        learned, upcast(circuit.zeros())
    )
    errors = jax.tree.map(lambda c: -circuit.scale * c, cotangents)
    settled = cast_to_nodes(circuit, jax.tree.map(jnp.add, values, errors))
    return Settled(value, aux, grads, settled, errors, jnp.zeros(()), 1)
