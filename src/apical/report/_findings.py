"""The first paragraphs of the page: how many rules give what, computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from apical.lab._registry import CONTROL
from apical.lab.report._summary import BASELINES, shown_above, standing
from apical.report._placement import NO, OPEN, YES, Needs
from apical.report._results import RuleResult

_SAME_DIRECTION = 0.99  # of the alignment: the direction of the gradient


class Entry(NamedTuple):
    """One rule: its result, and what it needs.

    Attributes:
        name: of the rule.
        result: on the task, or None if it was not compared.
        needs: "yes", "no" or "not decided" by need.
        place: the highest place that its needs allow; "" for the control.
    """

    name: str
    result: RuleResult | None
    needs: Needs
    place: str


class Findings(NamedTuple):
    """Names of rules, by what was found.

    Attributes:
        compared: those with a result on the task, without backpropagation and control.
        same_direction: whose alignment is at least 0.99 before and after training.
        equal, open, above, below: how the accuracy compares with backpropagation's.
        single: with one seed, so that nothing is shown.
        above_control: shown to be above the control.
        question: without weight transport, unlocked, with a scalar signal.
        not_excluded: those that may be so, because a need is not decided.
        nearly: without weight transport, and unlocked.
        highest: those placed as possible or plausible that are not shown to be below
            backpropagation, and are shown to be above the control.
    """

    compared: list[str]
    same_direction: list[str]
    equal: list[str]
    open: list[str]
    above: list[str]
    below: list[str]
    single: list[str]
    above_control: list[str]
    question: list[str]
    not_excluded: list[str]
    nearly: list[str]
    highest: list[str]


def findings(entries: Sequence[Entry], places: Sequence[str]) -> Findings:
    """What the page says first.

    Args:
        entries: every rule.
        places: those that count for `highest`.
    """
    rules = [each for each in entries if each.name not in (*BASELINES, CONTROL)]
    ran = [each for each in rules if each.result and each.result.status == "ok"]
    by_standing = {
        word: [each.name for each in ran if _standing(each) == word]
        for word in ("equal", "open", "above", "below", "single")
    }
    better = [each.name for each in ran if shown_above(_of(each).above_control)]
    return Findings(
        compared=[each.name for each in ran],
        same_direction=[
            each.name for each in ran if min(_of(each).alignment) >= _SAME_DIRECTION
        ],
        **by_standing,
        above_control=better,
        question=_where(rules, no=_UNLOCKED, yes=("global reward",)),
        not_excluded=[each.name for each in rules if _may_answer(each.needs)],
        nearly=_where(rules, no=_UNLOCKED),
        highest=[
            each.name
            for each in ran
            if each.place in places
            and each.name in better
            and _standing(each) in ("equal", "open", "above")
        ],
    )


_UNLOCKED = ("weight transport", "update locking")


def _where(
    rules: Sequence[Entry], no: tuple[str, ...], yes: tuple[str, ...] = ()
) -> list[str]:
    return [
        each.name
        for each in rules
        if all(each.needs[need] == NO for need in no)
        and all(each.needs[need] == YES for need in yes)
    ]


def _may_answer(needs: Needs) -> bool:
    """Whether a need that is not decided leaves the question open."""
    words = [needs[need] for need in _UNLOCKED]
    signal = needs["global reward"]
    return YES not in words and signal != NO and OPEN in (*words, signal)


def _of(entry: Entry) -> RuleResult:
    assert entry.result is not None
    return entry.result


def _standing(entry: Entry) -> str:
    return standing(_of(entry).difference)
