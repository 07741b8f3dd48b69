"""State that a loss function changes in place, as a module with batch statistics does.

apical calls a loss function many times, and always on copies of what it was handed, so
that no call sees what another one did. A change must then leave by `aux`, or it would
be lost without a word: statistics that never move, the same dropout at every step.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import jax

_CONTAINERS = (dict, list, tuple, OrderedDict, defaultdict, type(None))


def on_copies(loss_fn: Callable[..., Any]) -> Callable[..., Any]:
    """The loss function on new objects that hold the same arrays."""

    def call(params: Any, *args: Any) -> Any:
        params, args = jax.tree.map(lambda leaf: leaf, (params, args))
        return loss_fn(params, *args)

    return call


class Watch:
    """The objects in what a loss function is handed, before it is called."""

    def __init__(self, params: Any, args: tuple[Any, ...]) -> None:
        self._before = [
            (name, item, _leaves(item))
            for name, tree in (("params", params), ("args", args))
            for name, item in _objects(name, tree)
        ]

    def require_returned(self, result: Any) -> None:
        """Refuse a change in place that `loss_fn` does not return."""
        returned = {id(leaf) for leaf in jax.tree.leaves(result)}
        lost = [
            name + path
            for name, item, before in self._before
            for path, leaf in _leaves(item).items()
            if leaf is not before.get(path) and id(leaf) not in returned
        ]
        if lost:
            more = f" and {len(lost) - 1} more" if lost[1:] else ""
            raise ValueError(
                f"`loss_fn` changes `{lost[0]}`{more} in place, and the change would "
                "be lost: it acts on a copy, as under `jax.jit`. Return the new values "
                "unchanged beside the loss (`has_aux=True`), carry them on from "
                "`credit.aux`, and hand them over as an argument that all examples "
                "share (None in `batch`), not among the parameters. With flax.nnx: "
                "`graph, params, state = nnx.split(model, nnx.Param, ...)`, and in "
                "`loss_fn(params, state, x, y)` first `model = nnx.merge(graph, "
                "params, state)`, at the end `return loss, nnx.state(model, "
                "nnx.Not(nnx.Param))`."
            )


def _objects(name: str, tree: Any) -> Iterator[tuple[str, Any]]:
    """Objects of the user's and of packages, which can be changed to last."""
    found = jax.tree.leaves_with_path(
        tree, is_leaf=lambda item: not isinstance(item, _CONTAINERS)
    )
    for path, item in found:
        if not jax.tree_util.all_leaves([item]):
            yield name + jax.tree_util.keystr(path), item


def _leaves(item: Any) -> dict[str, Any]:
    try:
        found = jax.tree.leaves_with_path(item)
    except ValueError:  # used up: its successor is another object (equinox's `State`)
        return {}
    return {jax.tree_util.keystr(path): leaf for path, leaf in found}
