"""`Partition`: the leaves of a pytree, learned or not, with unique names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from ._evaluate._sharding import struct_like

# ---- Unique names of leaves, from their paths.
# Two paths may print alike: `{"h.b": ...}` and `{"h": {"b": ...}}`, an attribute and a
# key. Such paths are printed with brackets and quotes.


def texts_of(path: Sequence[Any]) -> tuple[str, ...]:
    """The keys of a path as strings; quoted if they would print as nothing."""
    return tuple(map(_text, path))


def _text(key: Any) -> str:
    text = keystr((key,), simple=True)
    return text if text.strip() and text.isprintable() else repr(text)


def paths_of(paths: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """A name for each path, in their order."""
    plain = [".".join(texts_of(path)) or "params" for path in paths]
    often = Counter(plain)
    names = [
        keystr(tuple(path)) if often[name] > 1 else name
        for path, name in zip(paths, plain, strict=True)
    ]
    taken: set[str] = set()
    for i, name in enumerate(names):
        names[i] = unlike(name, taken.__contains__)
        taken.add(names[i])
    return tuple(names)


def unlike(name: str, taken: Callable[[str], bool]) -> str:
    """The name, or the first of `name#2`, `name#3`, ... that is not taken."""
    found, count = name, 1
    while taken(found):
        count += 1
        found = f"{name}#{count}"
    return found


def is_array(leaf: Any) -> bool:
    """Whether a leaf has values that can be traced."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def is_learned(leaf: Any) -> bool:
    """Whether a leaf is learned: an array of floating or complex numbers."""
    return is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)


@dataclass(frozen=True)
class Partition:
    """The leaves of a pytree: learned, other arrays, and everything else (static).

    `paths` are their names, all different; `texts` are the keys in each path.
    """

    treedef: Any
    paths: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    learned: tuple[int, ...]
    arrays: tuple[int, ...]
    static: tuple[tuple[int, Any], ...]

    @classmethod
    def of(cls, tree: Any, *, learn: bool = True) -> Partition:
        """Sort the leaves of a tree; with `learn=False` every array is data."""
        flat, treedef = jax.tree_util.tree_flatten_with_path(tree)
        paths = [path for path, _ in flat]
        learned, arrays, static = [], [], []
        for i, (_, leaf) in enumerate(flat):
            if learn and is_learned(leaf):
                learned.append(i)
            elif is_array(leaf):
                arrays.append(i)
            else:
                static.append((i, leaf))
        return cls(
            treedef,
            paths_of(paths),
            tuple(map(texts_of, paths)),
            tuple(learned),
            tuple(arrays),
            tuple(static),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of the learned leaves."""
        return tuple(self.paths[i] for i in self.learned)

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """The keys in the path of each learned leaf."""
        return tuple(self.texts[i] for i in self.learned)

    def split(self, tree: Any) -> tuple[list[Any], list[Any]]:
        """The learned leaves and the other arrays of a tree of this structure."""
        flat = self.treedef.flatten_up_to(tree)
        return [flat[i] for i in self.learned], [flat[i] for i in self.arrays]

    def combine(
        self, learned: Sequence[Any], arrays: Sequence[Any] | None = None
    ) -> Any:
        """The tree with these leaves; without `arrays`, None for leaves not learned."""
        flat: list[Any] = [None] * len(self.paths)
        for i, leaf in zip(self.learned, learned, strict=True):
            flat[i] = leaf
        if arrays is not None:
            for i, leaf in zip(self.arrays, arrays, strict=True):
                flat[i] = leaf
            for i, leaf in self.static:
                flat[i] = leaf
        return jax.tree.unflatten(self.treedef, flat)


def shapes_of(leaves: Sequence[Any]) -> list[jax.ShapeDtypeStruct]:
    """The shape and dtype of each leaf, and its sharding if that is explicit."""
    return [
        struct_like(_type(x), jnp.shape(x), _dtype(x), weak_type=is_weak(x))
        for x in leaves
    ]


def _type(leaf: Any) -> Any:
    return jax.typeof(leaf) if isinstance(leaf, jax.Array) else leaf


def is_weak(leaf: Any) -> bool:
    """Whether a leaf is weakly typed."""
    return bool(getattr(leaf, "weak_type", False))


def _dtype(leaf: Any) -> Any:
    # Typed keys keep their dtype; NumPy's doubles get the dtype that JAX gives them.
    if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
        return leaf.dtype
    return jnp.result_type(leaf)
