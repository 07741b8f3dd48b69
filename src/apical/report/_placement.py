"""Where a rule is placed: impossible as it stands, possible, or plausible.

The places are those of "Brains and backprop: a key timeline crux" (LessWrong 2018).
Its highest place, that brains do it, is not for a measurement of programs to give.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

YES, NO, OPEN = "yes", "no", "not decided"
Needs = Mapping[str, str]  # by need: one of these

IMPOSSIBLE = "impossible as it stands"
POSSIBLE = "possible"
PLAUSIBLE = "plausible"
UNPLACED = "not placed"
PLACES = (PLAUSIBLE, POSSIBLE, IMPOSSIBLE, UNPLACED)

# What a need asks of a cell or a circuit decides how far it keeps a rule down.
EXCLUDING = ("weight transport", "backward through time")
COORDINATING = (
    *("separate phases", "global error", "stored activities", "update locking"),
    *("second network", "labels in every layer"),
)
HARMLESS = ("global reward", "derivative of the nonlinearity", "signed error units")

# A network without a loop cannot have them: there "not decided" excludes nothing.
_OF_LOOPS = ("backward through time",)


class Placed(NamedTuple):
    """The place of a rule, and the needs that keep it from a higher one.

    Attributes:
        place: one of `PLACES`.
        because: the needs, with what was found of each.
    """

    place: str
    because: tuple[tuple[str, str], ...]


def placed(needs: Needs) -> Placed:
    """The highest place that the needs of a rule allow.

    Args:
        needs: by need "yes", "no" or "not decided", in the words of `Rule.needs`.

    Returns:
        The place and the reasons.

    Example:
        >>> from apical.rules.tools import NEEDS
        >>> of_a_rule = dict.fromkeys(NEEDS, "no") | {"stored activities": "yes"}
        >>> placed(of_a_rule)
        Placed(place='possible', because=(('stored activities', 'yes'),))
    """
    excluding = _found(needs, EXCLUDING, (YES,))
    if excluding:
        return Placed(IMPOSSIBLE, excluding)
    decided = [need for need in EXCLUDING if need not in _OF_LOOPS]
    undecided = _found(needs, decided, (OPEN,))
    if undecided:
        return Placed(UNPLACED, undecided)
    coordinating = _found(needs, COORDINATING, (YES, OPEN))
    return Placed(POSSIBLE, coordinating) if coordinating else Placed(PLAUSIBLE, ())


def _found(
    needs: Needs, names: tuple[str, ...] | list[str], words: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    return tuple((need, needs[need]) for need in names if needs[need] in words)
