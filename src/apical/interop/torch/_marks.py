"""Marks of nodes and of the output, in code of torch."""

from __future__ import annotations

from typing import Any

import apical

from ._packages import torchax


def node(tensor: Any, name: str) -> Any:
    """Mark a tensor as a node: `apical.node` for code of torch. It is an identity.

    Args:
      tensor: an activity of the module. Outside of `loss_function` nothing is marked.
      name: the node's name.

    Returns:
      The same numbers.

    Example:
      >>> import torch
      >>> from apical.interop import torch as interop
      >>> interop.node(torch.ones(2), "hidden")
      tensor([1., 1.])
    """
    return _marked(tensor, lambda array: apical.node(array, name))


def output(tensor: Any) -> Any:
    """Mark a tensor as the output: `apical.output` for code of torch.

    Args:
      tensor: what the loss reads. Outside of `loss_function` nothing is marked.

    Returns:
      The same numbers.

    Example:
      >>> import torch
      >>> from apical.interop import torch as interop
      >>> interop.output(torch.ones(2))
      tensor([1., 1.])
    """
    return _marked(tensor, apical.output)


def _marked(tensor: Any, mark: Any) -> Any:
    if isinstance(tensor, torchax.view.View):
        tensor = tensor.torch()
    ours = isinstance(tensor, torchax.tensor.Tensor)
    return tensor.apply_jax(mark) if ours else tensor
