"""Plasticity rules as rules: laws, needs, what is listed, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.check_on import check_on
from support.spiking_layers import (
    PARAMS,
    STILL,
    STREAM,
    TOLD,
    X,
    change,
    learner_of,
    loss_fn,
    step_of,
    unit_step,
)

import apical
from apical.rules import (
    STDP,
    AllPairs,
    MultiplicativeBounds,
    NegativeLoss,
    Reward,
    SynapticScaling,
    ThreeFactor,
    Triplet,
)

pytestmark = pytest.mark.grid(keep=3)

NO_SIGNALS = ("signals", "pull", "predict")


# ------------------------------------------------------------ laws

SHORT = X[:8]
SWEEP = pytest.mark.sweep
LAWFUL = {
    "stdp": (STDP(Triplet(), MultiplicativeBounds(high=3.0)), TOLD),
    "stream": (STDP(homeostasis=SynapticScaling(0.2, 0.1, 5.0)), STREAM),
    "three factors": (ThreeFactor(factor=NegativeLoss(0.1), tau=9.0), STREAM),
}


@pytest.mark.parametrize(
    "name",
    ["stream", *(pytest.param(n, marks=SWEEP) for n in ("stdp", "three factors"))],
)
def test_a_plasticity_rule_keeps_the_laws(name):
    rule, told = LAWFUL[name]
    check_on(rule, loss_fn, PARAMS, (STILL, SHORT), skip=NO_SIGNALS, **told)


def test_a_sum_over_examples_is_the_number_of_examples_times_the_mean():
    rule = STDP(homeostasis=SynapticScaling(0.2, 0.1, 5.0))
    mean, _ = change(rule)
    total, _ = change(rule, reduction="sum")
    assert np.allclose(total["first"], 2 * mean["first"], rtol=1e-5)


def test_the_value_is_the_loss_and_nothing_reads_it():
    def other(params, state, x):
        loss, aux = loss_fn(params, state, x)
        return loss**3 + 2.0, aux

    (found, credit), (same, moved) = change(STDP()), change(STDP(), other)
    assert float(credit.value) == pytest.approx(float(loss_fn(PARAMS, STILL, X)[0]))
    assert float(moved.value) != float(credit.value)
    assert np.array_equal(found["first"], same["first"])


@pytest.mark.parametrize("rule", [STDP(), ThreeFactor()])
def test_a_plasticity_rule_descends_no_loss(rule):
    learner = learner_of(rule)
    state = learner.init(jax.random.key(0), PARAMS, STILL, X)
    with pytest.raises(ValueError, match="descends no loss"):
        apical.measure.alignment(learner)(PARAMS, state, STILL, X)


# ------------------------------------------------------------ declared needs


def of_loss(rule, params=PARAMS, slope=1.0, power=2.0):
    """The first layer's change, for other weights above, slopes, or losses."""

    def lost(params, state, x):
        def step(state, x):
            v, z = unit_step(state[0], x @ params["first"])
            z = z + slope * (v - jax.lax.stop_gradient(v))  # another derivative
            u, y = unit_step(state[1], z @ params["second"])
            return (v, u), (z, apical.node(y, "out"))

        state, (_, y) = jax.lax.scan(step, state, x)
        return jnp.sum(jnp.mean(y, 0) ** power) / 2, {"state": state}

    return change(rule, lost, params)[0]["first"]


ABOVE = {**PARAMS, "second": PARAMS["second"].at[0, 0].mul(3.0)}


@pytest.mark.parametrize("rule", [STDP(), ThreeFactor(AllPairs(), NegativeLoss())])
def test_needs_are_as_declared(rule):
    usual = of_loss(rule)
    locked = not np.allclose(usual, of_loss(rule, ABOVE), rtol=1e-5)
    assert locked == ("update locking" in rule.needs)
    rewarded = not np.allclose(usual, of_loss(rule, power=1.0), rtol=1e-5)
    assert rewarded == ("global reward" in rule.needs)
    assert np.allclose(usual, of_loss(rule, slope=3.0), rtol=1e-6)
    assert "derivative of the nonlinearity" not in rule.needs


def test_a_future_input_changes_no_past_update():
    """The first 20 steps joined with others: traces run forward only."""
    learner = learner_of(STDP(), **STREAM)
    state = learner.init(jax.random.key(0), PARAMS, STILL, X)
    first = learner(PARAMS, state, STILL, X[:20]).grads["first"]
    cut = X.at[20:].set(0.0)
    both = learner(PARAMS, state, STILL, cut)
    rest = learner(
        PARAMS,
        learner(PARAMS, state, STILL, X[:20]).state,
        learner(PARAMS, state, STILL, X[:20]).aux["state"],
        cut[20:],
    )
    assert np.allclose(both.grads["first"], first + rest.grads["first"], 1e-4, 1e-6)


# ------------------------------------------------------------ what is not updated


def test_a_parameter_of_no_synapse_is_listed():
    found, credit = change(STDP())
    assert credit.info.not_updated == ("bias",)
    assert not np.any(found["bias"]) and np.all(found["first"] != 0)
    circuit = learner_of(STDP()).circuit(PARAMS, STILL, X)
    assert STDP().not_updated(circuit) == ("bias",)


def test_only_the_chosen_synapses_are_updated():
    whole, _ = change(STDP())
    found, credit = change(STDP(synapses=("second",)))
    assert credit.info.not_updated == ("bias", "first")
    assert not np.any(found["first"])
    assert np.allclose(found["second"], whole["second"], rtol=1e-6)


@pytest.mark.parametrize("nodes", ["unit", "every"])
def test_the_units_do_not_depend_on_the_policy_of_nodes(nodes):
    found, _ = change(STDP(), nodes=nodes)
    assert np.allclose(found["first"], change(STDP())[0]["first"], rtol=1e-6)


def test_rates_are_told():
    _, credit = change(STDP())
    aux = loss_fn(PARAMS, STILL, X)[1]
    rates = [float(jnp.mean(aux[name])) for name in ("hidden", "out")]
    assert np.allclose(credit.info.unit_rates, rates)
    assert np.allclose(credit.info.input_rates, [float(jnp.mean(X)), rates[0]])


# ------------------------------------------------------------ what is refused


def start(loss_fn, rule=None, params=PARAMS, args=(STILL, X), **told):
    learner = learner_of(rule or STDP(), loss_fn, **told)
    learner.init(jax.random.key(0), params, *args)


def test_a_synapse_in_no_loop_is_refused():
    def lost(params, state, x):
        _, (z, y) = step_of(params, state, x[0])
        return jnp.sum(y**2), {"z": z}

    with pytest.raises(ValueError, match=r"'first' stands in no loop.*pass `carry=`"):
        start(lost)


def test_a_readout_without_a_node_behind_it_is_refused():
    def lost(params, state, x):
        def step(v, x):
            v, z = unit_step(v, x @ params["first"])
            return v, apical.node(z, "spikes")

        _, z = jax.lax.scan(step, state[0], x)
        return jnp.sum((jnp.mean(z, 0) @ params["second"]) ** 2), {}

    with pytest.raises(ValueError, match=r"'second' at .*no node .*`synapses=\("):
        start(lost)
    start(lost, STDP(synapses=("first",)))


def test_a_pooled_convolution_is_refused_with_the_fix():
    def lost(params, state, x):
        def step(v, x):
            v, z = unit_step(v, x @ params["first"])
            pooled = z.reshape(-1, 2, 2).mean(axis=2)
            y = apical.node(jnp.tanh(pooled @ params["second"][:2]), "out")
            return v, y

        _, y = jax.lax.scan(step, state[0], x)
        return jnp.sum(y**2), {}

    with pytest.raises(ValueError, match=r"`reduce_sum` at .*apical.node\(spikes"):
        start(lost)


def test_an_output_that_is_a_sum_over_units_is_refused():
    def lost(params, state, x):
        def step(v, x):
            v, z = unit_step(v, x @ params["first"])
            return v, apical.node(jnp.sum(z, -1), "sum")

        _, y = jax.lax.scan(step, state[0], x)
        return jnp.sum(y**2), {}

    with pytest.raises(ValueError, match="entries are joined in `reduce_sum`"):
        start(lost)


def test_a_loop_over_examples_is_refused():
    def lost(w, x):
        z = jax.lax.map(lambda x: apical.node(jnp.tanh(x @ w), "h"), x)
        return jnp.sum(z**2), {}

    with pytest.raises(ValueError, match="runs over the examples"):
        start(lost, params=jnp.ones((5, 4)), args=(jnp.ones((2, 5)),), batch_axes=0)


def test_a_synapse_in_a_branch_is_refused():
    def lost(params, state, x):
        def step(v, x):
            drive = jax.lax.cond(
                jnp.sum(x) > 3, lambda x: x @ params["first"], lambda x: 0 * v, x
            )
            v, z = unit_step(v, drive)
            return v, apical.node(z, "out")

        _, z = jax.lax.scan(step, state[0], x)
        return jnp.sum(z**2), {}

    with pytest.raises(ValueError, match="stands in a branch"):
        start(lost)


def test_a_name_that_no_synapse_has_is_refused():
    with pytest.raises(ValueError, match="names 'third'; the synapses are 'first', 's"):
        start(loss_fn, STDP(synapses=("third",)))


def test_names_are_a_tuple():
    with pytest.raises(ValueError, match=r"`synapses=\('first',\)`"):
        STDP(synapses="first")


@pytest.mark.parametrize(
    "make",
    [
        lambda: STDP(pairing="all"),
        lambda: STDP(bounds=MultiplicativeBounds),
        lambda: STDP(MultiplicativeBounds()),
        lambda: STDP(normalisation=SynapticScaling()),
        lambda: ThreeFactor(factor=Reward),
    ],
)
def test_a_part_of_another_kind_is_refused(make):
    with pytest.raises(TypeError, match="must be an `Abstract"):
        make()
