"""Trees of parameters whose names are those of others, or print alike."""

from typing import Any, NamedTuple

import jax
import numpy as np

# What this library, or the printing of paths, could take for something else.
NASTY = (
    *("loss", "the loss", "output", "output#2", "input", "params", "x", "x (later)"),
    *("x.drive", "x:drive", "x.x", "x#2", "x/x", "x + x", "['x']", ".x", "."),
    *("", " ", "\n", "0", "[0]", "None", "ü", '"', "<b>", "%s", "{}", "x\tx"),
)


@jax.tree_util.register_pytree_with_keys_class
class Twins:
    """Four leaves: two attributes, and two keys that print as these do."""

    KEYS = (
        jax.tree_util.GetAttrKey("a"),
        jax.tree_util.DictKey("a"),
        jax.tree_util.DictKey(1),
        jax.tree_util.DictKey("1"),
    )

    def __init__(self, *leaves: Any):
        self.leaves = leaves

    def tree_flatten_with_keys(self):
        return tuple(zip(self.KEYS, self.leaves, strict=True)), None

    @classmethod
    def tree_unflatten(cls, aux, leaves):
        return cls(*leaves)


class Odd(NamedTuple):
    loss: Any
    output: Any


CHOSEN = {
    "a loss that ends a branch": {
        "a": 0,
        "loss": 0,
        "output": 0,
        "x": 0,
        "x (later)": 0,
    },
    "terminals": {"loss": 0, "output": 0, "x (later)": 0, "x:drive": 0, "x": 0},
    "dots": {"h.b": 0, "h": {"b": 0, "b.": 0}, "h.b.": 0, ".": {"": 0}},
    "twins": Twins(0, 0, 0, [0, 0]),
    "quoted": {"a.b": 0, "a": {"b": 0}, "['a.b']": 0, "['a']['b']": 0, "a#2": 0},
    "fields": Odd(Odd(0, 0), [0, {"loss": 0, "": 0}]),
}


def drawn(count: int, seed: int) -> Any:
    """Nested dictionaries with so many leaves, their keys drawn from `NASTY`."""
    numbers, tree = np.random.default_rng(seed), {}
    while len(jax.tree.leaves(tree)) < count:
        at = tree
        for key in numbers.choice(NASTY, numbers.integers(3)):
            at = at.setdefault(str(key), {}) if at.get(str(key)) != 0 else {}
        at.setdefault(str(numbers.choice(NASTY)), 0)
    return tree


def filled(tree: Any, leaves: list[Any]) -> Any:
    """The tree with other leaves, in its own order."""
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)
