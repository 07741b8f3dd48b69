"""The page about learning online: its code runs, and its table is complete."""

import re

import jax
import numpy as np
import pytest
from support.docs import names_after, page

from apical import rules

PAGE = page("online")


@pytest.fixture(scope="module")
def names():
    return names_after(PAGE)


def distance(found, expected):
    pairs = zip(*map(jax.tree.leaves, (found, expected)), strict=True)
    return max(float(np.max(np.abs(a - b))) for a, b in pairs)


def test_calls_of_a_stream_add_up_to_the_whole_window(names):
    assert distance(names["joined"], names["whole"]) < 1e-6


def test_the_whole_window_is_not_backpropagation_through_time(names):
    exact = jax.grad(names["loss_fn"])(*(names[n] for n in "wxy"))
    assert distance(names["whole"], exact) > 1e-3
    assert distance(names["whole"]["out"], exact["out"]) < 1e-6


def test_one_step_per_call_moves_every_parameter(names):
    for name, leaf in names["w"].items():
        assert distance(names["params"][name], leaf) > 1e-4


def test_an_agent_learns_from_errors_of_reward(names):
    for name in names["agent"]:
        leaf = names["agent"][name]
        assert distance(leaf, names["w"].get(name, np.zeros(8))) > 1e-4
    assert not any(map(np.any, jax.tree.leaves(names["kept"])))


def test_higher_orders_of_snap_come_nearer_to_the_gradient(names):
    found = names["missing"]
    assert found[1] > 1.5 * found[2] > 2 * found[3] > 0


def test_the_bytes_of_the_traces_are_those_of_the_formula(names):
    found = jax.tree.leaves(names["state"].traces)
    weights = sum(names["w"][n].size for n in ("in", "recurrent"))
    assert sum(leaf.nbytes for leaf in found) == 4 * 4 * weights


def test_the_table_has_every_rule_through_time():
    kinds = {n: k for n, k in vars(rules).items() if isinstance(k, type)}
    through_time = {n for n, k in kinds.items() if getattr(k, "through_time", False)}
    assert through_time == set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
