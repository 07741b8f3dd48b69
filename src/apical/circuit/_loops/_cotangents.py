"""Cotangents of values that may have none: integers and keys."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def given_cotangent(cotangent: Any) -> Any:
    """A cotangent, or None where there is none."""
    return None if cotangent.dtype == jax.dtypes.float0 else cotangent


def zero_cotangent(x: Any) -> Any:
    """The zero cotangent of a value."""
    if jnp.issubdtype(jnp.result_type(x), jnp.inexact):
        return jnp.zeros_like(x)
    return np.zeros(jnp.shape(x), jax.dtypes.float0)


def inner(cotangent: Any, value: Any) -> Any:
    """A cotangent times a value, summed; 0 where there is no cotangent."""
    if cotangent is None:
        return jnp.zeros(())
    # As in `jax.vjp` of complex functions: no conjugate.
    return jnp.sum(cotangent * value).real.astype(jnp.float32)
