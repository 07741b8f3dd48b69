"""Dual propagation: each unit has two compartments, whose difference is the error.

    s+_n = rho(z_n + a b_n),    s-_n = rho(z_n - (1 - a) b_n),
    b_n = sum_m <s+_m - s-_m, dz_m/ds_n> - nudge dL/ds_n,

with drives, their derivatives and the loss evaluated at the mean s = a s+ + (1 - a) s-.
Høier, Staudt & Zach 2023.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from .._base import Credit, Rule, SearchSpace, Signal, rule, static
from .._call_checks import warn_of_unreached_nodes
from .._field_checks import check_fraction, check_positive, check_whole
from .._iteration import repeat
from .._numerics import NodeArrays, squared_norm
from ._energy import require_units, strengths
from ._settling import Units, damped_step, residuals


class Pair(NamedTuple):
    """The two compartments of every unit."""

    plus: NodeArrays
    minus: NodeArrays

    @property
    def difference(self) -> NodeArrays:
        """s+ - s-."""
        return jax.tree.map(jnp.subtract, self.plus, self.minus)


@rule
class DualPropagation(Rule):
    """Encode the error in the difference of two compartments, and learn from it.

        dtheta = -(1/nudge) sum_n <s+_n - s-_n, dz_n/dtheta(s)> + dL/dtheta(s)

    Both compartments start at the feed-forward values, and all are updated in parallel,
    so the loss reaches every unit after as many steps as the longest path of nodes. The
    two phases of a contrast are computed simultaneously. As nudge -> 0 it is
    backpropagation, with an error of O(nudge^2) for `balance` 1/2 and O(nudge)
    otherwise. The loss enters by its gradient at the mean (the paper solves for the
    output units; the two agree to first order in the nudge). The trained network is the
    feed-forward one.

    Args:
      nudge: beta of the paper, the strength of the loss.
      balance: a above (alpha of the paper), from 0 to 1.
      steps: the number of steps; None: one more than the longest path of nodes, so that
        the last step shows whether the units have settled.
      rate: the step size: at 1 a unit jumps to its new value; smaller values damp.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.DualPropagation())
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> grads = learner(w, state, x).grads
      >>> bool(jnp.allclose(grads["a"], jax.grad(loss_fn)(w, x)["a"], rtol=0.05))
      True

    Raises:
      ValueError: in `init`, without units; if two synapses follow each other with no
        unit between; if examples depend on each other (batch norm).

    Source: Høier, Staudt & Zach 2023, ICML (Dual Propagation: Accelerating Contrastive
    Hebbian Learning with Dyadic Neurons).
    """

    nudge: float = 0.1
    balance: float = 0.5
    steps: int | None = static(default=None)
    rate: float = 1.0

    citation: ClassVar[str] = (
        "@inproceedings{hoier2023dual, title={Dual Propagation: Accelerating "
        "Contrastive Hebbian Learning with Dyadic Neurons}, author={H{\\o}ier, Rasmus "
        "and Staudt, D. and Zach, Christopher}, booktitle={ICML}, year={2023}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "update locking",
        "signed error units",
    )
    search_space: ClassVar[SearchSpace] = {"nudge": (0.01, 1.0, "log")}
    nodes: ClassVar[str] = "unit"

    def __post_init__(self) -> None:
        check_positive(self.nudge, "nudge")
        check_fraction(self.balance, "balance")
        check_positive(self.rate, "rate")
        if self.steps is not None:
            check_whole(self.steps, "steps")

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Check that every synapse drives one unit, or the loss."""
        del key
        require_units(circuit, params, args, type(self).__name__, may_be_flat=True)
        if self.steps is not None:
            warn_of_unreached_nodes(type(self).__name__, self.steps, circuit.distances)
        return ()

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Settle both compartments, and pull their difference back."""
        units, pair, info, forward = self._settle(circuit, params, args)
        mean, gap = self._mean(pair), pair.difference

        def objective(learned: Any) -> Any:
            product = units.product(learned, mean, gap, self.nudge)
            return -product / (self.nudge * circuit.scale)

        grads = jax.grad(objective)(circuit.leaves.split(params)[0])
        built = circuit.leaves.combine(grads)
        return Credit(forward.loss, forward.aux, built, state, info)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The means; the teaching signal is the gradient at the drive."""
        del state
        units, pair, _, _ = self._settle(circuit, params, args)
        mean, scale = self._mean(pair), -1 / (self.nudge * circuit.scale)
        teaching = jax.tree.map(lambda gap: scale * gap, pair.difference)
        rest = units.at_rest(mean)
        return {n: Signal(v, rest.sites[n], teaching[n]) for n, v in mean.items()}

    def _mean(self, pair: Pair) -> NodeArrays:
        return damped_step(pair.minus, pair.plus, self.balance)

    def _settle(self, circuit: Circuit, params: Any, args: Any) -> Any:
        units = Units(circuit, params, args, strengths(circuit, 1.0))
        forward = circuit.run(params, args)
        steps = circuit.depth + 1 if self.steps is None else self.steps

        def step(pair: Pair) -> Pair:
            mean = self._mean(pair)
            drives, feedback = units.feedback(mean, pair.difference, self.nudge)

            def compartment(old: NodeArrays, part: Any) -> NodeArrays:
                total = jax.tree.map(
                    lambda z, b: z + jnp.asarray(part, b.dtype) * b, drives, feedback
                )
                return damped_step(old, units.respond(mean, total), self.rate)

            return Pair(
                compartment(pair.plus, self.balance),
                compartment(pair.minus, self.balance - 1),
            )

        start = Pair(forward.sites, forward.sites)
        before = repeat(circuit, step, start, steps - 1)
        pair = step(before)
        moved = squared_norm(jax.tree.map(jnp.subtract, pair, before)) / 2
        size = squared_norm(pair.difference) * jnp.square(jnp.asarray(self.rate, float))
        return units, pair, residuals(moved, size), forward
