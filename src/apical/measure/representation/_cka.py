"""Centred kernel alignment: how alike two representations of the same examples are.

    CKA(X, Y) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)),    K = X X^T,  L = Y Y^T

It is 1 for representations that differ by a rotation and a scale. HSIC, the inner
product of centred similarities, is biased for few examples and many units: unrelated
noise then looks alike. The estimator of Song et al. 2012 has no bias,

    n (n - 3) HSIC = tr(K' L') + 1'K'1 1'L'1 / ((n - 1)(n - 2)) - 2 1'K'L'1 / (n - 2)

with K', L' the similarities with a diagonal of 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._rows import example_rows


def cka(x: Any, y: Any, *, debiased: bool = True) -> jax.Array:
    """Linear centred kernel alignment of two sets of activities or signals.

        HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)),        K = X X^T,  L = Y Y^T

    Args:
      x: values or teaching signals `[examples, ...]`, or a pytree of these, side by
        side. For example those of a layer under one rule.
      y: of the same examples, in the same order; units may differ in number.
      debiased: whether HSIC is estimated without bias. It may then be slightly below 0
        for representations that are not related.

    Returns:
      A number of at most 1; NaN if all examples are alike in one of them.

    Raises:
      ValueError: for different numbers of examples; for fewer than 4 (`debiased`) or 2.

    Example:
      >>> import jax, apical
      >>> x = jax.random.normal(jax.random.key(0), (20, 5))
      >>> turn = jax.random.orthogonal(jax.random.key(1), 5)
      >>> round(float(apical.measure.cka(x, 3 * x @ turn)), 4)
      1.0

    Source: Kornblith, Norouzi, Lee & Hinton 2019, ICML; Nguyen, Raghu & Kornblith 2021,
    ICLR (without bias); Song, Smola, Gretton, Bedo & Borgwardt 2012, JMLR 13.
    """
    rows = example_rows(x, name="x"), example_rows(y, name="y")
    counts = [len(each) for each in rows]
    if counts[0] != counts[1]:
        raise ValueError(
            f"`x` has {counts[0]} examples and `y` has {counts[1]}: both must describe "
            "the same ones."
        )
    if debiased and counts[0] < 4:
        raise ValueError(
            f"Without bias 4 examples are needed, and there are {counts[0]}: use more, "
            "or `debiased=False`."
        )
    k, ell = (_similarities(each) for each in rows)
    hsic = _unbiased_hsic if debiased else _hsic
    product = hsic(k, k) * hsic(ell, ell)
    known = product > 0
    return jnp.where(
        known, hsic(k, ell) / jnp.sqrt(jnp.where(known, product, 1)), jnp.nan
    )


def similarity_matrix(
    representations: Mapping[str, Any],
    others: Mapping[str, Any] | None = None,
    *,
    debiased: bool = True,
) -> np.ndarray:
    """The CKA of each of several representations with each other.

    Args:
      representations: by name: layers, rules, seeds or recordings, each as in `cka`.
      others: what they are compared with; None: with each other.
      debiased: as in `cka`.

    Returns:
      An array `[representations, others]`, in the order of the mappings.

    Raises:
      ValueError: as `cka`, with the names.

    Example:
      >>> import jax, apical
      >>> x = jax.random.normal(jax.random.key(0), (20, 5))
      >>> found = apical.measure.similarity_matrix({"a": x, "b": x**2}, {"a": 2 * x})
      >>> found.shape, round(float(found[0, 0]), 3)
      ((2, 1), 1.0)
    """
    others = representations if others is None else others
    found = np.empty((len(representations), len(others)))
    for i, (a, x) in enumerate(representations.items()):
        for j, (b, y) in enumerate(others.items()):
            try:
                found[i, j] = cka(x, y, debiased=debiased)
            except ValueError as error:
                raise ValueError(f"{a!r} (x) and {b!r} (y): {error}") from None
    return found


def _similarities(rows: jax.Array) -> jax.Array:
    """K of rows around their mean and of size 1, for the sake of its rounding errors.

    CKA depends on neither.
    """
    rows = rows - jnp.mean(rows, axis=0)
    size = jnp.linalg.norm(rows)
    rows = rows / jnp.where(size > 0, size, 1)
    return (rows @ rows.conj().T).real


def _hsic(k: jax.Array, ell: jax.Array) -> jax.Array:
    """The inner product of two similarities of rows around their mean."""
    return jnp.sum(k * ell)


def _unbiased_hsic(k: jax.Array, ell: jax.Array) -> jax.Array:
    n = len(k)
    k, ell = (m - jnp.diag(jnp.diag(m)) for m in (k, ell))
    sums = jnp.sum(k) * jnp.sum(ell) / ((n - 1) * (n - 2))
    cross = jnp.sum(jnp.sum(k, axis=0) * jnp.sum(ell, axis=0))
    return (jnp.sum(k * ell) + sums - 2 * cross / (n - 2)) / (n * (n - 3))
