"""A row of a comparison: a rule under a name."""

from collections.abc import Callable
from typing import Any, NamedTuple

from apical.rules._rule import SearchSpace


def descended(rule: Any, loss: str) -> str:
    """The loss that a rule descends where the comparison is of this loss."""
    return loss if rule.descends == "loss" else rule.descends


class Entry(NamedTuple):
    """A rule under a name.

    Attributes:
        make: makes the rule.
        cost: about how many steps of backpropagation one step takes: a guess from which
            the time left is told, never a result.
        space: the numbers that a sweep draws; None: those of the rule's `search_space`.
    """

    make: Callable[[], Any]
    cost: float = 1.0
    space: SearchSpace | None = None

    @property
    def citation(self) -> str:
        """The source, as BibTeX; the control has none."""
        return self.make().citation

    @property
    def needs(self) -> tuple[str, ...]:
        """What the rule needs that a neuron does not have."""
        return self.make().needs

    @property
    def rate_scale(self) -> float:
        """How many times the usual step sizes those are that a sweep tries."""
        return self.make().rate_scale

    @property
    def search_space(self) -> SearchSpace:
        """The numbers of the rule that a sweep draws."""
        return self.make().search_space if self.space is None else self.space
