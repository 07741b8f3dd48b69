"""A row of a comparison: a rule under a name."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, NamedTuple

from apical.lab._errors import LabError, known
from apical.lab._names import Spelled
from apical.rules._base import SearchSpace


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


def fields_of(entry: Entry) -> list[str]:
    """The names of what the rule may be given."""
    return [field.name for field in fields(entry.make())]


def given(base: Spelled, entry: Entry, arguments: dict[str, Any]) -> tuple[str, Entry]:
    """The row of a rule with other numbers than its own; a sweep draws none of them.

    Args:
        base: the name of its row, and what it was given before.
        entry: the rule.
        arguments: what it is given, by field: numbers and words.

    Raises:
        LabError: it has no such field, or one that numbers and words cannot give.
    """
    made, there_are = entry.make(), fields_of(entry)
    if not there_are:
        raise LabError(f"{base} takes no arguments")
    known(f"argument of {base.name}", arguments, there_are)
    fitted = {
        name: _fitted(f"{base.name}: {name}={value!r}", getattr(made, name), value)
        for name, value in arguments.items()
    }
    try:
        rule = replace(made, **fitted)
    except (TypeError, ValueError) as error:
        raise LabError(f"{base.name} cannot be given {fitted}: {error}") from error
    space = {n: found for n, found in entry.search_space.items() if n not in fitted}
    name = str(Spelled(base.name, {**base.arguments, **fitted}))
    return name, Entry(lambda: rule, entry.cost, space)


def _fitted(told: str, now: Any, value: Any) -> Any:
    """The value in the type of what stands there now."""
    kinds = {bool: (bool,), int: (int, float), float: (int, float), str: (str,)}
    wanted = (bool, int, float, str) if now is None else kinds.get(type(now))
    if wanted is None:
        raise LabError(
            f"{told} cannot be given in words, as it is a {type(now).__name__}: make "
            "the rule in a module and name it as your_module:rule"
        )
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, wanted) or (
        isinstance(value, bool) and bool not in wanted
    ):
        raise LabError(f"{told} must be of the type of {now!r}")
    if number and not math.isfinite(value):
        raise LabError(f"{told} must be finite")
    return float(value) if isinstance(now, float) else value
