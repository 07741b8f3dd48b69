"""A row of a comparison: a rule under a name."""

from collections.abc import Callable
from typing import Any, NamedTuple

from apical.rules._rule import SearchSpace


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
    def search_space(self) -> SearchSpace:
        """The numbers of the rule that a sweep draws."""
        return self.make().search_space if self.space is None else self.space
