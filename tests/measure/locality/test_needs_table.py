"""The kept table of measured needs: complete, fresh, and as the rules declare."""

import importlib
import sys
from pathlib import Path

import pytest

from apical.measure import measured_needs, needs_table
from apical.rules.tools import NEEDS

sys.path.append(str(Path(__file__).parents[3] / "tools"))
locality_table = importlib.import_module("locality_table")
networks = importlib.import_module("locality_networks")

NAMES = networks.names()
# A few that are measured in seconds; the others by `make bench`.
QUICK = ("backpropagation", "direct-random-target-projection", "eprop", "stdp")


def test_the_table_has_every_rule_and_every_need():
    found = measured_needs()
    assert list(found) == NAMES
    assert all(tuple(needs) == NEEDS for needs in found.values())
    words = {word for needs in found.values() for word in needs.values()}
    assert words == {"yes", "no", "not decided"}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_is_what_the_rule_declares(name):
    kept, rule = needs_table()[name], networks.rule_of(name)
    assert set(kept.declared) == set(rule.needs), (
        f"run: python tools/locality_table.py {name}"
    )
    assert kept.mismatches == ()
    assert kept.network == networks.network_of(name).about


def test_a_wrong_declaration_would_be_a_mismatch():
    kept = needs_table()["feedback-alignment"]
    assert kept._replace(declared=()).mismatches == (
        "stored activities",
        "derivative of the nonlinearity",
        "update locking",
    )
    assert kept._replace(declared=(*kept.declared, "weight transport")).mismatches == (
        "weight transport",
    )


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in NAMES
    ],
)
def test_a_rule_that_is_measured_again_gives_what_is_kept(name):
    assert locality_table.entry(name)["needs"] == measured_needs()[name], (
        f"run: python tools/locality_table.py {name}"
    )
