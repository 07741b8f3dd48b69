"""Convolutions, and averages over windows, which torchax gets wrong in some cases.

torchax 0.0.13 mixes the groups of a transposed convolution, and divides windows that
reach over the edge (`ceil_mode=True`) by wrong numbers.

A transposed convolution with stride s, padding p, dilation d and a kernel of k entries
is one with the kernel flipped, on the input with s - 1 zeros between its entries and
d (k - 1) - p around them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._arrays import like
from ._packages import torch


def convolution(
    x: Any,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    """The convolution of torch's `aten::convolution`, with channels first."""
    kernel = weight.jax()
    axes = kernel.ndim - 2
    stride, padding, dilation, extra = (
        _each(sizes, axes) for sizes in (stride, padding, dilation, output_padding)
    )
    if transposed:
        kernel = _turned(kernel, groups)
        reach = [d * (k - 1) for d, k in zip(dilation, kernel.shape[2:], strict=True)]
        pairs = zip(reach, padding, extra, strict=True)
        pads = [(r - p, r - p + e) for r, p, e in pairs]
        steps, zeros = (1,) * axes, stride
    else:
        pads, steps, zeros = [(p, p) for p in padding], stride, (1,) * axes
    space = "DHW"[3 - axes :]
    y = jax.lax.conv_general_dilated(
        x.jax(),
        kernel,
        steps,
        pads,
        lhs_dilation=zeros,
        rhs_dilation=dilation,
        dimension_numbers=(f"NC{space}", f"OI{space}", f"NC{space}"),
        feature_group_count=groups,
    )
    if bias is not None:
        y = y + bias.jax().reshape(1, -1, *[1] * axes)
    return like(x, y)


def _turned(kernel: jax.Array, groups: int) -> jax.Array:
    """The kernel `(in, out / groups, ...)` as `(out, in / groups, ...)`, flipped."""
    flipped = jnp.flip(kernel, range(2, kernel.ndim))
    n_in, n_out, *space = flipped.shape
    parts = flipped.reshape(groups, n_in // groups, n_out, *space)
    return parts.swapaxes(1, 2).reshape(groups * n_out, n_in // groups, *space)


def avg_pool(
    x: Any,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The means of windows over the last axes, as `torch.nn.functional.avg_pool2d`.

    A window is divided by its number of entries, with padding if `count_include_pad`,
    but never with what lies beyond it.
    """
    array = x.jax()
    axes = len(kernel_size)
    stride = _each(stride or kernel_size, axes)
    padding = _each(padding, axes)
    lengths = array.shape[-axes:]
    beyond = [
        _beyond(*sizes, ceil_mode)
        for sizes in zip(lengths, kernel_size, stride, padding, strict=True)
    ]
    around = [(0, 0)] * (array.ndim - axes)
    pads = [(p, p) for p in padding]
    further = [*around, *((0, more) for more in beyond)]

    def sums(values: jax.Array) -> jax.Array:
        lead = [1] * (values.ndim - axes)
        window, steps = (*lead, *kernel_size), (*lead, *stride)
        spare = further[-values.ndim :]
        padded = jnp.pad(values, spare)
        return jax.lax.reduce_window(
            padded, np.zeros((), values.dtype), jax.lax.add, window, steps, "VALID"
        )

    total = sums(jnp.pad(array, [*around, *pads]))
    if divisor_override is not None:
        return like(x, total / divisor_override)
    ones = jnp.ones(lengths, array.dtype)
    counted = jnp.pad(ones, pads, constant_values=float(count_include_pad))
    return like(x, total / sums(counted))


def _beyond(length: int, size: int, step: int, pad: int, ceil_mode: bool) -> int:
    """How far the last window reaches beyond the padded input."""
    whole = length + 2 * pad - size
    count = -(-whole // step) + 1 if ceil_mode else whole // step + 1
    if ceil_mode and (count - 1) * step >= length + pad:
        count -= 1  # the last window must begin inside
    return max(0, (count - 1) * step + size - length - 2 * pad)


def _each(sizes: Sequence[int], axes: int) -> tuple[int, ...]:
    """A size for each axis; torch gives one for all as a list of one."""
    return tuple(sizes) * axes if len(sizes) == 1 and axes > 1 else tuple(sizes)


LOWERINGS = {
    torch.ops.aten.convolution.default: convolution,
    torch.ops.aten.avg_pool1d.default: avg_pool,
    torch.ops.aten.avg_pool2d.default: avg_pool,
    torch.ops.aten.avg_pool3d.default: avg_pool,
}
