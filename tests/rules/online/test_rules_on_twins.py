"""Online rules say what their twins say, on every architecture, and stream it."""

import jax
import numpy as np
import pytest
from support.by_hand import array, distance
from support.influence import CELLS, own_weight
from support.nest_eprop import evidence, losses_of, regression
from support.online_rules import KEY, apart, beside, gradient_of, streamed
from support.online_twins import BACKPROPAGATION, CASES, EPROP, REFUSALS, SNAP, STREAMS
from support.traces_by_hand import d_rtrl, ottt, rflo

import apical
from apical.rules import OTTT, RFLO, RTRL, EProp, SnAp

# Parameters below another synapse of the same step: said once, and tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.* keeps no eligibility trace")
LOWER = {
    "scans_in_series": {"encoder", "bias", "between"},
    "embedded": {"table"},
    "hidden_layer_in_the_cell": {"w"},
}


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


@pytest.mark.grid(keep=5)
@pytest.mark.parametrize("name", CASES)
def test_e_prop_is_the_gradient_with_recurrence_cut(name):
    found, expected = beside(EProp(chunk=3), CASES[name](), EPROP)
    assert max(apart(found, expected).values()) < 1e-12, apart(found, expected)


@pytest.mark.grid(keep=5)
@pytest.mark.parametrize("name", CASES)
def test_snap_is_the_gradient_with_own_weights_alone(name):
    found, expected = beside(SnAp(chunk=3), CASES[name](), SNAP)
    assert max(apart(found, expected).values()) < 1e-12, apart(found, expected)


@pytest.mark.grid(keep=10)
@pytest.mark.parametrize("name", CASES)
def test_rtrl_is_backpropagation(name):
    found, expected = beside(RTRL(), CASES[name](), BACKPROPAGATION)
    assert max(apart(found, expected).values()) < 1e-12, apart(found, expected)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", CELLS)
def test_snap_is_masked_influence_by_brute_force(name):
    cell = CELLS[name]()
    for chunk in (1, 32):
        assert distance(gradient_of(SnAp(chunk=chunk), cell), own_weight(cell)) < 1e-12


@pytest.mark.parametrize(
    ("name", "make", "formula"),
    [("leaky", EProp, d_rtrl), ("leaky_rate", RFLO, rflo)],
)
def test_other_feedback_is_the_published_formula(name, make, formula):
    case = CASES[name]()
    other = array(np.random.default_rng(3), *case.params["out"].shape)
    learner = apical.value_and_grad(case.loss_fn, make("random", chunk=3))
    state = with_feedback(learner.init(KEY, case.params, *case.args), other)
    found = jax.jit(learner)(case.params, state, *case.args).grads
    assert distance(found, formula(case, other)) < 1e-12


def with_feedback(state, weights):
    """The state with other weights in place of the read-out's."""
    return jax.tree.map(lambda x: weights if x.shape == weights.shape else x, state)


@pytest.mark.xfail(raises=ValueError, reason="OTTT refuses layers in one loop")
def test_ottt_is_the_published_formula():
    case = CASES["stacked_lif"]()
    assert distance(gradient_of(OTTT(chunk=3), case), ottt(case)) < 1e-12


@pytest.mark.parametrize("run", [regression, evidence])
def test_e_prop_reaches_the_published_losses(run):
    golden = run()
    rule = EProp("random")
    learner = apical.value_and_grad(golden.loss_fn, rule, has_aux=True)
    state = learner.init(KEY, golden.params, *golden.batches[0])
    state, call = with_feedback(state, golden.feedback), jax.jit(learner)

    def credit(params, x, y):
        found = call(params, state, x, y)
        return found.aux, found.grads

    np.testing.assert_allclose(losses_of(golden, credit), golden.losses, atol=1e-10)


ONLINE = [(EProp, EPROP), (SnAp, SNAP), (RTRL, BACKPROPAGATION)]


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("lengths", [(), (3, 1, 4)], ids=["steps", "windows"])
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize(("make", "paths"), ONLINE)
def test_windows_joined_by_the_state_are_the_whole(make, paths, name, lengths):
    case = STREAMS[name]()
    if name == "lif_with_leaky_readout" and make is not RTRL:
        with pytest.raises(ValueError, match="leaky read-out"):
            streamed(make(), case, lengths)
        return
    found, expected = streamed(make(), case, lengths), case.whole(paths)
    assert max(apart(found, expected).values()) < 1e-12, apart(found, expected)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", REFUSALS)
def test_where_units_mix_rules_of_units_refuse(name):
    case = REFUSALS[name]()
    with pytest.raises(ValueError, match=case.operation):
        gradient_of(EProp(), case)


@pytest.mark.filterwarnings("default:.* keeps no eligibility trace")
@pytest.mark.parametrize("name", LOWER)
def test_parameters_that_learn_within_the_step_alone_are_named(name):
    case = CASES[name]()
    learner = apical.value_and_grad(case.loss_fn, EProp())
    with pytest.warns(UserWarning, match="keeps no eligibility trace") as said:
        learner.init(KEY, case.params, *case.args)
    (text,) = (str(each.message) for each in said)
    named = text.split(":")[0]
    assert {n for n in case.params if f"'{n}'" in named} == LOWER[name]
