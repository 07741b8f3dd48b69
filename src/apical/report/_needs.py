"""What each rule needs, as measured, in the words of `Rule.needs`."""

from __future__ import annotations

from apical.measure import measured_needs
from apical.report._placement import OPEN, Needs
from apical.rules.tools import NEEDS


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
    return measured_needs().get(rule, dict.fromkeys(NEEDS, OPEN))
