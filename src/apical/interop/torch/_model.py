"""A module of torch as a model of `apical compare`: a callable pytree and its state."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax

from ._functional import apply_function, parameters, write_back


@partial(
    jax.tree_util.register_dataclass, data_fields=["params"], meta_fields=["module"]
)
@dataclass(frozen=True, eq=False)
class Model:
    """A module of torch as a callable pytree, whose leaves are its parameters.

    Attributes:
      params: the parameters, by name.
      module: the module that says what is computed; its own tensors are not read.
    """

    params: dict[str, jax.Array]
    module: Any = field(repr=False)

    def __call__(self, x: Any, state: Any, training: bool) -> tuple[Any, Any]:
        """The output for a batch, and the new state.

        Args:
          x: the batch.
          state: buffers and a key, as `as_model` returns them.
          training: whether batch norm uses the batch and dropout is on. Otherwise the
            state does not change.
        """
        key, buffers = jax.random.wrap_key_data(state["key"]), state["buffers"]
        following, now = jax.random.split(key)
        apply = apply_function(self.module, training=training)
        output, new = apply(self.params, buffers, now, x)
        if not training:
            return output, state
        return output, {"key": jax.random.key_data(following), "buffers": new}

    def to_module(self, state: Any) -> Any:
        """A copy of the module with these parameters, and the buffers of a state.

        Args:
          state: the state that belongs to the parameters.

        Returns:
          A `torch.nn.Module` that is independent of this model.
        """
        module = copy.deepcopy(self.module)
        write_back(module, self.params, state["buffers"])
        return module


def as_model(module: Any, key: jax.Array) -> tuple[Model, dict[str, Any]]:
    """A module as a model that keeps running statistics, and its first state.

        output, state = model(x, state, training)

    `apical compare` does this with a module that a factory returns.

    Args:
      module: a `torch.nn.Module` that takes a batch and returns one tensor.
      key: from which the keys of dropout follow, step after step.

    Returns:
      The model, a pytree whose leaves are the parameters; and its state: buffers and a
      key, as numbers.

    Raises:
      ValueError: as for `parameters`.

    Example:
      >>> import jax, torch
      >>> import jax.numpy as jnp
      >>> from apical.interop import torch as interop
      >>> module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.5))
      >>> model, state = interop.as_model(module, jax.random.key(0))
      >>> output, state = model(jnp.ones((8, 4)), state, True)
      >>> output.shape, model.to_module(state)[0].weight.shape
      ((8, 3), torch.Size([3, 4]))
    """
    params, buffers = parameters(module)
    return Model(params, module), {
        "key": jax.random.key_data(key),
        "buffers": buffers,
    }
