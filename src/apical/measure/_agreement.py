"""Agreement of two gradients: cosine, ratio of norms, agreement of signs."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Agreement(NamedTuple):
    """The agreement of two vectors.

    Attributes:
      cosine: the cosine of the angle between them; 0 if one of them is zero.
      norm_ratio: the norm of the rule's gradient over that of backpropagation's; NaN if
        both are zero.
      sign_agreement: the fraction of entries with the same sign.
    """

    cosine: jax.Array
    norm_ratio: jax.Array
    sign_agreement: jax.Array


def agreement(ours: list[jax.Array], theirs: list[jax.Array]) -> Agreement:
    """The agreement of two lists of arrays, each taken as one vector.

    Sums over 16-bit arrays are taken in 32 bits: a cosine in 16 bits has two digits.
    """
    ours, theirs = ([widened(x) for x in xs] for xs in (ours, theirs))
    pairs = list(zip(ours, theirs, strict=True))
    product = sum(jnp.vdot(g, b).real for g, b in pairs)
    norms = [jnp.sqrt(sum(jnp.vdot(x, x).real for x in xs)) for xs in (ours, theirs)]
    both = norms[0] * norms[1]
    same = sum(jnp.sum(jnp.sign(g) == jnp.sign(b)) for g, b in pairs)
    entries = sum(g.size for g in ours)
    return Agreement(
        cosine=jnp.where(both == 0, 0.0, product / jnp.where(both == 0, 1, both)),
        norm_ratio=norms[0] / norms[1],
        sign_agreement=jnp.asarray(same / entries),
    )


def widened(x: jax.Array) -> jax.Array:
    """The array in 32 bits, if it has fewer."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
