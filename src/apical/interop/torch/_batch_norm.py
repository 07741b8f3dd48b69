"""Batch norm that keeps its running statistics, which torchax leaves as they are.

    y = (x - m) / sqrt(v + eps) * weight + bias

m and v are the mean and the variance of the batch (over n entries of each channel) in
training, else the running ones. In training these move:

    m_run <- (1 - momentum) m_run + momentum m
    v_run <- (1 - momentum) v_run + momentum v n / (n - 1)

Source: Ioffe & Szegedy 2015; the correction n / (n - 1) is torch's.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ._arrays import like
from ._packages import torch


def batch_norm(
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Any, Any, Any]:
    """The normalised tensor, and the mean and 1 / sqrt(v + eps) of the batch.

    The running statistics, unless they are None, are changed in place.
    """
    array = x.jax()
    axes = [0, *range(2, array.ndim)]
    if training or running_mean is None:
        # Half precision cannot hold the sums.
        whole = array.astype(jnp.promote_types(array.dtype, jnp.float32))
        mean, var = whole.mean(axes), whole.var(axes)
        if training and running_mean is not None:
            n = array.size // array.shape[1]
            _move(running_mean, mean, momentum)
            _move(running_var, var * (n / max(n - 1, 1)), momentum)
    else:
        mean, var = running_mean.jax(), running_var.jax()
    rstd = jax.lax.rsqrt(var + eps)
    shape = (1, -1, *[1] * (array.ndim - 2))
    y = (array - mean.reshape(shape)) * rstd.reshape(shape)
    if weight is not None:
        y = y * weight.jax().reshape(shape)
    if bias is not None:
        y = y + bias.jax().reshape(shape)
    return like(x, y.astype(array.dtype)), like(x, mean), like(x, rstd)


def _move(running: Any, value: jax.Array, momentum: float) -> None:
    running.apply_jax_(
        lambda old: ((1 - momentum) * old + momentum * value).astype(old.dtype)
    )


LOWERINGS = {
    getattr(torch.ops.aten, name).default: batch_norm
    for name in ("native_batch_norm", "_native_batch_norm_legit")
}
