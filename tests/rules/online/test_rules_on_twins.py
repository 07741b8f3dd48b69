"""Online rules equal backpropagation of a loss with stops by hand, on every cell."""

import jax
import pytest
from support.by_hand import distance
from support.influence import CELLS, rtrl, snap
from support.online_rules import PATHS, apart, both, gradient_of
from support.online_twins import CASES, REFUSALS

import apical

RULES = {
    "EProp": lambda: apical.rules.EProp(),
    "SnAp": lambda: apical.rules.SnAp(order=1),
    "RTRL": lambda: apical.rules.RTRL(),
}


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


@pytest.mark.grid(keep=5)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_the_gradient_of_the_twin(rule, name):
    found, expected = both(RULES[rule](), CASES[name](), PATHS[rule])
    assert max(apart(found, expected).values()) < 1e-12, apart(found, expected)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", CELLS)
def test_a_rule_is_its_influence_by_brute_force(name):
    cell = CELLS[name]()
    found = {rule: gradient_of(make(), cell) for rule, make in RULES.items()}
    assert distance(found["RTRL"], rtrl(cell)) < 1e-12
    shared = {"tau"} if cell.params.get("tau", cell.params["out"]).ndim == 0 else set()
    for key, leaf in snap(cell, 1).items():
        if key not in shared:
            assert distance(found["SnAp"][key], leaf) < 1e-12


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", REFUSALS)
def test_where_units_mix_rules_of_units_refuse(name):
    case = REFUSALS[name]()
    with pytest.raises((TypeError, ValueError), match=case.operation):
        gradient_of(apical.rules.EProp(), case)
