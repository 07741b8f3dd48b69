"""The measured needs of every rule that has a name, kept as a table.

`needs_table.json` is written by `tools/locality_table.py`, which measures each rule
with `locality` on a small network. An installed package has the table too.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("needs_table.json")


class RuleNeeds(NamedTuple):
    """What one rule needs, as measured and as declared.

    Attributes:
      needs: for each need "yes", "no" or "not decided", as measured.
      declared: the needs that the rule declares.
      network: the network on which it was measured.
      why: why some need was not decided, where that is special to the rule.
    """

    needs: dict[str, str]
    declared: tuple[str, ...]
    network: str
    why: str

    @property
    def mismatches(self) -> tuple[str, ...]:
        """The needs that were decided, and that the rule declares otherwise."""
        return tuple(
            need
            for need, found in self.needs.items()
            if found != "not decided" and (found == "yes") != (need in self.declared)
        )


@cache
def _kept() -> dict[str, RuleNeeds]:
    found = json.loads(FILE.read_text("utf-8"))
    return {
        name: RuleNeeds(**each | {"declared": tuple(each["declared"])})
        for name, each in found.items()
    }


def needs_table() -> dict[str, RuleNeeds]:
    """What each rule needs, as measured and as declared, by its name.

    The names are those of `apical rules`, the order too. Each rule was measured at its
    defaults by `apical.measure.locality`, on a small network after some updates.

    Returns:
      A `RuleNeeds` for each rule.

    Example:
      >>> import apical
      >>> found = apical.measure.needs_table()["sign-concordance"]
      >>> found.network, found.mismatches
      ('four layers of tanh units, squared error', ())
    """
    return dict(_kept())


def measured_needs() -> dict[str, dict[str, str]]:
    """The measured needs of each rule by its name: "yes", "no" or "not decided".

    Returns:
      For each rule that `apical rules` lists, a dictionary by need, in the words of
      `Rule.needs`. "no" is proved on the network that `needs_table` names, "yes" was
      seen there.

    Example:
      >>> import apical
      >>> found = apical.measure.measured_needs()
      >>> found["backpropagation"]["weight transport"]
      'yes'
      >>> found["feedback-alignment"]["weight transport"]
      'no'
    """
    return {name: dict(each.needs) for name, each in _kept().items()}
