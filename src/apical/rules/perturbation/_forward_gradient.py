"""Forward gradient: the slope along a random direction, times that direction.

    g = (dL/dtheta . v) v,        v ~ N(0, I)                  (at the weights)
    delta_n = (dL_i/ds . u) u_n,  u ~ N(0, I)                  (at the activities)

The slope is exact, computed with the forward pass by forward-mode differentiation.
Baydin et al. 2022 (weights), Ren et al. 2023 (activities).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from .._base import Credit, Rule, rule, static
from .._field_checks import check_choice, check_whole
from .._numerics import NodeArrays, fold_in_name
from ._activity_estimates import (
    ActivityEstimate,
    Losses,
    credit_of,
    estimate,
    perturbed_sites,
    require_perturbable,
    signals_of,
)
from ._random_directions import KINDS, correlation, draw, require_real
from ._weight_estimates import leaf_types, loss_of, map_over_draws, mean_of_slopes


@rule
class ForwardGradient(Rule):
    """The exact slope of the loss along random directions, times these directions.

        weights:     g       = mean_k (dL/dtheta . v_k) v_k
        activities:  delta_n = mean_k (dL_i/ds . u_k) u_kn     for each example i

    Unbiased, since E[v v^T] = I. With N entries (all parameters; or all activities of
    one example, including the output) the variance is (N + 1)/directions times the
    squared norm of the true gradient (or of an example's teaching signals). So at the
    weights it works on small networks only; at the activities it scales somewhat
    further. Ren et al. also use local losses on groups of units, whose N is small.

    It is the limit of `WeightPerturbation` (at the weights) and of `NodePerturbation`
    (at the activities) as the noise goes to 0.

    State: a key.

    Args:
      at: `"weights"` or `"activities"`.
      directions: the number of directions, in one mapped call.
      kind: `"normal"` directions, or random signs, `"sign"` (variance N - 1).

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((x @ w) ** 2)
      >>> w, x = jnp.ones((2, 1)), jnp.eye(2)
      >>> rule = apical.rules.ForwardGradient(directions=2000)
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> credit = learner(w, learner.init(jax.random.key(0), w, x), x)
      >>> bool(jnp.allclose(credit.grads, jax.grad(loss_fn)(w, x), atol=0.1))
      True

    Raises:
      ValueError: in `init`, if the model has a custom reverse-mode derivative
        (`jax.custom_vjp`), which has no forward mode; for complex numbers; at the
        activities, in the cases of `NodePerturbation`.

    Source: Baydin, Pearlmutter, Syme, Wood & Torr 2022, arXiv:2202.08587; Ren,
    Kornblith, Liao & Hinton 2023, ICLR.
    """

    at: str = static(default="weights")
    directions: int = static(default=1)
    kind: str = static(default="normal")

    @property
    def citation(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> str:
        """The paper of the chosen space."""
        return _BAYDIN if self.at == "weights" else _REN

    @property
    def needs(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[str, ...]:
        """At the weights no activities are stored for a backward pass."""
        kept = () if self.at == "weights" else ("stored activities",)
        found = ("global reward", *kept, "derivative of the nonlinearity")
        return (*found, "update locking")

    def __post_init__(self) -> None:
        check_choice(self.at, "at", ("weights", "activities"))
        check_whole(self.directions, "directions")
        check_choice(self.kind, "kind", KINDS)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """A key, with the rule's name folded in."""
        if not circuit.linear_derivatives:
            raise ValueError(
                "ForwardGradient differentiates forward, and the model has a "
                "derivative that is written for reverse mode alone "
                "(`jax.custom_vjp`). Write it by `jax.custom_jvp`, or use "
                "`WeightPerturbation` or `NodePerturbation`."
            )
        if self.at == "activities":
            require_perturbable(circuit, params, args, "ForwardGradient")
        else:
            require_real(leaf_types(circuit, params), "ForwardGradient")
        return fold_in_name(key, "apical.ForwardGradient")

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One forward pass with its slopes, all directions in one mapped call."""
        now, later = jax.random.split(state)
        if self.at == "activities":
            return credit_of(self._estimate(circuit, params, now, args), later)
        run = circuit.run(params, args, sites=())
        learned, loss = loss_of(circuit, params, args)
        directions = draw(now, learned, self.directions, self.kind)

        def slope(direction: Any) -> jax.Array:
            return jax.jvp(loss, (learned,), (direction,))[1]

        slopes = map_over_draws(circuit)(slope)(directions)
        grads = circuit.leaves.combine(mean_of_slopes(slopes, directions))
        return Credit(run.loss, run.aux, grads, later, correlation(slopes))

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The estimate at each node; at the weights there is none."""
        if self.at == "weights":
            return super().signals(circuit, params, state, args)
        found = self._estimate(circuit, params, jax.random.split(state)[0], args)
        return signals_of(
            circuit, params, args, found, perturbed_sites(circuit, "value")
        )

    def _estimate(
        self, circuit: Circuit, params: Any, key: jax.Array, args: Any
    ) -> ActivityEstimate:
        return estimate(
            circuit,
            params,
            args,
            key,
            sites=perturbed_sites(circuit, "value"),
            count=self.directions,
            kind=self.kind,
            slopes_of=slopes_along,
        )


_BAYDIN = (
    "@article{baydin2022gradients, title={Gradients without Backpropagation}, "
    'author={Baydin, At{\\i}l{\\i}m G{\\"u}ne{\\c{s}} and Pearlmutter, Barak A. '
    "and Syme, Don and Wood, Frank and Torr, Philip}, "
    "journal={arXiv:2202.08587}, year={2022}}"
)
_REN = (
    "@inproceedings{ren2023scaling, title={Scaling Forward Gradient with Local "
    "Losses}, author={Ren, Mengye and Kornblith, Simon and Liao, Renjie and Hinton, "
    "Geoffrey}, booktitle={ICLR}, year={2023}}"
)


def slopes_along(losses: Losses, directions: NodeArrays) -> jax.Array:
    """The exact slopes of every example's loss: `[K, examples + 1]`."""
    still = {n: jnp.zeros_like(u[0]) for n, u in directions.items()}
    return jax.vmap(lambda u: jax.jvp(losses, (still,), (u,))[1])(directions)
