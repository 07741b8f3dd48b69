"""Forward gradient: the slope along a random direction, times the direction.

    g = (dL/dtheta . v) v,        v ~ N(0, I)                  (at the weights)
    delta_n = (dL_i/ds . u) u_n,  u ~ N(0, I)                  (at the activities)

The slope is exact and comes with the forward pass, by forward-mode differentiation.
Baydin et al. 2022 (weights), Ren et al. 2023 (activities).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from .._base import Credit, Rule, rule, static
from .._checks import check_choice, check_whole
from .._numerics import fold_in_name
from ._activity_space import (
    Losses,
    Taught,
    Tree,
    credit_of,
    require_perturbable,
    signals_of,
    sites_of,
    teach,
)
from ._directions import KINDS, correlation, draw, require_real
from ._weight_space import beside, combined, leaf_types, loss_of


@rule
class ForwardGradient(Rule):
    """The exact slope of the loss along random directions, times these directions.

        weights:     g       = mean_k (dL/dtheta . v_k) v_k
        activities:  delta_n = mean_k (dL_i/ds . u_k) u_kn     for each example i

    Unbiased: E[v v^T] = I. With N entries (all parameters; all activities of one
    example, the output's too) the variance is (N + 1)/directions times the squared
    norm of the true gradient (of an example's teaching signals), so at the weights
    it works on small networks only, and at the activities somewhat farther; Ren et al.
    go on by local losses on groups of units, whose N is small.

    At the weights it is the limit of `WeightPerturbation` where the noise goes to 0, at
    the activities that of `NodePerturbation`.

    State: a key.

    Args:
      at: `"weights"` or `"activities"`.
      directions: how many of them, in one mapped call.
      kind: `"normal"` directions, or the `"sign"` of these (variance N - 1).

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
      ValueError: in `init`, where the model has a user-written reverse derivative
        (`jax.custom_vjp`), which has no forward one; for complex numbers; at the
        activities also for what `NodePerturbation` refuses.

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
        """At the activities another paper's."""
        return _BAYDIN if self.at == "weights" else _REN

    @property
    def needs(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[str, ...]:
        """At the weights slopes go along with the activities: none is kept."""
        kept = () if self.at == "weights" else ("stored activities",)
        found = ("global reward", *kept, "derivative of the nonlinearity")
        return (*found, "update locking")

    def __post_init__(self) -> None:
        check_choice(self.at, "at", ("weights", "activities"))
        check_whole(self.directions, "directions")
        check_choice(self.kind, "kind", KINDS)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """A key of its own."""
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
        """One forward pass with its slopes, all directions side by side."""
        now, later = jax.random.split(state)
        if self.at == "activities":
            return credit_of(self._teach(circuit, params, now, args), later)
        run = circuit.run(params, args, sites=())
        learned, loss = loss_of(circuit, params, args)
        directions = draw(now, learned, self.directions, self.kind)

        def slope(direction: Any) -> jax.Array:
            return jax.jvp(loss, (learned,), (direction,))[1]

        slopes = beside(circuit)(slope)(directions)
        grads = circuit.leaves.combine(combined(slopes, directions))
        return Credit(run.loss, run.aux, grads, later, correlation(slopes))

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The estimate at each node; at the weights no node is sent anything."""
        if self.at == "weights":
            return super().signals(circuit, params, state, args)
        taught = self._teach(circuit, params, jax.random.split(state)[0], args)
        return signals_of(circuit, params, args, taught, sites_of(circuit, "value"))

    def _teach(
        self, circuit: Circuit, params: Any, key: jax.Array, args: Any
    ) -> Taught:
        return teach(
            circuit,
            params,
            args,
            key,
            sites=sites_of(circuit, "value"),
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


def slopes_along(losses: Losses, directions: Tree) -> jax.Array:
    """The slopes of every example's loss, exactly: `[K, examples + 1]`."""
    still = {n: jnp.zeros_like(u[0]) for n, u in directions.items()}
    return jax.vmap(lambda u: jax.jvp(losses, (still,), (u,))[1])(directions)
