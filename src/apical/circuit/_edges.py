"""Edges of a circuit: what a node reaches next, and the one end that is no node."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class End(Enum):
    """What is reached and is no node. No name that a user gives is equal to it."""

    LOSS = "the loss"


LOSS: Final = End.LOSS


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
