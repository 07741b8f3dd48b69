"""Predictions that follow the values: traditional predictive coding.

    dE/dv_n = pi_n e_n - sum_m pi_m <e_m, dp_m/dv_n> + pull dL/dv_n

Whittington & Bogacz 2017. The same energy as a function of the errors,

    E(e) = sum_n pi_n |e_n|^2 / 2 + pull L,     v_n = p_n(v) + e_n,

has the same equilibrium, and a global backward pass for its slope (Goemaere et al.
2025).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import LOSS, Circuit, Run, inner
from .._iteration import written_out
from .._numerics import narrowed, wide
from ._energy import Settled, Terms, Values
from .inference._gradient_descent import Stage

# ---- The active front: which nodes a signal has reached, step by step.
#
# At the feed-forward values there are no errors, and the loss alone pulls. In a step a
# signal passes from a node to those that it is predicted from, and to those that it
# predicts:
#
#     moved_0   = {}
#     erring_t  = moved_t, and what they predict directly
#     moved_t+1 = erring_t, what predicts them, and what the loss reads
#
# All other errors and slopes are exactly 0, and need not be computed.

# Each stage is compiled by itself: few, so that compiling takes as long as so many
# passes whatever the depth; many, so that little is computed that is 0. Of 20 layers
# and 20 steps, 8 gain a factor of 1.67 where a stage for every step gains 1.72 and
# takes 1.5 times as long to compile.
_STAGES = 8


class Front(NamedTuple):
    """Where a signal can be, in a step.

    Attributes:
      erring: the nodes that may have an error.
      moving: the nodes that may have a slope.
    """

    erring: frozenset[str]
    moving: frozenset[str]


def fronts(circuit: Circuit, steps: int) -> list[Front]:
    """The front in each step from the feed-forward values, until it stays the same.

    Inside loops, and where a user's reverse rule may say anything of no error, it is
    everywhere at once.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     for w_l in w:
      ...         x = jnp.tanh(x @ w_l)
      ...     return jnp.mean(x**2)
      >>> w = [jnp.eye(2)] * 4
      >>> circuit = apical.trace(loss_fn)(w, jnp.ones((3, 2)))
      >>> [sorted(front.moving) for front in fronts(circuit, 20)]
      [['2'], ['1', '2'], ['0', '1', '2'], ['0', '1', '2']]
    """
    every = frozenset(node.name for node in circuit.nodes)
    if circuit.has_loop or not circuit.linear_derivatives:
        return [Front(every, every)]
    found: list[Front] = []
    moved: frozenset[str] = frozenset()
    for _ in range(steps):
        front = _next(circuit, moved, free=True)
        if found and front == found[-1]:
            break
        found.append(front)
        moved = front.moving
    return found


def _next(circuit: Circuit, moved: frozenset[str], free: bool) -> Front:
    """The front after these nodes have moved."""
    after = {name: {to for to, _ in reached} for name, reached in circuit.reach.items()}
    predicted = {to for name in moved for to in after[name] if free and to is not LOSS}
    erring = moved | predicted
    pulls = {LOSS, *erring}
    return Front(erring, erring | {name for name in after if after[name] & pulls})


def needed_sweeps(
    circuit: Circuit, free: bool, visits: Sequence[Sequence[str]]
) -> dict[str, int]:
    """How many sweeps a signal needs to come to each node; not told inside loops."""
    found: dict[str, int] = {}
    moved: frozenset[str] = frozenset()
    if circuit.has_loop or not circuit.linear_derivatives:
        return found
    for sweep in range(1, len(circuit.nodes) + 1):
        for visit in visits:
            moved |= _next(circuit, moved, free).moving & set(visit)
        for name in _next(circuit, moved, free).erring:
            found.setdefault(name, sweep)
    return {name: found[name] for name in circuit.reach if name in found}


def needed_steps(circuit: Circuit, free: bool, steps: int) -> dict[str, int]:
    """How many steps a signal needs to come to each node, in forward order.

    Where predictions are free it also comes from below, by a prediction that moved;
    what is heard so in these steps is as near as they are.
    """
    found = circuit.distances
    if not free or circuit.has_loop or not circuit.linear_derivatives:
        return found
    last = fronts(circuit, steps)[-1]
    heard = last.erring | last.moving
    return {n: min(d, steps) if n in heard else d for n, d in found.items()}


def stages(circuit: Circuit, steps: int, written_out: bool) -> list[tuple[Front, int]]:
    """Steps in a row with one front that covers them all: the front, and how many.

    Args:
      circuit: of the loss function.
      steps: how many there are in all.
      written_out: whether each step is compiled by itself anyway.
    """
    each = fronts(circuit, steps)
    length = 1 if written_out else -(-len(each) // _STAGES)
    # The last front stays, so that its stage takes all the steps that are left.
    firsts = range(0, len(each), length)
    ends = [*firsts[1:], steps]
    return [
        (each[min(end, len(each)) - 1], end - first)
        for first, end in zip(firsts, ends, strict=True)
    ]


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
        learned, fixed = self.circuit.leaves.split(self.terms.params)

        def network(learned: Any, values: Values) -> Any:
            return self._network(self.circuit.leaves.combine(learned, fixed), values)

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
        learned, fixed = circuit.leaves.split(terms.params)
        weighted, held = terms.weighted(errors), narrowed(circuit, errors)

        def share(learned: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
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
