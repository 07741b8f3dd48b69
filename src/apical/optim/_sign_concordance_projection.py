"""No sign change: a weight that would cross zero stops there.

    w <- w + u            where it has the sign that w had at the start, or none
    w <- 0                elsewhere

so that feedback weights, once of the forward weights' signs, keep them with no more
communication. Liao, Leibo & Poggio 2016.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class SignConcordanceProjectionState(NamedTuple):
    """The sign that each entry had at the start."""

    sign: Any


def sign_concordance_projection() -> optax.GradientTransformation:
    """Keep every entry on the side of zero on which it started.

        u <- u       where sign(w + u) is sign(w_0), or 0
        u <- -w      elsewhere

    It stands last, since it looks at where the update leads:
    `optax.chain(optax.sgd(0.1), sign_concordance_projection())`. An entry that started
    at 0 has no sign to keep and is left alone. Biases are projected like weights;
    `optax.masked` names the leaves that are meant.

    The published code puts a weight back at 1e-10 of its old sign; a sum of floating
    numbers cannot end there, so here it is 0, and the sign is remembered.

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
