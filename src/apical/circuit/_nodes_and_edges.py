"""Nodes, their edges to what they reach next, and the one end that is no node."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple


class End(Enum):
    """What is reached and is no node. No name that a user gives is equal to it."""

    LOSS = "the loss"


LOSS: Final = End.LOSS
"""The loss, as the end of an edge: `Edge(LOSS)`. It is no node and has no name."""


class Edge(NamedTuple):
    """What a node, or a synapse, reaches with no other node between.

    Attributes:
      to: the name of a node, or `LOSS`.
      later: whether through the carry of a loop, in a following iteration.
    """

    to: str | End
    later: bool = False

    def __str__(self) -> str:
        told = self.to.value if isinstance(self.to, End) else self.to
        return f"{told} (later)" if self.later else told


@dataclass(frozen=True)
class Node:
    """An activity that a rule may read, hold or send a teaching signal to.

    Attributes:
      name: from the paths of the parameters that make it, or given by `apical.node`.
      shape: its shape, with the lengths of the loops around it in front.
      dtype: its dtype.
      why: "enters a synapse", "paths part", "marked" or "operation".
      unit: whether it is a nonlinearity of one activity, its drive.
      loops: the lengths of the loops around it.
      scope: the names of the modules or functions that compute it.
      where: the line that computes it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Any
    why: str
    unit: bool
    loops: tuple[int, ...]
    scope: str
    where: str
