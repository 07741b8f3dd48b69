"""`RuleSpec`: a rule as a row of a comparison, with its cost and its search space."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from apical.lab._call_syntax import NamedCall
from apical.lab._errors import LabError, resolve_names
from apical.rules._base import SearchSpace

# By the name of a rule: its hyper-parameters with (low, high, "log" or "linear").
SearchSpaces = Mapping[str, Mapping[str, tuple[float, float, str]]]
MOST_NUMBERS = 15  # of a search space: a trial draws these and a step size


def descended(rule: Any, loss: str) -> str:
    """The loss that a rule descends in a comparison with this loss."""
    return loss if rule.descends == "loss" else rule.descends


@dataclass(frozen=True, init=False)
class RuleSpec:
    """How to make a rule, what it costs, and what a sweep draws.

    Attributes:
        make: makes the rule.
        cost: estimated time of a step, relative to one of backpropagation. It is used
            for the remaining time of the progress bar only.
        search_space: the hyper-parameters that a sweep draws.
    """

    make: Callable[[], Any]
    cost: float
    search_space: SearchSpace

    def __init__(
        self,
        make: Callable[[], Any],
        cost: float = 1.0,
        search_space: SearchSpace | None = None,
    ):
        """Take the rule's own search space unless another is given."""
        space = make().search_space if search_space is None else search_space
        object.__setattr__(self, "make", make)
        object.__setattr__(self, "cost", cost)
        object.__setattr__(self, "search_space", space)

    @property
    def citation(self) -> str:
        """The source, as BibTeX; empty for the control."""
        return self.make().citation

    @property
    def needs(self) -> tuple[str, ...]:
        """The biological requirements of the rule."""
        return self.make().needs

    @property
    def rate_scale(self) -> float:
        """The factor of the step sizes that a sweep tries."""
        return self.make().rate_scale


def argument_names(spec: RuleSpec) -> list[str]:
    """The names of the rule's fields."""
    return [field.name for field in fields(spec.make())]


def with_arguments(
    base: NamedCall, spec: RuleSpec, arguments: dict[str, Any]
) -> tuple[str, RuleSpec]:
    """The row of a rule with these arguments; a sweep draws none of them.

    Args:
        base: the name of its row, with the arguments it already has.
        spec: the rule.
        arguments: values by field: numbers and strings.

    Raises:
        LabError: for an unknown field, or one that needs another kind of value.
    """
    made, there_are = spec.make(), argument_names(spec)
    if not there_are:
        raise LabError(f"{base} takes no arguments")
    resolve_names(f"argument of {base.name}", arguments, there_are)
    fitted = {
        name: _fitted(f"{base.name}: {name}={value!r}", getattr(made, name), value)
        for name, value in arguments.items()
    }
    try:
        rule = replace(made, **fitted)
    except (TypeError, ValueError) as error:
        raise LabError(f"{base.name} cannot be given {fitted}: {error}") from error
    space = {n: bounds for n, bounds in spec.search_space.items() if n not in fitted}
    name = str(NamedCall(base.name, {**base.arguments, **fitted}))
    return name, RuleSpec(lambda: rule, spec.cost, space)


def _fitted(where: str, now: Any, value: Any) -> Any:
    """The value, converted to the type of the present one."""
    kinds = {bool: (bool,), int: (int, float), float: (int, float), str: (str,)}
    wanted = (bool, int, float, str) if now is None else kinds.get(type(now))
    if wanted is None:
        raise LabError(
            f"{where} cannot be written in words, as it is a {type(now).__name__}: "
            "make the rule in a module and name it as your_module:rule"
        )
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, wanted) or (
        isinstance(value, bool) and bool not in wanted
    ):
        raise LabError(f"{where} must be of the type of {now!r}")
    if number and not math.isfinite(value):
        raise LabError(f"{where} must be finite")
    return float(value) if isinstance(now, float) else value


# ---- Search spaces given to `compare`


def checked_search_spaces(
    spaces: SearchSpaces | None, specs: Mapping[str, RuleSpec]
) -> dict[str, SearchSpace]:
    """The search spaces by the names of rules.

    Args:
        spaces: as given to `compare`.
        specs: the rules of the comparison.

    Raises:
        LabError: for an unknown rule or hyper-parameter, or invalid bounds.
    """
    if not spaces:
        return {}
    if not isinstance(spaces, Mapping):
        raise LabError(
            f"search_spaces is a {type(spaces).__name__}: give a dictionary, as "
            "{'kolen-pollack': {'decay': (1e-4, 1e-2, 'log')}}"
        )
    names = resolve_names("rule of this comparison", spaces, specs)
    return {
        name: _checked(name, space, specs[name])
        for name, space in zip(names, spaces.values(), strict=True)
    }


def _checked(name: str, space: Any, spec: RuleSpec) -> SearchSpace:
    where, rule = f"search_spaces[{name!r}]", spec.make()
    if not isinstance(space, Mapping):
        raise LabError(f"{where} is {space!r}: give a dictionary by hyper-parameter")
    if len(space) > MOST_NUMBERS:
        raise LabError(f"{where} has {len(space)} numbers: at most {MOST_NUMBERS}")
    there_are = [
        field.name
        for field in fields(rule)
        if not field.metadata.get("static") and _is_number(getattr(rule, field.name))
    ]
    if space and not there_are:
        raise LabError(f"{where}: {name} has no number that a sweep can draw")
    numbers = resolve_names(f"number of {name}", space, there_are) if space else []
    found = {
        number: _bounds(f"{where}[{number!r}]", bounds)
        for number, bounds in zip(numbers, space.values(), strict=True)
    }
    for number, (low, high, _) in found.items():
        for value in (low, high):
            try:  # now, not when a trial draws it
                replace(rule, **{number: value})
            except ValueError as error:
                raise LabError(
                    f"{where}[{number!r}] reaches {value:g}: {error}"
                ) from error
    return found


def _is_number(value: Any) -> bool:
    """Whether a sweep can put a number in its place; None stands for a default."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or plain or hasattr(value, "dtype")


def _bounds(where: str, bounds: Any) -> tuple[float, float, str]:
    try:
        low, high, scale = bounds
        if not (-math.inf < low < high < math.inf and scale in ("log", "linear")):
            raise ValueError("low, high or scale")
    except (TypeError, ValueError) as error:
        raise LabError(
            f"{where} is {bounds!r}: give (low, high, 'log' or 'linear') with low "
            "below high"
        ) from error
    if scale == "log" and low <= 0:
        raise LabError(f"{where} is {bounds!r}: on a log scale low must be above 0")
    return float(low), float(high), scale
