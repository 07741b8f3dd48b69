"""What is changed in torchax while a module runs, and put back after it.

| what                     | torchax                      | here                       |
|--------------------------|------------------------------|----------------------------|
| `tensor.data`            | passes gradients             | `tensor.detach()`          |
| `tensor.type_as(other)`  | changes the type of `tensor` | returns a new tensor       |
| `tensor[key] = value`    | leaves views as they are     | refused where there is one |
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ._packages import torchax
from ._shared_memory import require_own_memory


def _checked(original: Any) -> Any:
    """`tensor[key] = value`, refused where torch would change another tensor too."""

    def set_item(self: Any, key: Any, value: Any) -> None:
        require_own_memory("torch.Tensor.__setitem__", self)
        original(self, key, value)

    return set_item


def _type_as(self: Any, other: Any) -> Any:
    return self.to(other.dtype)


@contextlib.contextmanager
def patched() -> Iterator[None]:
    """Apply the changes, for the time of a call."""
    tensor, view = torchax.tensor.Tensor, torchax.view.View
    changes = (
        (tensor, "data", property(tensor.detach)),
        (tensor, "type_as", _type_as),
        (tensor, "__setitem__", _checked(tensor.__setitem__)),
        (view, "__setitem__", _checked(view.__setitem__)),
    )
    kept = [(owner, name, vars(owner)[name]) for owner, name, _ in changes]
    for owner, name, changed in changes:
        setattr(owner, name, changed)
    try:
        yield
    finally:
        for owner, name, original in kept:
            setattr(owner, name, original)
