"""The rows of the targets: each makes a rule, and sweeps numbers that it has."""

import dataclasses

import pytest

from apical.lab._rows_targets import TARGETS
from apical.rules import Rule


@pytest.mark.parametrize("name", TARGETS)
def test_each_row_makes_a_rule_whose_numbers_can_be_drawn(name):
    entry = TARGETS[name]
    rule = entry.make()
    assert isinstance(rule, Rule)
    assert entry.search_space
    for number, (low, high, _) in entry.search_space.items():
        changed = [dataclasses.replace(rule, **{number: x}) for x in (low, high)]
        assert changed[0] != changed[1]
