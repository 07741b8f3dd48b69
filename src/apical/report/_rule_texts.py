"""The rules that the page shows, with family and first line, in order."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, NamedTuple

from apical.lab import NOT_COMPARED, RULES
from apical.lab._rule_lookup import find_spec

# By the folder of the rule's class in `apical.rules`, in the order of the page.
FAMILIES = {
    "_backpropagation": "Backpropagation",
    "feedback": "Feedback weights",
    "predictive_coding": "Predictive coding",
    "equilibrium": "Equilibrium",
    "target_propagation": "Target propagation",
    "synthetic_gradients": "Synthetic gradients",
    "local_objectives": "Local objectives",
    "perturbation": "Perturbation",
    "stochastic_nodes": "Stochastic units",
    "online": "Through time",
    "plasticity": "Plasticity",
    "_control_rules": "Control",
}
YOURS = "Your rules"


class RuleText(NamedTuple):
    """What the page says of a rule beside its numbers.

    Attributes:
        name: in `apical rules`, or in a comparison.
        family: the title of its family.
        summary: the first line of its docstring.
        declared: the needs that it declares; None if only a comparison knows them.
        why_not: why a comparison does not run it, or "".
    """

    name: str
    family: str
    summary: str
    declared: tuple[str, ...] | None = None
    why_not: str = ""


def rule_texts(compared: Iterable[str]) -> list[RuleText]:
    """Every named rule and every compared one, by family.

    Args:
        compared: the names in a comparison; those of the user's rules are added.

    Example:
        >>> first = rule_texts(["my_module:MyRule"])
        >>> first[0].name, first[-1].family
        ('backpropagation', 'Your rules')
    """
    found = [_named(name, spec.make()) for name, spec in RULES.items()]
    found += [
        _named(name, each.spec.make(), each.why) for name, each in NOT_COMPARED.items()
    ]
    known = {each.name for each in found}
    found += [_compared(name) for name in compared if name not in known]
    order = [*FAMILIES.values(), YOURS]
    return sorted(found, key=lambda each: order.index(each.family))


def _named(name: str, rule: Any, why_not: str = "") -> RuleText:
    summary = (inspect.getdoc(type(rule)) or "").partition("\n")[0]
    folder = type(rule).__module__.split(".")[2]
    family = FAMILIES.get(folder, YOURS)
    return RuleText(name, family, summary, tuple(rule.needs), why_not)


def _compared(name: str) -> RuleText:
    """A rule of the user's, or a named one with arguments."""
    spec = find_spec(name)
    if spec is None:
        return RuleText(name, YOURS, "")
    return _named(name, spec.make())._replace(declared=None)
