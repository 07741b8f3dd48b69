"""From findings to a verdict, where a claim asks for more than equal or better.

| word                | when                                                   |
|---------------------|--------------------------------------------------------|
| holds               | every finding that decides is as the claim says        |
| holds within limits | those inside the limits are, and others are not        |
| does not hold       | one of them is settled, and not as the claim says      |
| not settled         | otherwise                                              |
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from apical.lab.claims._verdict import LEAST_SEEDS, Effect, Verdict, told


class Finding(NamedTuple):
    """An effect, and whether it is what the claim says.

    Attributes:
        effect: what was measured.
        fits: whether it is as the claim says; None where that is not settled.
        inside: whether it lies inside the limits that the claim lists beforehand.
        decides: whether the verdict looks at it; else it is only shown.
        unit: of the effect.
    """

    effect: Effect
    fits: bool | None
    inside: bool = False
    decides: bool = True
    unit: str = "points"


def at_least_equal(found: Effect) -> bool | None:
    """Whether it is equal or better; None where neither that nor worse is settled."""
    return None if found.word == "not settled" else found.at_least_equal


def equal(found: Effect) -> bool | None:
    """Whether the difference is smaller than matters."""
    return None if found.word == "not settled" else found.word == "equal"


def above(found: Effect, bound: float) -> bool | None:
    """Whether the whole interval lies above a bound; None where it contains it."""
    if not _known(found):
        return None
    if found.low > bound:
        return True
    return False if found.high <= bound else None


def below(found: Effect, bound: float) -> bool | None:
    """Whether the whole interval lies below a bound; None where it contains it."""
    if not _known(found):
        return None
    if found.high < bound:
        return True
    return False if found.low >= bound else None


def decide(findings: Sequence[Finding]) -> Verdict:
    """The verdict; what does not decide is shown among the effects.

    Example:
        >>> from apical.lab.claims._verdict import Effect
        >>> worse = Effect("a - b", -3.0, -4.0, -2.0, margin=0.5, seeds=5)
        >>> decide([Finding(worse, at_least_equal(worse))]).word
        'does not hold'
    """
    effects = tuple(finding.effect for finding in findings)
    deciding = [finding for finding in findings if finding.decides]
    if not deciding:
        raise ValueError("no finding decides: give at least one with decides=True")
    because = "; ".join(told(f.effect, f.unit) for f in deciding)
    inside = [finding for finding in deciding if finding.inside]
    if all(finding.fits for finding in deciding):
        return Verdict("holds", because, effects)
    if inside and all(finding.fits for finding in inside):
        return Verdict("holds within limits", because, effects)
    against = any(finding.fits is False for finding in deciding)
    return Verdict("does not hold" if against else "not settled", because, effects)


def _known(found: Effect) -> bool:
    return found.seeds >= LEAST_SEEDS and not math.isnan(found.low)
