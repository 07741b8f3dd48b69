"""`BatchAxes`: the axis of the examples in each argument, and their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._partition import Partition


class BatchAxes:
    """The axis of the examples in each argument, from `batch_axes`.

    `batch_axes` has the meaning of `in_axes` of `jax.vmap`.
    """

    def __init__(self, spec: Any, given: Partition, shapes: Sequence[tuple[int, ...]]):
        self.spec, self.given, self.shapes = spec, given, shapes

    @property
    def axes(self) -> list[int | None]:
        """The axis of the examples in each array of the arguments."""
        # Leaves are replaced by their indices, to spread a prefix of the tree.
        args = jax.tree.unflatten(self.given.treedef, range(len(self.given.paths)))
        batch = self.spec.batch_axes
        batch = tuple(batch) if isinstance(batch, list) else batch  # as `jax.vmap` does
        batch = (
            (batch,) * len(args) if batch is None or isinstance(batch, int) else batch
        )
        axes: list[Any] = [None] * len(self.given.paths)

        def spread(axis: Any, subtree: Any) -> None:
            for i in jax.tree.leaves(subtree):
                axes[i] = axis

        try:
            jax.tree.map(spread, batch, args, is_leaf=lambda x: x is None)
        except ValueError as error:
            raise ValueError(
                "`batch_axes` must be an integer, None, or a tuple with one entry (a "
                f"pytree prefix) per argument after `params`. There are {len(args)} of "
                f"these, and it is {batch!r}."
            ) from error
        return [axes[i] for i in self.given.arrays]

    @property
    def shared(self) -> list[int]:
        """The arrays that all examples share; none if no array has examples."""
        axes = self.axes
        if all(axis is None for axis in axes):
            return []
        return [i for i, axis in enumerate(axes) if axis is None]

    @property
    def size(self) -> int:
        """The number of examples; 1 if no argument has an axis of examples."""
        sizes: dict[str, int] = {}
        for index, axis, shape in zip(
            self.given.arrays, self.axes, self.shapes, strict=True
        ):
            if axis is None:
                continue
            path = self.given.paths[index]
            if not -len(shape) <= axis < len(shape):
                raise ValueError(
                    f"Argument {path} (after `params`) has shape {shape} and no axis "
                    f"{axis} of examples. Say which arguments have one: "
                    "`batch_axes=(0, 0, None)`, None for what all examples share."
                )
            sizes[path] = shape[axis]
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{path}: {size}" for path, size in sizes.items())
            raise ValueError(
                f"The arguments differ in their number of examples ({listed}). Say "
                "which have an axis of examples: `batch_axes=(0, 0, None)`, None for "
                "keys, masks and whatever all examples share."
            )
        if 0 in sizes.values():
            raise ValueError(
                f"The arguments hold no example: argument {next(iter(sizes))} (after "
                "`params`) has 0 on the axis of the examples. Leave empty batches out."
            )
        return next(iter(sizes.values()), 1)

    def repeated(self) -> list[tuple[int, ...]]:
        """The shapes of the arrays for twice as many examples."""

        def twice(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
            at = None if axis is None else axis % len(shape)
            return tuple(2 * n if i == at else n for i, n in enumerate(shape))

        return [twice(s, a) for s, a in zip(self.shapes, self.axes, strict=True)]

    def axis(self, site: str, shape: Any, repeated: Any) -> int | None:
        """The axis of a site that grows with the examples; None if none does."""
        pairs = enumerate(zip(shape, repeated, strict=False))
        grown = [i for i, (before, after) in pairs if before != after]
        sizes = [shape[i] for i in grown]
        if len(shape) != len(repeated) or sizes not in ([], [self.size]):
            raise ValueError(
                f"The examples do not have an axis of their own at {site}: of "
                f"{self.size} examples it has shape {tuple(shape)}, and of "
                f"{2 * self.size} examples {tuple(repeated)}. A rule that needs single "
                "examples is not defined here; give them an axis of their own (by "
                "`jax.vmap`, or by reshaping before the weights)."
            )
        return grown[0] if grown else None

    def loss(self, loss_fn: Callable[..., Any], params: Any, args: Any) -> Any:
        """The loss without aux."""
        result = loss_fn(params, *args)
        return result[0] if self.spec.has_aux else result

    def twice(self, args: Any) -> Any:
        """The arguments with every example repeated."""
        arrays = self.given.split(args)[1]
        pairs = zip(arrays, self.axes, strict=True)
        doubled = [x if a is None else jnp.concatenate([x, x], a) for x, a in pairs]
        return self.given.combine([], doubled)
