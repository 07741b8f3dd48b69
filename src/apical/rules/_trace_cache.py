"""A cache of circuits, and its keys: everything that a trace depends on.

Equality is not enough for a key: `1 == True == 1.0` and `0.0 == -0.0`, and an object
that hashes by identity may have changed. So values that are not arrays (including
static fields of pytrees) are compared by type and pickled content; code (functions,
classes, modules) is compared by identity, as `jax.jit` does.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Hashable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import jax

from ..circuit import (
    Circuit,
    LossSpec,
    is_array,
    is_weak,
    require_arrays,
    shapes_of,
    trace_spec,
)

_CIRCUITS_KEPT = 16
_CODE = (type, FunctionType, BuiltinFunctionType, ModuleType)


class CircuitCache:
    """The circuits of one loss function, one for each set of shapes and settings."""

    def __init__(self, loss_fn: Callable[..., Any], spec: LossSpec) -> None:
        self.loss_fn, self.spec = loss_fn, spec
        self._circuits: OrderedDict[Any, Circuit] = OrderedDict()
        self._python_numbers = PythonNumbers()

    def __call__(self, params: Any, args: tuple[Any, ...]) -> Circuit:
        """The circuit at these shapes, traced the first time."""
        require_arrays(params, args)
        self._python_numbers.require_unchanged(params)
        key = signature(params, args)
        if key in self._circuits:
            self._circuits.move_to_end(key)
            return self._circuits[key]
        circuit = trace_spec(self.loss_fn, self.spec, params, args)
        # A circuit that closes over a tracer of an outer transformation must not
        # outlive it.
        if key is not None and not circuit.structure.closes_over_tracers:
            self._circuits[key] = circuit
            if len(self._circuits) > _CIRCUITS_KEPT:
                self._circuits.popitem(last=False)
        return circuit


class Exact:
    """A value that equals another only if both are the same in type and content.

    A value that cannot be pickled equals only itself.

    Attributes:
      value: the value.
      content: its type and content as bytes; None if it cannot be pickled.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        # References keep the code alive, so that its id is not reused.
        self.content, self._code = _content(value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Exact) or self.content is None:
            return self is other
        return self.content == other.content

    def __hash__(self) -> int:
        return hash(self.content)


def signature(params: Any, args: tuple[Any, ...]) -> Hashable | None:
    """Everything a trace at these arguments depends on; None if it is not known."""
    leaves, treedef = jax.tree.flatten((params, args))
    shapes = tuple(shapes_of([leaf for leaf in leaves if is_array(leaf)]))
    rest = [(i, leaf) for i, leaf in enumerate(leaves) if not is_array(leaf)]
    exact = Exact((treedef, rest))
    return None if exact.content is None else (exact, shapes, *_context())


class PythonNumbers:
    """Python numbers among the parameters, which `jax.jit` turns into arrays.

    Numbers are not learned, arrays are. So each must keep the type that it had in the
    first call.
    """

    def __init__(self) -> None:
        self._learned: dict[str, bool] = {}

    def require_unchanged(self, params: Any) -> None:
        """Raise for a leaf that was a number in one call and is an array in another."""
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
    """The settings of JAX on which a trace depends, besides its arguments.

    JAX traces a function again when one of its trace settings changes; the default
    implementation of random keys is not among these, and is added here.
    """
    keys = jax.config.jax_default_prng_impl  # pyright: ignore[reportAttributeAccessIssue]
    return _nothing.trace().jaxpr, keys


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        # Without the memo, equal strings pickle alike, whether one object or two.
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
    except Exception:  # a user's class may raise anything
        return None, []
    return file.getvalue(), pickler.code
