"""Each example by itself: the circuit of a batch of one, mapped over the examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp

from ._circuit import Circuit

# A circuit is traced once at a batch of one, however many rules ask.
_FOUND: WeakKeyDictionary[Circuit, Circuit] = WeakKeyDictionary()


class OneByOne:
    """A circuit seen as one network for each example.

    Attributes:
      batch: the circuit of all examples.
      circuit: the circuit of one, on a batch of one; its nodes have the same names.
    """

    def __init__(self, batch: Circuit) -> None:
        self.batch = batch
        if batch not in _FOUND:
            _FOUND[batch] = _traced_alone(batch)
        self.circuit = _FOUND[batch]

    @property
    def scale(self) -> int:
        """How many times larger an example's own gradient is than its share."""
        return self.batch.scale

    def __call__(
        self, function: Callable[..., Any], args: tuple[Any, ...], *mapped: Any
    ) -> Any:
        """`function(args of one example, *mapped)`, side by side for every example.

        What comes back has the examples in front; so must what is `mapped`.
        """
        return self.batch._examples.mapped(function, args, *mapped)

    def together(self, site: str, values: jax.Array, *, shared: str) -> jax.Array:
        """What single examples have at a site, as the whole batch has it there.

        Args:
          site: a node's name or `"output"`.
          values: the examples in front, then the site's shape at a batch of one.
          shared: what becomes of the examples where the site has no axis for them:
            `"sum"` or `"first"`.
        """
        axis = self.batch.example_axes[site]
        if axis is None:
            return values[0] if shared == "first" else jnp.sum(values, axis=0)
        return jnp.moveaxis(jnp.squeeze(values, axis + 1), 0, axis)

    def require_same_nodes(self) -> None:
        """Refuse where a batch of one has other nodes than the batch."""
        ours = [n.name for n in self.batch.nodes]
        theirs = [n.name for n in self.circuit.nodes]
        if ours != theirs:
            odd = sorted(set(ours) ^ set(theirs)) or ours
            raise ValueError(
                f"Traced with one example, `loss_fn` has other nodes ({odd}) than with "
                "the batch, and this rule runs each example by itself. Name them by "
                "`apical.node`, and see that `batch` describes the arguments."
            )

    def require_independent(self, params: Any, args: tuple[Any, ...]) -> None:
        """Refuse if the loss is not that of single examples (batch normalisation)."""
        self.batch.examples(params, args)


def _traced_alone(batch: Circuit) -> Circuit:
    """The circuit of the first example's shapes."""
    program, leaves = batch._flow.program, batch.leaves
    first, second = len(leaves.learned), len(leaves.arrays)
    structs = [program.shapes[n] for n in program.body.inputs]
    params = leaves.build(structs[:first], structs[first : first + second])
    pairs = zip(structs[first + second :], batch._examples.axes, strict=True)
    alone = [_alone(struct, axis) for struct, axis in pairs]
    try:
        return batch._retrace(params, batch._given.build([], alone))
    except Exception as error:
        raise ValueError(
            "This rule runs each example by itself, and traced with one example "
            f"`loss_fn` refused: {error}. Pass what has one entry per example as an "
            "argument, and see that `batch` describes the arguments."
        ) from error


def _alone(struct: jax.ShapeDtypeStruct, axis: int | None) -> jax.ShapeDtypeStruct:
    shape = list(struct.shape)
    if axis is not None:
        shape[axis] = 1
    return jax.ShapeDtypeStruct(tuple(shape), struct.dtype)
