"""Verdicts: each word follows from the interval relative to -m, 0 and m."""

import math
from itertools import combinations_with_replacement

import pytest

from apical.claims._effect_size import Effect, effect
from apical.claims._verdict import SAYS, Finding, decide

M, E = 0.5, 0.01
PLACES = sorted({x + d for x in (-M, 0.0, M) for d in (-E, 0.0, E)} | {-2 * M, 2 * M})
INTERVALS = list(combinations_with_replacement(PLACES, 2))

# What a claim would have a difference be, and what speaks against it.
CLAIMED = {
    "equal": lambda t: -M < t < M,
    "different": lambda t: t < -M or t > M,
    "at least as high": lambda t: t > -M,
    "at most as high": lambda t: t < M,
    "higher": lambda t: t > M,
    "lower": lambda t: t < -M,
}
AGAINST = {
    "equal": CLAIMED["different"],
    "different": CLAIMED["equal"],
    "at least as high": lambda t: t < -M,
    "at most as high": lambda t: t > M,
    "higher": lambda t: t < M,
    "lower": lambda t: t > -M,
}
WORDS = {
    "equal": CLAIMED["equal"],
    "higher": CLAIMED["higher"],
    "lower": CLAIMED["lower"],
}


def made(low, high, seeds=5):
    return Effect("a - b", (low + high) / 2, low, high, M, seeds)


def within(low, high):
    """The differences that an interval allows, as far as they are looked at."""
    return [place for place in PLACES if low <= place <= high]


def expected(says, low, high):
    if all(map(CLAIMED[says], within(low, high))):
        return True
    return False if all(map(AGAINST[says], within(low, high))) else None


def wrong(fits):
    """The intervals and claims for which this judge errs."""
    return [
        (says, low, high)
        for says in SAYS
        for low, high in INTERVALS
        if fits(Finding(made(low, high), says)) is not expected(says, low, high)
    ]


def test_a_claim_is_settled_only_by_an_interval_that_allows_nothing_else():
    assert set(CLAIMED) == set(SAYS)
    assert wrong(lambda finding: finding.fits) == []


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_the_word_of_an_effect_is_where_its_whole_interval_lies(low, high):
    found = made(low, high)
    words = [w for w, lies in WORDS.items() if all(map(lies, within(low, high)))]
    assert [found.word] == (words or ["not settled"])
    assert made(low, high, seeds=4).word == "not settled"


# -------------------------------------------------------------- judges that are wrong


def excludes_zero(finding):
    """The rule as it was: settled where the interval excludes 0."""
    found = finding.effect
    if -found.margin < found.low and found.high < found.margin:
        return finding.says in ("equal", "at least as high", "at most as high")
    if found.low > 0:
        return finding.says in ("at least as high", "higher", "different")
    return finding.says == "lower" if found.high < 0 else None


def by_the_mean(finding):
    mean = finding.effect.mean
    return CLAIMED[finding.says](mean)


def never_against(finding):
    return finding.fits or None


def fails_unless_it_holds(finding):
    return finding.fits is True


def closed_margins(finding):
    return finding._replace(effect=finding.effect._replace(margin=M + E / 2)).fits


def other_way_round(finding):
    """Higher for lower."""
    found = finding.effect
    return finding._replace(
        effect=found._replace(low=-found.high, high=-found.low)
    ).fits


@pytest.mark.parametrize(
    "mutant",
    [
        *(excludes_zero, by_the_mean, never_against, fails_unless_it_holds),
        *(closed_margins, other_way_round),
    ],
)
def test_a_judge_that_errs_is_found_out(mutant):
    assert wrong(mutant)


@pytest.mark.parametrize("says", SAYS)
def test_an_interval_across_the_margin_settles_nothing_whatever_it_says_of_zero(says):
    across = -M if says in ("at least as high", "lower") else M
    for far in (0.1, 0.4):
        assert Finding(made(across - far, across + far), says).fits is None
    old = excludes_zero(Finding(made(-0.64, -0.15), "at least as high"))
    assert old is False and expected("at least as high", -M - E, -E) is None


@pytest.mark.parametrize("says", SAYS)
def test_few_seeds_settle_nothing(says):
    assert Finding(made(-2 * M, -2 * M, seeds=4), says).fits is None
    assert Finding(effect("a - b", {0: 1.0}, {0: 0.0}, M), says).fits is None


def test_what_a_claim_says_nothing_of_is_shown_and_decides_nothing():
    far = made(-2 * M, -2 * M)
    shown = Finding(far)
    assert (shown.fits, shown.word) == (None, "shown only")
    verdict = decide([Finding(made(0, 0), "equal"), shown])
    assert verdict.word == "holds"
    assert verdict.effects == (made(0, 0), far)
    with pytest.raises(ValueError, match="no finding decides"):
        decide([shown])


# ---------------------------------------------------------- from findings to a verdict

YES, NO, OPEN = made(0, 0), made(-2 * M, -2 * M), made(-2 * M, 0)


@pytest.mark.parametrize(
    ("effects", "inside", "word"),
    [
        ([YES, YES], (), "holds"),
        ([YES, NO], (), "does not hold"),
        ([YES, OPEN], (), "not settled"),
        ([YES, NO], (True, False), "holds within limits"),
        ([YES, OPEN], (True, False), "holds within limits"),
        ([NO, YES], (True, False), "does not hold"),
        ([OPEN, YES], (True, False), "not settled"),
        ([OPEN, NO], (True, False), "does not hold"),
    ],
)
def test_the_verdict_follows_from_the_findings(effects, inside, word):
    sides = inside or [False] * len(effects)
    findings = [
        Finding(each, "at least as high", side)
        for each, side in zip(effects, sides, strict=True)
    ]
    found = decide(findings)
    assert found.word == word
    assert all(finding.word in found.because for finding in findings)


def test_a_refused_verdict_is_not_settled_and_says_what_the_numbers_alone_would():
    held = decide([Finding(YES, "equal")])
    assert held.with_refusals(()) == held
    refused = held.with_refusals(("the winning trial is the smallest",), ("trials",))
    assert (refused.word, refused.unrefused) == ("not settled", "holds")
    again = refused.with_refusals(("another reason",))
    assert (again.word, again.unrefused) == ("not settled", "holds")
    assert again.refused == ("the winning trial is the smallest", "another reason")
    assert again.unknown == ("trials",)


def test_an_effect_is_paired_by_seed():
    mine, other = {0: 3.0, 1: 5.0, 2: 4.0, 7: 99.0}, {2: 2.0, 1: 4.0, 0: 1.0, 8: 0.0}
    found = effect("a - b", mine, other, margin=0.5)
    assert found.seeds == 3 and found.mean == pytest.approx(5 / 3)
    half = 4.302652729911275 * (1 / 3**0.5) / 3**0.5  # t of two degrees, at 97.5 %
    assert found.high == pytest.approx(5 / 3 + half)
    wider = effect("a - b", mine, other, margin=0.5, compared=5)
    assert wider.high > found.high and wider.mean == found.mean
    assert math.isnan(effect("a - b", {}, {}, margin=0.5).mean)
