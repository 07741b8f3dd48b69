"""The page about feedback weights: its code runs, and its tables are complete."""

import dataclasses
import re
import warnings

import pytest
from support.docs import names_after, page

from apical import rules
from apical.rules import RandomFeedback
from apical.rules.feedback._connection_masks import ConnectedRule

PAGE = page("feedback")


def test_the_code_of_the_page_runs():
    with warnings.catch_warnings():
        names = names_after(PAGE)
    credit = names["credit"]
    assert credit.value.shape == ()


def test_the_rules_of_the_page_are_those_that_have_connections():
    found = {n for n, k in vars(rules).items() if isinstance(k, type)}
    connected = {n for n in found if issubclass(vars(rules)[n], ConnectedRule)}
    table = PAGE.split("## Missing connections and noise")[0]
    assert connected <= set(re.findall(r"`(\w+)`", table))


@pytest.mark.parametrize(
    "name", ["removed_forward", "removed_backward", "backward_noise"]
)
def test_the_numbers_of_the_page_are_fields(name):
    assert f"| `{name}` |" in PAGE
    assert name in {f.name for f in dataclasses.fields(ConnectedRule)}
    if name != "removed_forward":
        assert name in {f.name for f in dataclasses.fields(RandomFeedback)}
