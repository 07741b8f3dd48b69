"""In-place changes of tensors that share memory in torch, but not in torchax.

`y = x.view(-1)` shares the memory of x in torch: a change of one in place changes the
other. In torchax that holds for slices (`x[:, 0]`) alone. So such a change is refused
where both are still there.
"""

from __future__ import annotations

import weakref
from typing import Any

import jax

from ._packages import torch, torchax


class Refused(ValueError):
    """What a module does cannot be run in JAX: says what, and what to change."""


_SHARING = frozenset(
    {"adjoint", "as_strided", "chunk", "detach", "diagonal", "expand", "expand_as"}
    | {"flatten", "movedim", "moveaxis", "narrow", "permute", "reshape", "select"}
    | {"split", "split_with_sizes", "squeeze", "swapaxes", "swapdims", "t", "unbind"}
    | {"tensor_split", "transpose", "unflatten", "unsqueeze", "view", "view_as"}
)


def base_name(name: str) -> str:
    """The operation without its place and overload: `view` of `aten::view.default`."""
    if "::" in name:
        return name.split("::")[1].split(".")[0]
    return name.split(".")[-1]


def changes_in_place(name: str) -> bool:
    """Whether an operation changes its first argument: `add_`, `__iadd__`."""
    base = base_name(name)
    if base.endswith("__"):
        others = ("__invert__", "__index__", "__int__")
        return base.startswith("__i") and base not in others
    return base.endswith("_")


def note_sharing(name: str, args: Any, found: Any) -> None:
    """Remember which results share the memory of the first argument."""
    if base_name(name) not in _SHARING or not args:
        return
    base = root_of(args[0])
    if not isinstance(base, torchax.tensor.Tensor):
        return
    for leaf in jax.tree.leaves(found):
        if isinstance(leaf, torchax.tensor.Tensor) and leaf is not base:
            _others(leaf).append(weakref.ref(base))
            _others(base).append(weakref.ref(leaf))


def require_own_memory(name: str, tensor: Any) -> None:
    """Refuse a change in place that in torch would change something else too."""
    if is_plain(tensor):
        raise Refused(
            f"{name} changes a tensor of shape {tuple(tensor.shape)}, which is neither "
            "a parameter nor a buffer of the module: the next call would not see it. "
            "Register it as a buffer."
        )
    root = root_of(tensor)
    if not isinstance(root, torchax.tensor.Tensor):
        return
    for other in _others(root):
        alive = other()
        if alive is not None:
            raise Refused(
                f"{name} changes a tensor of shape {tuple(tensor.shape)} that shares "
                f"memory with another one, of shape {tuple(alive.shape)}, as views do. "
                "torchax would leave the other one as it is: write the operation so "
                "that it returns a new tensor, or clone() the view."
            )


def root_of(tensor: Any) -> Any:
    """The tensor whose memory a slice is a part of: itself, if it is none."""
    while isinstance(tensor, torchax.view.View):
        tensor = tensor.parent
    return tensor


def _others(tensor: Any) -> list[weakref.ref[Any]]:
    if "shares" not in vars(tensor):
        tensor.shares = []
    return tensor.shares


def is_ours(leaf: Any) -> bool:
    """Whether something is a tensor of torchax, or a slice of one."""
    return isinstance(leaf, torchax.tensor.Tensor | torchax.view.View)


def is_plain(leaf: Any) -> bool:
    """Whether something is a tensor of torch itself."""
    return isinstance(leaf, torch.Tensor) and not is_ours(leaf)
