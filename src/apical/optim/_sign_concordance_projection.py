"""Sign concordance projection: a weight that would change sign is set to zero.

    w <- w + u            if its sign is the initial sign of w, or 0
    w <- 0                otherwise

so that feedback weights initialised with the signs of the forward weights keep these
signs without further communication. Liao, Leibo & Poggio 2016.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class SignConcordanceProjectionState(NamedTuple):
    """The initial sign of each entry."""

    sign: Any


def sign_concordance_projection() -> optax.GradientTransformation:
    """Keep every entry at its initial sign, or at zero.

        u <- u       where sign(w + u) is sign(w_0), or 0
        u <- -w      elsewhere

    It must come last in a chain, because it checks the sign after the update:
    `optax.chain(optax.sgd(0.1), sign_concordance_projection())`. An entry that is
    initially 0 has no sign and is not changed. Biases are projected like weights; use
    `optax.masked` to select leaves.

    The published code resets a weight to 1e-10 times its old sign. A floating-point sum
    cannot reach that value exactly, so here the weight becomes 0, and the state keeps
    its sign.

    Returns:
      An `optax.GradientTransformation`, whose `update` needs the parameters.

    Example:
      >>> import jax.numpy as jnp, optax, apical
      >>> projection = apical.optim.sign_concordance_projection()
      >>> optimizer = optax.chain(optax.sgd(1.0), projection)
      >>> w = jnp.array([1.0, -1.0])
      >>> updates, _ = optimizer.update(jnp.array([0.5, -3.0]), optimizer.init(w), w)
      >>> print(optax.apply_updates(w, updates))
      [0.5 0. ]

    Source: Liao, Leibo & Poggio 2016, AAAI; Xiao, Chen, Liao & Poggio 2018 (its code).
    """

    def init(params: Any) -> SignConcordanceProjectionState:
        return SignConcordanceProjectionState(jax.tree.map(jnp.sign, params))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        if params is None:
            raise ValueError(
                "`sign_concordance_projection` needs the parameters: call "
                "`optimizer.update(grads, state, params)`."
            )

        def projected(u: jax.Array, w: jax.Array, sign: jax.Array) -> jax.Array:
            return jnp.where(sign * (w + u) < 0, -w, u).astype(u.dtype)

        return jax.tree.map(projected, updates, params, state.sign), state

    return optax.GradientTransformation(init, update)
