"""Predictions fixed at their feed-forward values: inference is linear.

With p_n and its derivatives fixed, dE/dv of one example is affine in the errors,

    dE/dv = e - A e + c,     (A e)_n = sum_m <e_m, dp_m/dv_n>,     c_n = dL/dv_n

and A^k = 0 for k as large as the longest path of nodes. Millidge et al. 2020;
Rosenbaum 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..circuit import Circuit
from ._inference import Settled, repeat
from ._rule import squared_norm

Errors = dict[str, jax.Array]


@dataclass(frozen=True)
class Linear:
    """The forward pass, and its local derivatives at the feed-forward values."""

    circuit: Circuit
    value: jax.Array
    aux: Any
    values: Errors
    transposed: Callable[[tuple[Any, Errors]], tuple[list[jax.Array], Errors]]

    def pull(self, loss: float, errors: Errors) -> tuple[list[jax.Array], Errors]:
        """`loss dL - sum_n <e_n, dp_n> / scale`, to parameters and to values.

        In the units of the loss, so that a user's derivative rule that is not linear
        (a clipped gradient) sees what it sees in backpropagation.
        """
        scale = self.circuit.scale
        seeds = jax.tree.map(lambda e: -e / scale, errors)
        return self.transposed((jnp.full_like(self.value, loss), seeds))

    def slope(self, errors: Errors) -> Errors:
        """dE/dv of one example: e - A e + c."""
        scale, pulled = self.circuit.scale, self.pull(1.0, errors)[1]
        return jax.tree.map(lambda e, p: e + scale * p, errors, pulled)

    def settled(self, errors: Errors, residual: Any) -> Settled:
        """Where inference ended, with the gradients of the parameters."""
        grads = self.pull(1.0, errors)[0]
        values = jax.tree.map(jnp.add, self.values, errors)
        return Settled(self.value, self.aux, grads, values, errors, residual)


def linearise(circuit: Circuit, params: Any, args: Any) -> Linear:
    """Run forward once and keep the local derivatives, no chain crossing a node."""
    learned, fixed = circuit.leaves.pick(params)
    # The steps of a loop are independent once its values are known.
    start = circuit.run(params, args) if circuit.parallel else None

    def network(learned: Any, errors: Errors) -> Any:
        here = circuit.leaves.build(learned, fixed)
        if start is None:
            run = circuit.run(here, args, tap="hold", inject=errors)
        else:
            held = jax.tree.map(jnp.add, start.sites, errors)
            run = circuit.run(here, args, tap="clamp", inject=held, parallel=True)
        return (run.loss, run.sites), run.aux

    (value, values), transposed, aux = jax.vjp(
        network, learned, circuit.zeros(), has_aux=True
    )
    if start is not None:
        value, aux, values = start.loss, start.aux, start.sites
    return Linear(circuit, value, aux, values, transposed)


def relax_in_closed_form(linear: Linear, steps: int, rate: Any) -> tuple[Errors, Any]:
    """The errors after `steps` gradient steps, and the relative residual at the last.

        e_T = - sum_k a_k A^k c,     a_k = P[Binomial(T, rate) > k]

    The recursion e <- e - rate (e - A e + c) never leaves the span of c, A c, A^2 c,
    ..., so only its coefficients are stepped, and A is applied as often as the longest
    path is long.
    """
    circuit = linear.circuit
    terms = max(min(steps, circuit.depth), 1)
    after, before = coefficients(steps, rate, terms)
    zeros = circuit.zeros()
    first = linear.slope(zeros)  # c

    def term(state: Any) -> Any:
        k, power, errors, last = state
        errors = jax.tree.map(
            lambda e, p: e - after[k].astype(e.dtype) * p, errors, power
        )
        change = (after[k] - before[k]) / rate
        last = jax.tree.map(lambda g, p: g + change.astype(g.dtype) * p, last, power)
        pulled = linear.pull(0.0, power)[1]
        power = jax.tree.map(lambda p: -circuit.scale * p, pulled)
        return k + 1, power, errors, last

    state = (jnp.zeros((), int), first, zeros, zeros)
    # The last power needs no further pull, so it is added outside of the loop.
    k, power, errors, last = repeat(circuit, term, state, terms - 1)
    errors = jax.tree.map(lambda e, p: e - after[k].astype(e.dtype) * p, errors, power)
    change = (after[k] - before[k]) / rate
    last = jax.tree.map(lambda g, p: g + change.astype(g.dtype) * p, last, power)
    return errors, jnp.sqrt(squared_norm(last) / squared_norm(first))


def coefficients(steps: int, rate: Any, terms: int) -> tuple[jax.Array, jax.Array]:
    """The a_k after all steps and before the last, by the recursion of the errors."""
    concrete = isinstance(rate, (int, float))
    numpy: Any = np if concrete else jnp
    now = before = numpy.zeros(terms)
    unit = np.eye(1, terms)[0]
    for _ in range(steps):
        shifted = numpy.concatenate([numpy.zeros(1), now[:-1]])
        before, now = now, (1 - rate) * now + rate * (shifted + unit)
    return jnp.asarray(now, float), jnp.asarray(before, float)


def sweep(linear: Linear, visits: Sequence[str], rate: Any) -> tuple[Errors, Any]:
    """Move one node after the other by `rate` towards its minimum."""
    errors = linear.circuit.zeros()
    first = last = jnp.zeros(())
    for i, name in enumerate(visits):
        # Only this node's part of the slope is used, so only that is computed.
        part = linear.slope(errors)[name]
        errors = {**errors, name: errors[name] - jnp.asarray(rate, part.dtype) * part}
        last = jnp.sqrt(squared_norm(part))
        first = last if i == 0 else first
    return errors, last / first


def sweep_exactly(circuit: Circuit, params: Any, args: Any) -> Settled:
    """One back-to-front sweep at rate 1: each node takes its minimum in turn.

    The minimum of node n, given those after it, is e_n = (A e)_n - c_n: reverse-mode
    differentiation, node by node, also inside loops. So it is done by one reverse
    pass, whose cotangents at the nodes are -e.
    """
    learned, fixed = circuit.leaves.pick(params)

    def network(learned: Any, errors: Errors) -> Any:
        here = circuit.leaves.build(learned, fixed)
        run = circuit.run(here, args, tap="offset", inject=errors)
        return run.loss, (run.aux, run.sites)

    gradient = jax.value_and_grad(network, argnums=(0, 1), has_aux=True)
    (value, (aux, values)), (grads, cotangents) = gradient(learned, circuit.zeros())
    errors = jax.tree.map(lambda c: -circuit.scale * c, cotangents)
    settled = jax.tree.map(jnp.add, values, errors)
    return Settled(value, aux, grads, settled, errors, jnp.zeros(()))
