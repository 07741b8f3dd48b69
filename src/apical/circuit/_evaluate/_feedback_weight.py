"""Synapses with a feedback weight: a second weight, used only by the backward path.

At a synapse y = op(x, w) with backward weight b the tangent is

    dy = op(dx, b) + op(x, dw),

so that the cotangent of the weight is the usual local product and the cotangent of
the activity is computed with b (Lillicrap et al. 2016, equation for delta_FA, with b
the fixed random matrix). JAX transposes this rule, so convolutions, groups and batched
products need no code here, and the FLOPs equal those of backpropagation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero

from .._jaxpr import Op


def with_feedback_weight(op: Op, weight: int, x: Any, w: Any, b: Any) -> Any:
    """The synapse op(x, w) whose backward path goes through b."""

    def apply(x: Any, w: Any) -> Any:
        return op(w, x)[0] if weight == 0 else op(x, w)[0]

    @jax.custom_jvp
    def synapse(x: Any, w: Any, b: Any) -> Any:
        del b
        return apply(x, w)

    def tangent(primals: Any, tangents: Any) -> Any:
        (x, w, b), (dx, dw, _) = primals, tangents
        y, parts = apply(x, w), []
        if not isinstance(dx, SymbolicZero):
            linear = op.name != "div" or weight == 1
            parts.append(_slope(lambda x: apply(x, b), x, dx, linear))
        if not isinstance(dw, SymbolicZero):
            linear = op.name != "div" or weight == 0
            parts.append(_slope(lambda w: apply(x, w), w, dw, linear))
        dy = sum(parts[1:], parts[0]) if parts else jax.numpy.zeros_like(y)
        return y, dy

    synapse.defjvp(tangent, symbolic_zeros=True)
    return synapse(x, w, b)


def _slope(function: Callable[[Any], Any], at: Any, along: Any, linear: bool) -> Any:
    """The directional derivative; a quotient is not linear in its divisor."""
    return function(along) if linear else jax.jvp(function, (at,), (along,))[1]
