"""What each rule needs: measured where it was, otherwise as the rule declares it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from apical import measure
from apical.lab import NOT_COMPARED, RULES
from apical.report._placement import NO, OPEN, YES, Needs
from apical.rules.tools import NEEDS


def are_measured() -> bool:
    """Whether this version of apical keeps measured needs."""
    return hasattr(measure, "measured_needs")


@cache
def _by_rule() -> Mapping[str, Needs]:
    if are_measured():
        return measure.measured_needs()
    specs = {**RULES, **{name: found.spec for name, found in NOT_COMPARED.items()}}
    return {name: as_declared(spec.needs) for name, spec in specs.items()}


def as_declared(needs: tuple[str, ...]) -> dict[str, str]:
    """Declared needs in the words of measured ones."""
    return {need: YES if need in needs else NO for need in NEEDS}


def needs_of(rule: str) -> Needs:
    """By need "yes", "no" or "not decided"; a rule of the user's was not measured.

    Args:
        rule: its name. With arguments, it is not the rule that was measured.

    Example:
        >>> needs_of("backpropagation")["weight transport"]
        'yes'
        >>> set(needs_of("my_module:MyRule").values())
        {'not decided'}
    """
    return _by_rule().get(rule, dict.fromkeys(NEEDS, OPEN))
