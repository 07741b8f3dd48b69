"""Loss functions and models in JAX from a module of torch, and weights written back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from .._named_arrays import require_names, require_shape
from ._arrays import copy_into, to_jax
from ._packages import torch
from ._run import Arrays, run
from ._shared_memory import Refused


def parameters(module: Any) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """The parameters and the buffers of a module, by their names in torch.

    A parameter with `requires_grad=False` is among the buffers: it is not learned. A
    weight that is used twice is there once, by its first name.

    Args:
      module: a `torch.nn.Module`; its tensors are copied.

    Returns:
      Parameters and buffers, each a dictionary of arrays.

    Raises:
      ValueError: where JAX would round numbers of 64 bits, or the module is compiled.

    Example:
      >>> import torch
      >>> from apical.interop import torch as interop
      >>> params, buffers = interop.parameters(torch.nn.BatchNorm1d(3))
      >>> sorted(params), sorted(buffers)
      (['bias', 'weight'], ['num_batches_tracked', 'running_mean', 'running_var'])
    """
    _check_module(module)
    learned, others = _tensors(module)
    if not learned:
        raise ValueError(
            f"the {type(module).__name__} has no parameter with requires_grad=True: "
            "nothing is learned."
        )
    return _copied(learned), _copied(others)


def loss_function(
    module: Any, loss: Callable[..., Any], *, training: bool | None = None
) -> Callable[..., tuple[jax.Array, Any]]:
    """A loss function in JAX from a module and a loss that are written in torch.

        loss_fn(params, buffers, key, *args) = loss(module, *args), new buffers

    where the parameters and buffers of the module are replaced by `params` and
    `buffers`, and random numbers (dropout) are drawn from `key`. The module itself is
    left as it is.

    Args:
      module: a `torch.nn.Module`.
      loss: `loss(module, *args)` returns the mean loss over the examples, a tensor
        without axes, or the loss and a pytree of tensors. It is called with tensors.
      training: whether the module is in training, with all that it contains; None: as
        each of its modules is now.

    Returns:
      The function, for `apical.value_and_grad(..., has_aux=True, batch_axes=(None,
      None, 0, ...))`. It returns the loss and the new buffers, or the loss and the pair
      of new buffers and what else `loss` returned.

    Raises:
      ValueError: where the module is compiled; by the function, where an operation
        cannot be run in JAX, with its name.

    Example:
      >>> import apical, jax, torch
      >>> import jax.numpy as jnp
      >>> from apical.interop import torch as interop
      >>> module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
      >>> def loss(module, x, y):
      ...     return torch.nn.functional.cross_entropy(module(x), y)
      >>> loss_fn = interop.loss_function(module, loss)
      >>> params, buffers = interop.parameters(module)
      >>> learner = apical.value_and_grad(
      ...     loss_fn, apical.rules.FeedbackAlignment(), has_aux=True,
      ...     batch_axes=(None, None, 0, 0))
      >>> args = buffers, jax.random.key(0), jnp.ones((8, 4)), jnp.zeros(8, int)
      >>> state = learner.init(jax.random.key(1), params, *args)
      >>> sorted(learner(params, state, *args).grads)
      ['0.bias', '0.weight', '1.bias', '1.weight']

    Source: the operations are those of torchax 0.0.13.
    """
    apply = _function(module, loss, training)

    def loss_fn(
        params: Arrays, buffers: Arrays, key: jax.Array, *args: Any
    ) -> tuple[jax.Array, Any]:
        found, new = apply(params, buffers, key, *args)
        pair = isinstance(found, tuple) and len(found) == 2
        value: Any = found[0] if pair else found
        if getattr(value, "shape", None) != ():
            shape = getattr(value, "shape", f"a {type(value).__name__}")
            raise ValueError(
                f"loss(module, *args) returned {shape}; it must return the mean loss, "
                "a tensor without axes, or the pair of it and other tensors."
            )
        return value, (new, found[1]) if pair else new

    return loss_fn


def apply_function(
    module: Any, *, training: bool | None = None
) -> Callable[..., tuple[Any, dict[str, jax.Array]]]:
    """The forward pass of a module as a function in JAX, for losses written in JAX.

        apply(params, buffers, key, *args, **keywords) = module(*args, **keywords), new

    Args:
      module: a `torch.nn.Module`; it is left as it is.
      training: as for `loss_function`; the function also takes it as a keyword.

    Returns:
      The function. It returns the module's results, as arrays (mappings and data
      classes, such as those of Hugging Face, as dictionaries), and the new buffers.

    Raises:
      ValueError: as for `loss_function`.

    Example:
      >>> import jax, torch
      >>> import jax.numpy as jnp
      >>> from apical.interop import torch as interop
      >>> module = torch.nn.Linear(4, 3)
      >>> params, buffers = interop.parameters(module)
      >>> apply = interop.apply_function(module)
      >>> y, _ = apply(params, buffers, jax.random.key(0), jnp.ones((8, 4)))
      >>> y.shape
      (8, 3)
    """
    return _function(module, lambda module, *args, **kw: module(*args, **kw), training)


def write_back(module: Any, params: Arrays, buffers: Arrays | None = None) -> None:
    """Write trained parameters, and buffers, into the module that they came from.

    Args:
      module: the module; its tensors are changed in place, on their devices and in
        their types.
      params: all parameters, by name.
      buffers: all buffers; None leaves them as they are.

    Raises:
      ValueError: if a name is missing or unknown, or a shape differs; then nothing is
        written.

    Example:
      >>> import jax, torch
      >>> from apical.interop import torch as interop
      >>> module = torch.nn.Linear(4, 3)
      >>> params, buffers = interop.parameters(module)
      >>> interop.write_back(module, jax.tree.map(lambda w: 0 * w, params), buffers)
      >>> float(module.weight.detach().abs().sum())
      0.0
    """
    _check_module(module)
    learned, others = _tensors(module)
    pairs = _paired(learned, params, "params")
    if buffers is not None:
        pairs += _paired(others, buffers, "buffers")
    for name, tensor, array in pairs:
        require_shape(name, tensor, array, "module")
    for _, tensor, array in pairs:
        copy_into(tensor, array)


def _paired(
    there: dict[str, Any], given: Arrays, what: str
) -> list[tuple[str, Any, jax.Array]]:
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{what} is a {type(given).__name__}; it must be a dictionary of arrays, "
            "as `parameters(module)` returns."
        )
    require_names(there, given, what, "module")
    return [(name, tensor, given[name]) for name, tensor in there.items()]


def _function(module: Any, function: Callable[..., Any], training: bool | None) -> Any:
    _check_module(module)
    given = training
    now = {name: each.training for name, each in module.named_modules()}
    learned, others = _tensors(module)

    def apply(
        params: Arrays,
        buffers: Arrays,
        key: jax.Array,
        *args: Any,
        training: bool | None = given,
        **keywords: Any,
    ) -> tuple[Any, dict[str, jax.Array]]:
        _paired(learned, params, "params")
        _paired(others, buffers, "buffers")
        modes = now if training is None else dict.fromkeys(now, bool(training))
        return run(module, function, params, buffers, key, args, keywords, modes)

    return apply


def _tensors(module: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is learned, and all other tensors of a module, by name."""
    named = dict(module.named_parameters())
    learned = {name: p for name, p in named.items() if p.requires_grad}
    others = {name: p for name, p in named.items() if name not in learned}
    return learned, others | dict(module.named_buffers())


def _copied(tensors: dict[str, Any]) -> dict[str, jax.Array]:
    return {name: to_jax(tensor, name) for name, tensor in tensors.items()}


def _check_module(module: Any) -> None:
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"module is a {type(module).__name__}; it must be a torch.nn.Module."
        )
    if hasattr(module, "_orig_mod"):
        raise Refused(
            "the module is compiled by torch.compile: give the module before that."
        )
    if isinstance(module, torch.jit.ScriptModule | torch.nn.DataParallel):
        raise Refused(
            f"the module is a {type(module).__name__}, whose operations cannot be "
            "seen: give the module that it was made from."
        )
