"""The environment in which torch's operations run as JAX's, with torchax.

torchax runs each operation of torch by one of JAX. What it would get wrong without a
word is put right here, or refused:

| torch                                       | here                                  |
|---------------------------------------------|---------------------------------------|
| random numbers, with or without `device=`   | drawn from the key that is an argument |
| random numbers of a `torch.Generator`       | refused: they would never change      |
| `torch.no_grad()`                           | no gradient passes                    |
| `torch.autograd.Function`                   | refused: JAX sees no `backward`       |
| a tensor that is no parameter and no buffer | a constant; refused if it has grad    |
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp

from ._arrays import to_jax
from ._packages import torch, torchax
from ._shared_memory import (
    Refused,
    changes_in_place,
    is_plain,
    note_sharing,
    require_own_memory,
    root_of,
)


class Environment(torchax.tensor.Environment):
    """torchax's environment, with the corrections above.

    Args:
      lowerings: by operation, functions of torchax's tensors that replace torchax's.

    Attributes:
      draws: how often random numbers have been drawn.
    """

    def __init__(self, lowerings: dict[Any, Callable[..., Any]]) -> None:
        super().__init__()
        self.draws = 0
        self._depth, self._converting = 0, False
        alias = torch.ops.aten.alias.default
        self.override_op_definition(alias, self._alias, is_view_op=True)
        for operation, lowering in lowerings.items():
            self.override_op_definition(operation, lowering)

    def dispatch(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Run one operation of torch."""
        if self._converting:
            return func(*args, **(kwargs or {}))
        name, outermost = name_of(func), self._depth == 0
        in_place = changes_in_place(name)
        if in_place and outermost and args:
            require_own_memory(name, args[0])
        args, kwargs = jax.tree.map(self._constant, (args, kwargs or {}))
        detached = outermost and not torch.is_grad_enabled()
        if detached:
            _refuse_function(inspect.currentframe())
        target = root_of(args[0]) if detached and in_place and args else None
        target = target if isinstance(target, torchax.tensor.Tensor) else None
        before = None if target is None else target.jax()
        self._depth += 1
        try:
            found = super().dispatch(func, types, args, kwargs)
        except Exception as error:
            if not hasattr(error, "torch_operation"):
                error.torch_operation = name  # type: ignore[attr-defined]
            raise
        finally:
            self._depth -= 1
        if target is not None and before is not None:
            # Not the change, but what was there before keeps its gradient.
            target.apply_jax_(lambda after: _with_gradient_of(before, after))
        elif detached:
            found = jax.tree.map(_stopped, found)
        if outermost:
            note_sharing(name, args, found)
        return found

    def get_and_rotate_prng_key(self, generator: Any = None) -> jax.Array:
        """The key of the next random numbers."""
        if generator is not None:
            raise Refused(
                "random numbers of a torch.Generator would be the same at every "
                "call. Leave generator= out: they are drawn from the key that the "
                "loss function takes."
            )
        self.draws += 1
        return super().get_and_rotate_prng_key()

    def _should_use_torchax_tensor(self, device: Any) -> bool:
        """Whether a new tensor is JAX's: always, or random numbers never change."""
        return True

    def _constant(self, leaf: Any) -> Any:
        """A tensor that is neither a parameter nor a buffer, as a constant."""
        if not is_plain(leaf):
            return leaf
        if leaf.requires_grad:
            raise Refused(
                f"a tensor of shape {tuple(leaf.shape)} has requires_grad=True, but "
                "is no parameter of the module: it would not be learned. Make it a "
                "torch.nn.Parameter of the module, or detach it."
            )
        self._converting = True  # torch's own operations, on its own tensor
        try:
            array = to_jax(leaf, "a tensor in the code of the module")
        finally:
            self._converting = False
        return self.j2t_iso(array)

    def _alias(self, tensor: Any) -> Any:
        """The same memory under another name: a slice of all of it."""
        everything = torchax.view.NarrowInfo((Ellipsis,))
        return torchax.view.View(tensor, everything, self)


# In which torch runs the forward of a function with a derivative of its own.
_APPLY = torch.autograd.Function.apply.__func__.__code__


def _refuse_function(frame: FrameType | None) -> None:
    """Refuse what is called by the `apply` of a torch.autograd.Function.

    torch computes it without gradient, and then uses its `backward`, which JAX does not
    see. `apply` may have any name, so it is looked for among the callers.
    """
    while frame is not None and frame.f_code is not _APPLY:
        frame = frame.f_back
    if frame is not None:
        function = frame.f_locals["cls"]
        raise Refused(
            f"{function.__module__}.{function.__qualname__} is a "
            "torch.autograd.Function, whose backward JAX would not see. Write what it "
            "computes in operations of torch: a surrogate derivative is y = soft(x); "
            "y + (hard(x) - y).detach()."
        )


def _stopped(leaf: Any) -> Any:
    """A result that no gradient passes; a view stays one, so that it can be written."""
    ours = isinstance(leaf, torchax.tensor.Tensor)
    return leaf.apply_jax(jax.lax.stop_gradient) if ours else leaf


def _with_gradient_of(before: jax.Array, after: jax.Array) -> jax.Array:
    """The numbers of `after`, with the derivative of `before`."""
    after = jax.lax.stop_gradient(after)
    if before.shape != after.shape or not jnp.issubdtype(after.dtype, jnp.inexact):
        return after
    zero = before - jax.lax.stop_gradient(before)
    return after + jnp.where(jnp.isfinite(before), zero, 0).astype(after.dtype)


def name_of(func: Any) -> str:
    """The name of one of torch's operations: `aten::relu`, `torch.Tensor.add_`."""
    name = getattr(func, "name", None)
    if callable(name):
        return str(name())
    return torch.overrides.resolve_name(func) or getattr(func, "__name__", str(func))
