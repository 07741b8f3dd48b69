"""Polynomials of the ends of a synapse: coefficients, their sum, and their print-out.

    sum A[a, b, c, d] x^a y^b w^c delta^d

as an array of rank 4, or a dict of the terms that there are, {(a, b, c, d): number}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import SynapseActivity, is_concrete

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_LOOKS = (
    "an array with the axes (a, b, c, d), or a dict `{(a, b, c, d): number}`, of the "
    "terms x^a y^b w^c delta^d"
)


class Monomial(NamedTuple):
    """One term: the exponents of x, y, w and delta, and its coefficient."""

    x: int
    y: int
    w: int
    delta: int
    coefficient: Any


def is_by_layer(coefficients: Any) -> bool:
    """Whether there are coefficients for each layer, by name."""
    return isinstance(coefficients, Mapping) and any(
        isinstance(key, str) for key in coefficients
    )


def monomials_of(coefficients: Any) -> tuple[Monomial, ...]:
    """The terms of one layer.

    Raises:
      ValueError: for coefficients of another form.
    """
    if isinstance(coefficients, Mapping):
        require_exponents(coefficients)
        if not coefficients:
            raise ValueError("`coefficients` of a layer are an empty dict: no terms.")
        return tuple(
            Monomial(a, b, c, d, number)
            for (a, b, c, d), number in coefficients.items()
        )
    array = jnp.asarray(coefficients)
    if array.ndim != 4 or not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"`coefficients` of a layer are {_LOOKS}, and not an array of shape "
            f"{array.shape} and dtype {array.dtype}."
        )
    return tuple(
        Monomial(a, b, c, d, array[a, b, c, d])
        for a, b, c, d in np.ndindex(array.shape)
    )


def require_exponents(coefficients: Mapping[Any, Any]) -> None:
    """Require the keys of a layer's dict to be four exponents.

    Raises:
      ValueError: for another key.
    """
    for key in coefficients:
        whole = isinstance(key, tuple) and all(type(n) is int and n >= 0 for n in key)
        if not whole or len(key) != 4:
            raise ValueError(
                f"`coefficients` of a layer are {_LOOKS}; {key!r} are not four whole "
                "numbers of at least 0."
            )


# ---- Their sum at a synapse.


def reads_signals(layers: Mapping[str, Sequence[Monomial]]) -> bool:
    """Whether some term of some layer has a signal."""
    return any(term.delta for terms in layers.values() for term in terms)


def polynomial(
    synapse: SynapseActivity, signal: Any, terms: Sequence[Monomial]
) -> jax.Array:
    """The polynomial at one synapse, its products summed over places."""
    weight, y = synapse.weight, synapse.post
    factors: dict[tuple[int, int], Any] = {}
    for term in terms:
        factor = term.coefficient * y**term.y
        if term.delta:
            factor = factor * signal**term.delta
        at = term.x, term.w
        factors[at] = factors[at] + factor if at in factors else factor
    total = jnp.zeros_like(weight)
    for (x, w), factor in factors.items():
        factor = factor.astype(y.dtype)
        if x:
            product = synapse.product(synapse.pre**x, factor)
        else:
            places = synapse.by_unit(factor[:1]).shape[1]
            product = places * jnp.sum(synapse.unit_means(factor), axis=0)
        total = total + product * weight**w
    return total.astype(weight.dtype)


# ---- Their print-out.


def printed(terms: Sequence[Monomial], digits: int, smallest: float) -> str:
    """The terms as an equation, the largest first.

    Raises:
      ValueError: for coefficients that are not numbers (traced, or one for each task).
    """
    for term in terms:
        if np.shape(term.coefficient) or not is_concrete(term.coefficient):
            raise ValueError(
                "`formula` prints one number for each term: call it outside of "
                "`jax.jit` and `jax.vmap`, for one rule."
            )
    kept = [(float(t.coefficient), t) for t in terms]
    # NaN is not left out.
    kept = [(number, t) for number, t in kept if not abs(number) <= smallest]
    kept.sort(key=lambda pair: -abs(pair[0]))
    text = ""
    for number, term in kept:
        sign = "-" if number < 0 else "+"
        lead = f" {sign} " if text else sign.replace("+", "")
        text += lead + _term(abs(number), term, digits)
    return f"dw = {text or '0'}"


def _term(size: float, term: Monomial, digits: int) -> str:
    exponents = (("x", term.x), ("y", term.y), ("δ", term.delta), ("w", term.w))
    factors = [_power(name, n) for name, n in exponents if n]
    number = f"{size:.{digits}g}"
    return " ".join([number, *factors] if number != "1" or not factors else factors)


def _power(name: str, exponent: int) -> str:
    return name if exponent == 1 else name + str(exponent).translate(_SUPERSCRIPTS)
