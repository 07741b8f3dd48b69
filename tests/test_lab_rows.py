"""The rows of a comparison: every one names a rule that can be trained."""

import pytest
from lab_work import work

from apical import rules
from apical.lab import APART, COMPARED, RULES, LabError
from apical.lab._registry import BASELINE, CONTROL, find_rules
from apical.lab._start import Start
from apical.lab._train import Run
from apical.lab._work import Lanes

START = Start(work())


@pytest.mark.parametrize("name", RULES)
def test_a_row_starts_on_a_perceptron(name):
    run = Run(START, RULES[name], Lanes.alike((0,), 0.1, {}))
    assert run.begin().learned


@pytest.mark.parametrize("name", RULES)
def test_a_row_says_what_it_costs_needs_and_draws(name):
    entry = RULES[name]
    assert entry.cost > 0
    assert set(entry.search_space) <= set(vars(entry.make()))
    assert entry.citation or name == CONTROL


def test_every_rule_has_a_row_or_a_reason_to_have_none():
    kinds = {k for k in vars(rules).values() if isinstance(k, type)}
    every = {k for k in kinds if issubclass(k, rules.Rule)} - {rules.Rule}
    rows = {type(entry.make()) for entry in RULES.values()}
    apart = {type(entry.make()) for entry, _ in APART.values()}
    assert every == (rows | apart) & every
    assert not rows & apart
    assert all(why for _, why in APART.values())


def test_all_stands_for_every_rule_the_control_last():
    assert list(find_rules("all")) == list(RULES)
    names = list(RULES)
    assert (names[0], names[-1]) == (BASELINE, CONTROL)
    assert set(COMPARED) < set(RULES)


def test_all_is_no_name_among_others():
    with pytest.raises(LabError, match="all"):
        find_rules("all,backpropagation")
