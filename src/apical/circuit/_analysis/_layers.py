"""Layers: the parameters that make the same nodes; hidden, or a read-out.

A node here is what enters a synapse, or where paths to such nodes part, whatever nodes
a rule works on and whatever is marked.

| a parameter reaches | its layer is | and it is taught by                |
|---------------------|--------------|------------------------------------|
| a node              | hidden       | the signal that a rule sends there |
| the loss alone      | a read-out   | the loss itself                    |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .._partition import unlike
from ._naming import common_path
from ._nodes import LOSS_NUMBER, Reach


class Layer(NamedTuple):
    """The learned leaves that make the same nodes.

    Attributes:
      name: the common path of the leaves.
      leaves: their positions among `circuit.leaves.names`.
      hidden: whether a teaching signal passes a node on its way to them.
    """

    name: str
    leaves: tuple[int, ...]
    hidden: bool


def layers(
    reached: Sequence[Reach], keys: Sequence[Sequence[str]], order: Mapping[int, int]
) -> tuple[Layer, ...]:
    """The layers in the order of the forward computation, read-outs last.

    Args:
      reached: what each learned leaf reaches; a leaf that reaches nothing has no layer.
      keys: those of the path of each.
      order: the place of each variable in the program.
    """
    groups: dict[frozenset[int], list[int]] = {}
    for leaf, reach in enumerate(reached):
        if reach:
            groups.setdefault(frozenset(n for n, _ in reach), []).append(leaf)

    def place(ends: frozenset[int]) -> tuple[bool, list[int]]:
        return ends == {LOSS_NUMBER}, sorted(order[n] for n in ends if n != LOSS_NUMBER)

    found: dict[str, Layer] = {}
    for ends in sorted(groups, key=place):
        path = common_path([keys[i] for i in groups[ends]])
        name = unlike(path, found.__contains__)
        found[name] = Layer(name, tuple(groups[ends]), ends != {LOSS_NUMBER})
    return tuple(found.values())
