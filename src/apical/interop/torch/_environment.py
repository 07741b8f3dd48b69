"""The environment in which torch's operations run as JAX's, with torchax.

torchax runs each operation of torch by one of JAX. What it would get wrong without a
word is put right here, or refused:

| torch                                       | here                                  |
|---------------------------------------------|---------------------------------------|
| random numbers, with or without `device=`   | drawn from the key that is an argument |
| random numbers of a `torch.Generator`       | refused: they would never change      |
| `torch.no_grad()`                           | no gradient passes                    |
| a tensor that is no parameter and no buffer | a constant; refused if it has grad    |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ._arrays import to_jax
from ._packages import torch, torchax


class Refused(ValueError):
    """What a module does cannot be run in JAX: says what, and what to change."""


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
        self._depth = 0
        for operation, lowering in lowerings.items():
            self.override_op_definition(operation, lowering)

    def dispatch(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Run one operation of torch."""
        in_place = _is_in_place(func)
        if in_place and args and self._is_foreign(args[0]):
            raise Refused(
                f"{name_of(func)} changes a tensor of shape {tuple(args[0].shape)}, "
                "which is neither a parameter nor a buffer of the module: the next "
                "call would not see it. Register it as a buffer."
            )
        args, kwargs = jax.tree.map(self._constant, (args, kwargs or {}))
        detached = not torch.is_grad_enabled() and self._depth == 0
        self._depth += 1
        try:
            found = super().dispatch(func, types, args, kwargs)
        except Exception as error:
            if not hasattr(error, "torch_operation"):
                error.torch_operation = name_of(func)  # type: ignore[attr-defined]
            raise
        finally:
            self._depth -= 1
        if not detached:
            return found
        return jax.tree.map(lambda leaf: self._stopped(leaf, in_place), found)

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

    def _is_foreign(self, leaf: Any) -> bool:
        """Whether something is a tensor of torch itself."""
        ours = torchax.tensor.Tensor | torchax.view.View
        return isinstance(leaf, torch.Tensor) and not isinstance(leaf, ours)

    def _constant(self, leaf: Any) -> Any:
        """A tensor that is neither a parameter nor a buffer, as a constant."""
        if not self._is_foreign(leaf):
            return leaf
        if leaf.requires_grad:
            raise Refused(
                f"a tensor of shape {tuple(leaf.shape)} has requires_grad=True, but "
                "is no parameter of the module: it would not be learned. Make it a "
                "torch.nn.Parameter of the module, or detach it."
            )
        return self.j2t_iso(to_jax(leaf, "a tensor in the code of the module"))

    def _stopped(self, leaf: Any, in_place: bool) -> Any:
        """A result that no gradient passes; a view stays one, so it can be written."""
        if not isinstance(leaf, torchax.tensor.Tensor):
            return leaf
        if in_place:
            return leaf.apply_jax_(jax.lax.stop_gradient)
        return leaf.apply_jax(jax.lax.stop_gradient)


def name_of(func: Any) -> str:
    """The name of one of torch's operations: `aten::relu`, `torch.Tensor.add_`."""
    name = getattr(func, "name", None)
    if callable(name):
        return str(name())
    return torch.overrides.resolve_name(func) or getattr(func, "__name__", str(func))


def _is_in_place(func: Any) -> bool:
    """Whether an operation changes its first argument: `add_`, `__iadd__`."""
    name = name_of(func)
    name = name.split("::")[1].split(".")[0] if "::" in name else name.split(".")[-1]
    if name.endswith("__"):
        others = ("__invert__", "__index__", "__int__")
        return name.startswith("__i") and name not in others
    return name.endswith("_")
