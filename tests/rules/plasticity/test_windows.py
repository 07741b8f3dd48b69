"""Windows of a sequence: joined by the state, they give the update of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.spiking_layers import (
    PARAMS,
    STILL,
    STREAM,
    X,
    change,
    learner_of,
    loss_fn,
    one_step,
)

import apical
from apical.rules import (
    STDP,
    AllPairs,
    DivisiveNormalisation,
    MultiplicativeBounds,
    NearestNeighbour,
    PresynapticTrace,
    Reward,
    SynapticScaling,
    ThreeFactor,
    Triplet,
)

pytestmark = pytest.mark.grid(keep=3)

KEY = jax.random.key(0)


def rewarded(params, state, x):
    """A reward in each step, for each example: how many units of the output spike."""
    loss, aux = loss_fn(params, state, x)
    return loss, {**aux, "reward": jnp.mean(aux["out"], axis=2)}


def rewarded_step(params, state, x):
    loss, aux = one_step(params, state, x)
    return loss, {**aux, "reward": jnp.mean(aux["out"], axis=1)}


def by_windows(rule, length, loss_fn=rewarded, unstacked=False, forget=False):
    """The sum of the changes of consecutive windows."""
    told = {**STREAM, "batch_axes": 0} if unstacked else STREAM
    learner = learner_of(rule, loss_fn, **told)
    state, total, call = STILL, None, jax.jit(learner)
    first = X[0] if unstacked else X[:length]
    kept = learner.init(KEY, PARAMS, state, first)
    for start in range(0, len(X), length):
        now = X[start] if unstacked else X[start : start + length]
        kept = learner.reset(PARAMS, kept, state, now) if forget else kept
        credit = call(PARAMS, kept, state, now)
        state, kept = credit.aux["state"], credit.state
        total = (
            credit.grads
            if total is None
            else jax.tree.map(jnp.add, total, credit.grads)
        )
    return jax.tree.map(lambda g: -np.asarray(g), total), kept


STEP = Reward("reward", per="step", baseline_rate=0.05)
RULES = {
    "all pairs": STDP(AllPairs()),
    "nearest": STDP(NearestNeighbour()),
    "triplet": STDP(Triplet()),
    "presynaptic": STDP(PresynapticTrace(offset=0.4)),
    "parts": STDP(
        bounds=MultiplicativeBounds(high=2.0),
        homeostasis=SynapticScaling(0.3, 0.01, 15.0),
        normalisation=DivisiveNormalisation(3.0),
    ),
    "rewarded": ThreeFactor(factor=STEP, tau=6.0),
    "rewarded triplets": ThreeFactor(Triplet(nearest=True), STEP, tau=6.0),
}


def apart(found, whole):
    leaves = zip(jax.tree.leaves(found), jax.tree.leaves(whole), strict=True)
    return max(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-9) for a, b in leaves)


@pytest.mark.parametrize("name", RULES)
def test_windows_joined_are_the_whole(name):
    whole, _ = change(RULES[name], rewarded)
    found, _ = by_windows(RULES[name], 10)
    assert apart(found, whole) < 1e-6 * 3


@pytest.mark.parametrize("name", ["all pairs", "parts", "rewarded"])
def test_a_loss_without_a_loop_is_one_step(name):
    whole, _ = change(RULES[name], rewarded)
    found, _ = by_windows(RULES[name], 1, rewarded_step, unstacked=True)
    assert apart(found, whole) < 1e-6 * 3


@pytest.mark.parametrize("name", ["all pairs", "rewarded"])
def test_windows_that_forget_their_traces_are_not_the_whole(name):
    """The control: `reset` before each window, or no `carry=`."""
    whole, _ = change(RULES[name], rewarded)
    forgot, _ = by_windows(RULES[name], 10, forget=True)
    alone = 0.0
    state = STILL
    learner = learner_of(RULES[name], rewarded)
    kept = learner.init(KEY, PARAMS, state, X[:10])
    for start in range(0, len(X), 10):
        credit = learner(PARAMS, kept, state, X[start : start + 10])
        state, kept = credit.aux["state"], credit.state
        alone = alone - np.asarray(credit.grads["first"])
    assert apart(forgot, whole) > 1e-2
    assert np.allclose(forgot["first"], alone, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"carry": (2, "state")}, "names argument 2, and there are 2"),
        ({"carry": (0, "end")}, "The carry is looked for in `aux` at 'end'"),
        ({"carry": (0, "out")}, "the next one could not start from that"),
    ],
)
def test_a_carry_that_does_not_join_calls_is_refused(told, message):
    learner = learner_of(STDP(), **told)
    with pytest.raises(ValueError, match=message):
        learner.init(KEY, PARAMS, STILL, X)


def test_a_carry_needs_aux():
    learner = apical.value_and_grad(
        lambda *given: loss_fn(*given)[0], STDP(), batch_axes=(0, 1), carry=(0, "state")
    )
    with pytest.raises(ValueError, match="`has_aux=True`"):
        learner.init(KEY, PARAMS, STILL, X)


def test_the_state_holds_traces_only_where_calls_are_joined():
    _, alone = change(RULES["rewarded"], rewarded)
    _, kept = by_windows(RULES["rewarded"], 15)
    assert alone.state.traces == ()
    assert [t.eligibility.shape for t in kept.traces] == [(2, 5, 4), (2, 4, 3)]


def test_reset_keeps_what_belongs_to_the_network():
    rule = ThreeFactor(
        factor=STEP, homeostasis=SynapticScaling(0.3, 0.01, 15.0), tau=6.0
    )
    _, kept = by_windows(rule, 15)
    learner = learner_of(rule, rewarded, **STREAM)
    again = learner.reset(PARAMS, kept, STILL, X[:15])
    assert float(again.factor) == float(kept.factor) != 0
    assert np.array_equal(again.rates[0], kept.rates[0])
    assert not any(np.any(t) for t in jax.tree.leaves(again.traces))
    assert all(np.any(t) for t in jax.tree.leaves(kept.traces))


def test_a_new_batch_may_have_another_size():
    learner = learner_of(RULES["rewarded"], rewarded, **STREAM)
    kept = learner.init(KEY, PARAMS, STILL, X)
    more = jax.tree.map(lambda s: jnp.concatenate([s, s]), STILL)
    twice = jnp.concatenate([X, X], axis=1)
    again = learner.reset(PARAMS, kept, more, twice)
    assert learner(PARAMS, again, more, twice).state.traces[0].eligibility.shape[0] == 4
