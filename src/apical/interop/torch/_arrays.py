"""Arrays of JAX from tensors of torch, and back: always copies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._packages import torch


def to_jax(tensor: Any, name: str) -> jax.Array:
    """A copy of a tensor, on JAX's default device.

    Integers of 64 bits become 32 where x64 is off.

    Args:
      tensor: the tensor, on any device.
      name: what it is, for messages.

    Raises:
      ValueError: where JAX would round the numbers, or cut integers.
    """
    # Inside the environment no operation of torch may be used that is not needed.
    plain = tensor.detach() if tensor.requires_grad else tensor
    plain = plain if plain.device.type == "cpu" else plain.cpu()
    if plain.layout is not torch.strided:
        raise ValueError(f"{name} has the layout {plain.layout}; it must be strided.")
    if (
        plain.dtype in (torch.float64, torch.complex128)
        and jax.dtypes.canonicalize_dtype(np.float64) != np.float64
    ):
        raise ValueError(
            f"{name} has the type {plain.dtype}, which JAX would round to 32 bits: "
            'call module.float(), or jax.config.update("jax_enable_x64", True) first.'
        )
    if plain.dtype == torch.bfloat16:  # which numpy does not have
        return jnp.array(plain.float().numpy(), jnp.bfloat16)
    array = plain.numpy()
    kept = jax.dtypes.canonicalize_dtype(array.dtype)
    if array.dtype.kind in "iu" and array.size:
        info = np.iinfo(kept)
        if array.min() < info.min or array.max() > info.max:
            raise ValueError(
                f"{name} has integers that do not fit into {kept}: call "
                'jax.config.update("jax_enable_x64", True) first.'
            )
    # Not `asarray`: it may share memory that torch changes later.
    return jnp.array(array, kept, copy=True)


def copy_into(tensor: Any, array: Any) -> None:
    """Write an array into a tensor, in the type and on the device of the tensor."""
    if jnp.result_type(array) == jnp.bfloat16:  # which numpy does not have
        array = jnp.asarray(array, jnp.float32)
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.array(array)))


def like(tensor: Any, array: jax.Array) -> Any:
    """An array as a tensor of torchax, in the environment of another one."""
    return tensor.apply_jax(lambda _: array)
