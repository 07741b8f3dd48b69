"""The rule that turns effects into a verdict.

m is the margin of an effect. What a claim says is settled only if the interval lies
wholly on one side of the threshold:

| the claim says   | as claimed if     | against it if the interval lies | for         |
|------------------|-------------------|---------------------------------|-------------|
| equal            | inside (-m, m)    | wholly beyond m or -m           | "the same"  |
| different        | wholly beyond     | inside (-m, m)                  | "another"   |
| at least as high | wholly above -m   | wholly below -m                 | "matches"   |
| at most as high  | wholly below m    | wholly above m                  | an error    |
| higher           | wholly above m    | wholly below m                  | "better"    |
| lower            | wholly below -m   | wholly above -m                 | "falls"     |

| verdict             | when                                                   |
|---------------------|--------------------------------------------------------|
| holds               | every finding that decides is as claimed               |
| holds within limits | those inside the limits are, and others are not        |
| does not hold       | neither, and one that decides is against the claim     |
| not settled         | otherwise                                              |
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from apical.claims._effect_size import Effect

Word = Literal["holds", "holds within limits", "does not hold", "not settled"]
Says = Literal[
    "equal", "different", "at least as high", "at most as high", "higher", "lower"
]


def _wholly_above(found: Effect, bound: float) -> bool | None:
    """True: the interval lies above; False: below; None: on both sides."""
    if found.low > bound:
        return True
    return False if found.high < bound else None


def _inside(found: Effect) -> bool | None:
    return {"equal": True, "not settled": None}.get(found.word, False)


def _negated(fits: bool | None) -> bool | None:
    return None if fits is None else not fits


_FITS: dict[Says, Callable[[Effect], bool | None]] = {
    "equal": _inside,
    "different": lambda found: _negated(_inside(found)),
    "at least as high": lambda found: _wholly_above(found, -found.margin),
    "at most as high": lambda found: _negated(_wholly_above(found, found.margin)),
    "higher": lambda found: _wholly_above(found, found.margin),
    "lower": lambda found: _negated(_wholly_above(found, -found.margin)),
}
SAYS: tuple[Says, ...] = tuple(_FITS)


class Finding(NamedTuple):
    """An effect, and what the claim says about it.

    Attributes:
        effect: what was measured.
        says: what the claim says; None: nothing, so that the effect is only shown.
        inside: whether it is inside the limits that the claim lists beforehand.
        unit: of the effect.
    """

    effect: Effect
    says: Says | None = None
    inside: bool = False
    unit: str = "points"

    @property
    def fits(self) -> bool | None:
        """Whether it is as the claim says; None if that is not settled."""
        if self.says is None or not self.effect.known:
            return None
        return _FITS[self.says](self.effect)

    @property
    def word(self) -> str:
        """Whether it is as the claim says, as text."""
        if self.says is None:
            return "shown only"
        words = {True: "as claimed", False: "against the claim", None: "not settled"}
        return words[self.fits]


class Verdict(NamedTuple):
    """The verdict on a claim, and the reasons.

    Attributes:
        word: one of four.
        because: the numbers that decided, in a sentence.
        findings: every effect, and what the claim says about it.
        refused: why no verdict is given, where the runs do not allow one; the word
            is then "not settled".
        unrefused: the word that the numbers alone would give.
        unknown: what cannot be checked from the records.
    """

    word: Word
    because: str
    findings: tuple[Finding, ...] = ()
    refused: tuple[str, ...] = ()
    unrefused: Word | None = None
    unknown: tuple[str, ...] = ()

    @property
    def effects(self) -> tuple[Effect, ...]:
        """The effects of all findings."""
        return tuple(finding.effect for finding in self.findings)

    def with_refusals(
        self, refused: Sequence[str], unknown: Sequence[str] = ()
    ) -> "Verdict":
        """The verdict, refused for these reasons if there are any."""
        unknown = (*self.unknown, *unknown)
        if not refused:
            return self._replace(unknown=unknown)
        return self._replace(
            word="not settled",
            refused=(*self.refused, *refused),
            unrefused=self.unrefused or self.word,
            unknown=unknown,
        )


def as_well_as_backprop(
    to_backprop: Effect, to_control: Effect, decides: bool = True, inside: bool = False
) -> list[Finding]:
    """At least as high as backpropagation, and higher than the control.

    Args:
        to_backprop: the difference to the accuracy of backpropagation.
        to_control: the difference to the accuracy of the control.
        decides: whether the claim says so; if not, both are only shown.
        inside: whether both are inside the limits of the claim.
    """
    return [
        Finding(to_backprop, "at least as high" if decides else None, inside),
        Finding(to_control, "higher" if decides else None, inside),
    ]


def decide(findings: Sequence[Finding]) -> Verdict:
    """The verdict that follows from the findings.

    Findings about which the claim says nothing are shown, but do not decide.

    Raises:
        ValueError: if no finding decides.

    Example:
        >>> from apical.claims import Effect, Finding, decide
        >>> lower = Effect("a - b", -3.0, -4.0, -2.0, margin=0.5, seeds=5)
        >>> decide([Finding(lower, "at least as high")]).word
        'does not hold'
    """
    deciding = [finding for finding in findings if finding.says is not None]
    if not deciding:
        raise ValueError("no finding decides: give one with `says`")
    because = "; ".join(map(finding_in_words, deciding))
    return Verdict(_word(deciding), because, tuple(findings))


def _word(deciding: Sequence[Finding]) -> Word:
    inside = [finding for finding in deciding if finding.inside]
    if all(finding.fits for finding in deciding):
        return "holds"
    if inside and all(finding.fits for finding in inside):
        return "holds within limits"
    against = any(finding.fits is False for finding in deciding)
    return "does not hold" if against else "not settled"


def finding_in_words(finding: Finding) -> str:
    """A finding as text."""
    found, unit = finding.effect, finding.unit
    if math.isnan(found.mean):
        return f"{found.what}: not run"
    if math.isnan(found.low):
        return f"{found.what}: {found.mean:+.2f} {unit}, too few seeds"
    return (
        f"{found.what}: {found.mean:+.2f} {unit} "
        f"[{found.low:+.2f}, {found.high:+.2f}], {finding.word}"
    )
