"""Three ways to say what an online rule computes agree: stops, Jacobians, formulas."""

import jax
import numpy as np
import pytest
from support import influence
from support.by_hand import array, distance
from support.influence import CELLS
from support.online_twins import CASES, EPROP, SNAP
from support.traces_by_hand import d_rtrl, ottt, rflo


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def gradient(cell, **options):
    def loss(params, x, y):
        return cell.loss_fn(params, x, y, **options)

    return jax.jit(jax.grad(loss))(cell.params, *cell.args)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", CELLS)
def test_the_whole_influence_is_backpropagation(name):
    cell = CELLS[name]()
    true = gradient(cell)
    assert distance(influence.rtrl(cell), true) < 1e-13
    assert distance(influence.snap(cell, 9), true) < 1e-13


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", CELLS)
def test_influence_without_recurrent_synapses_is_the_loss_with_stops(name):
    cell = CELLS[name]()
    found = influence.eprop(cell)
    assert distance(found, gradient(cell, product=EPROP.product)) < 1e-13
    assert distance(found, gradient(cell)) > 0.01


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", CELLS)
def test_snap_1_is_what_a_unit_passes_to_itself(name):
    cell = CELLS[name]()
    masked, own = influence.snap(cell, 1), influence.own_weight(cell)
    apart = {key: distance(own[key], masked[key]) for key in cell.params}
    if "tau" in apart and cell.params["tau"].ndim == 0:  # it acts on every unit
        assert apart.pop("tau") > 0.01
    assert max(apart.values()) < 1e-13
    assert distance(own, gradient(cell, product=SNAP.product)) < 1e-13
    assert distance(masked, influence.rtrl(cell)) > 0.01
    assert distance(masked, influence.eprop(cell)) > 0.001


def test_snap_of_higher_order_comes_nearer_on_sparse_weights():
    cell = CELLS["leaky"]()
    true = influence.rtrl(cell)
    apart = [distance(influence.snap(cell, order), true) for order in (1, 2, 9)]
    assert apart[0] > apart[1] > apart[2]
    assert apart[1] > 1e-6


FORMULAS = [("leaky", d_rtrl), ("leaky_rate", rflo)]


@pytest.mark.parametrize(("name", "formula"), [*FORMULAS, ("stacked_lif", ottt)])
def test_a_published_formula_is_the_gradient_of_the_twin(name, formula):
    case = CASES[name]()
    assert distance(formula(case), case.gradient(EPROP)) < 1e-13


@pytest.mark.parametrize(("name", "formula"), FORMULAS)
def test_other_feedback_changes_all_but_the_read_out(name, formula):
    case = CASES[name]()
    other = array(np.random.default_rng(3), *case.params["out"].shape)
    found, plain = formula(case, other), formula(case)
    apart = {key: distance(found[key], plain[key]) for key in found}
    assert apart.pop("out") == 0
    assert min(apart.values()) > 0.1
