"""Where a rule is placed, and that nothing but its needs decides it."""

import itertools

import pytest

from apical.lab import RULES
from apical.report._placement import (
    COORDINATING,
    EXCLUDING,
    HARMLESS,
    IMPOSSIBLE,
    NO,
    OPEN,
    PLACES,
    PLAUSIBLE,
    POSSIBLE,
    UNPLACED,
    YES,
    placed,
)
from apical.rules.tools import NEEDS

NOTHING = dict.fromkeys(NEEDS, NO)
HEIGHT = {IMPOSSIBLE: 0, UNPLACED: 0, POSSIBLE: 1, PLAUSIBLE: 2}


def test_every_need_counts_in_one_way():
    assert sorted((*EXCLUDING, *COORDINATING, *HARMLESS)) == sorted(NEEDS)


def test_no_place_is_actual():
    assert not [place for place in PLACES if "actual" in place]


@pytest.mark.parametrize("need", NEEDS)
def test_a_single_need_keeps_a_rule_as_low_as_its_kind(need):
    low = IMPOSSIBLE if need in EXCLUDING else POSSIBLE
    found = placed(NOTHING | {need: YES})
    assert found.place == (PLAUSIBLE if need in HARMLESS else low)
    assert found.because == (() if need in HARMLESS else ((need, YES),))


@pytest.mark.parametrize("need", NEEDS)
def test_what_is_not_decided_never_raises_a_rule(need):
    for locking, time in itertools.product((NO, YES), repeat=2):
        rest = NOTHING | {"update locking": locking, "backward through time": time}
        decided = [placed(rest | {need: word}).place for word in (NO, YES)]
        undecided = placed(rest | {need: OPEN}).place
        assert HEIGHT[undecided] <= max(HEIGHT[place] for place in decided)


def test_weight_transport_must_be_decided_and_time_only_where_there_is_a_loop():
    assert placed(NOTHING | {"weight transport": OPEN}).place == UNPLACED
    assert placed(NOTHING | {"backward through time": OPEN}).place == PLAUSIBLE
    assert placed(dict.fromkeys(NEEDS, OPEN)).place == UNPLACED


def test_the_places_of_known_rules():
    from apical.report._needs import needs_of

    assert placed(needs_of("backpropagation")).place == IMPOSSIBLE
    assert placed(needs_of("feedback-alignment")).place == POSSIBLE
    assert {placed(needs_of(name)).place for name in RULES} <= set(PLACES)
