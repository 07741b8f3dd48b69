"""What a trace depends on, so that one is taken again only where it would be the same.

Equality is not enough: `1 == True == 1.0` and `0.0 == -0.0`, and an object that hashes
by identity may have changed. So what is not an array, the static fields of trees too,
is compared by type and content, as pickled; and code (functions, classes, modules) by
identity, as `jax.jit` does.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Hashable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import jax

from ..circuit import is_array, is_weak, shapes_of

_CODE = (type, FunctionType, BuiltinFunctionType, ModuleType)


class Exact:
    """A value that equals another only if both are the same in type and content.

    What has no content that can be told equals itself alone.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        # Kept, so that an id is not given to something else.
        self._content, self._code = _content(value)

    @property
    def told(self) -> bool:
        """Whether the content can be told."""
        return self._content is not None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Exact) or not self.told:
            return self is other
        return self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)


def signature(params: Any, args: tuple[Any, ...]) -> Hashable | None:
    """What a trace at these parameters and arguments depends on; None: not known."""
    leaves, treedef = jax.tree.flatten((params, args))
    shapes = tuple(shapes_of([leaf for leaf in leaves if is_array(leaf)]))
    rest = [(i, leaf) for i, leaf in enumerate(leaves) if not is_array(leaf)]
    given = Exact((treedef, rest))
    return (given, shapes, *_context()) if given.told else None


class Numbers:
    """Numbers of Python among the parameters, which `jax.jit` makes arrays of.

    As numbers they are not learned, and as arrays they are. So each has to stay what
    it was in the first call.
    """

    def __init__(self) -> None:
        self._learned: dict[str, bool] = {}

    def require_alike(self, params: Any) -> None:
        """Refuse a leaf that was a number in one call and is an array in another."""
        for path, leaf in jax.tree.leaves_with_path(params):
            learned = is_array(leaf)
            if learned and not (is_weak(leaf) and leaf.shape == ()):
                continue
            if learned or isinstance(leaf, (float, complex)):
                name = jax.tree_util.keystr(path)
                if self._learned.setdefault(name, learned) != learned:
                    raise ValueError(
                        f"`params{name}` was a number of Python in one call, which is "
                        "not learned, and an array in another, which is: `jax.jit` "
                        "makes arrays of numbers. To learn it, make it an array from "
                        "the start: `jnp.asarray(...)`. To leave it as it is, keep it "
                        "out of `params`: close over it, or hand it in as an argument "
                        "(of an equinox module: `eqx.filter_jit`, or "
                        "`eqx.partition(model, eqx.is_array)`)."
                    )


@jax.jit
def _nothing() -> None:
    return None


def _context() -> tuple[Hashable, ...]:
    """What a trace depends on beside its arguments: the settings of JAX.

    JAX traces the same function anew where one of them has changed. That of random
    keys it leaves out.
    """
    keys = jax.config.jax_default_prng_impl  # pyright: ignore[reportAttributeAccessIssue]
    return _nothing.trace().jaxpr, keys


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        # Without a memory, equal texts are written alike, be they one object or two.
        self.fast = True
        self.code: list[Any] = []

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, _CODE) and not hasattr(obj, "__wrapped__"):
            return None
        self.code.append(obj)
        return id(obj)


def _content(value: Any) -> tuple[bytes | None, list[Any]]:
    file = io.BytesIO()
    pickler = _Pickler(file)
    try:
        pickler.dump(value)
    except Exception:  # whatever a class of the user raises
        return None, []
    return file.getvalue(), pickler.code
