"""Three factors: eligibilities by hand, rewards, baselines, teaching signals."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.spiking_layers import (
    PARAMS,
    STEPS,
    STILL,
    STREAM,
    TOLD,
    X,
    change,
    ends,
    learner_of,
    loss_fn,
    unit_step,
)

import apical
from apical.rules import (
    STDP,
    AllPairs,
    Backpropagation,
    DirectFeedbackAlignment,
    MultiplicativeBounds,
    NegativeLoss,
    PresynapticTrace,
    Reward,
    TeachingSignal,
    ThreeFactor,
)

pytestmark = pytest.mark.grid(keep=3)

A, B, TAU, TAU2, LONG = 0.3, 0.2, 5.0, 8.0, 7.0
PAIRS = AllPairs(A, B, TAU, TAU2)
REWARDS = np.sin(np.arange(2.0 * STEPS)).reshape(STEPS, 2)


def with_reward(reward):
    def rewarded(params, state, x):
        loss, aux = loss_fn(params, state, x)
        return loss, {**aux, "given": {"reward": jnp.asarray(reward, jnp.float32)}}

    return rewarded


def modulated(reward, rule=None, **numbers):
    per = "step" if np.ndim(reward) and np.shape(reward)[0] == STEPS else "call"
    factor = Reward(("given", "reward"), per=per, **{"baseline_rate": 0.0, **numbers})
    rule = rule or ThreeFactor(PAIRS, factor, LONG)
    return change(rule, with_reward(reward))


def eligibilities(x, z, long=LONG):
    """The trace of each synapse after each step, by its definition."""
    e, found = np.zeros((x.shape[1], x.shape[2], z.shape[2])), []
    before, after = np.zeros(x.shape[1:]), np.zeros(z.shape[1:])
    for t in range(len(x)):
        before = np.exp(-1 / TAU) * before + x[t]
        after = np.exp(-1 / TAU2) * after
        h = A * np.einsum("bi,bj->bij", before, z[t])
        h -= B * np.einsum("bi,bj->bij", x[t], after)
        after = after + z[t]
        e = (np.exp(-1 / long) if long else 0.0) * e + h
        found.append(e)
    return np.stack(found)


def close(found, expected):
    assert np.max(np.abs(found - expected)) < 2e-6 * np.max(np.abs(expected))


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_reward_in_each_step_meets_the_eligibility(name):
    found, _ = modulated(REWARDS)
    trace = eligibilities(*ends()[name])
    close(found[name], np.einsum("tb,tbij->ij", REWARDS, trace) / 2)
    wrong = np.einsum("tb,tbij->ij", REWARDS[:, ::-1], trace) / 2
    assert np.max(np.abs(found[name] - wrong)) > 0.1 * np.max(np.abs(wrong))


def test_a_reward_at_the_end_meets_the_last_eligibility():
    found, _ = modulated(np.array([2.0, -1.0]))
    last = eligibilities(*ends()["first"])[-1]
    close(found["first"], np.einsum("b,bij->ij", [2.0, -1.0], last) / 2)


def test_one_reward_for_all_examples():
    found, _ = modulated(np.float32(0.5))
    close(found["first"], 0.5 * eligibilities(*ends()["first"])[-1].mean(0))


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_constant_reward_is_stdp(name):
    plain, _ = change(STDP(PAIRS))
    path = ("given", "reward")
    each = ThreeFactor(PAIRS, Reward(path, per="step", baseline_rate=0.0), tau=0.0)
    close(modulated(np.ones(STEPS), each)[0][name], plain[name])
    last = ThreeFactor(PAIRS, Reward(path, baseline_rate=0.0), tau=math.inf)
    close(modulated(np.float32(1.0), last)[0][name], plain[name])
    forgetful, _ = modulated(np.float32(1.0))
    assert np.max(np.abs(forgetful[name] - plain[name])) > 0.1 * np.max(plain[name])


def test_a_reward_as_large_as_its_baseline_teaches_nothing():
    learner = learner_of(
        ThreeFactor(PAIRS, Reward(("given", "reward"), baseline_rate=1.0)),
        with_reward(np.float32(3.0)),
    )
    state = learner.init(jax.random.key(0), PARAMS, STILL, X)
    first = learner(PARAMS, state, STILL, X)
    second = learner(PARAMS, first.state, STILL, X)
    assert np.any(first.grads["first"]) and not np.any(second.grads["first"])
    assert float(second.state.factor) == 3.0


def test_a_baseline_follows_the_mean_of_the_rewards():
    found, credit = modulated(REWARDS, baseline_rate=0.2)
    baseline, total = 0.0, 0.0
    trace = eligibilities(*ends()["first"])
    for t in range(STEPS):
        total = total + np.einsum("b,bij->ij", REWARDS[t] - baseline, trace[t]) / 2
        baseline += 0.2 * (REWARDS[t].mean() - baseline)
    close(found["first"], total)
    assert np.isclose(float(credit.state.factor), baseline, rtol=1e-5)


def test_minus_the_loss_of_each_example_is_a_reward():
    found, credit = change(ThreeFactor(PAIRS, NegativeLoss(0.5), LONG))
    _, y = ends()["second"]
    losses = np.sum(np.mean(y, axis=0) ** 2, axis=1)
    last = eligibilities(*ends()["first"])[-1]
    close(found["first"], -np.einsum("b,bij->ij", losses, last) / 2)
    assert np.isclose(float(credit.state.factor), -0.5 * losses.mean(), rtol=1e-5)


# ------------------------------------------------------------ a signal for each unit


def taught(params, state, x, y):
    """Hidden units spike; the loss reads their weighted sum in each step."""

    def step(state, x):
        v, z = unit_step(state[0], x @ params["first"] + params["bias"])
        return (v, state[1]), (z, apical.output(z @ params["second"]))

    state, (z, out) = jax.lax.scan(step, state, x)
    return jnp.sum((out - y) ** 2) / 2, {"state": state, "hidden": z, "out": out}


Y = jnp.asarray(np.cos(np.arange(STEPS * 2 * 3.0)).reshape(STEPS, 2, 3), jnp.float32)
ARGS = (STILL, X, Y)
TAUGHT = {"batch_axes": (0, 1, 1), "target": lambda s, x, y: y}
TRACE = PresynapticTrace(1.0, TAU, at_spikes=False)


def test_an_error_through_random_weights_teaches_each_unit():
    rule = ThreeFactor(
        TRACE, TeachingSignal(DirectFeedbackAlignment()), 0.0, synapses=("first",)
    )
    learner = learner_of(rule, taught, **TAUGHT)
    state = learner.init(jax.random.key(3), PARAMS, *ARGS)
    credit = learner(PARAMS, state, *ARGS)
    direct = learner.with_rule(DirectFeedbackAlignment())
    signal = direct.signals(PARAMS, state.factor, *ARGS)
    nodes = learner.circuit(PARAMS, *ARGS).nodes
    name = next(n.name for n in nodes if n.why == "enters a synapse")
    x, total = np.zeros((2, 5)), 0.0
    for t in range(STEPS):
        x = np.exp(-1 / TAU) * x + np.asarray(X[t])
        total = total + x.T @ np.asarray(signal[name].teaching[t])
    close(np.asarray(credit.grads["first"]), total)
    assert credit.info.not_updated == ("bias", "second")
    assert not np.any(credit.grads["second"]) and not np.any(credit.grads["bias"])


def test_the_trace_of_the_input_itself_gives_the_gradient_within_a_step():
    """Tau = 0 in both: the update of the weights by the signal of backpropagation."""

    def still(params, state, x, y):
        def step(state, x):
            z = apical.node(jnp.tanh(x @ params["first"]), "hidden")
            return state, apical.output(z @ params["second"])

        _, out = jax.lax.scan(step, state, x)
        return jnp.sum((out - y) ** 2) / 2, {"out": out}

    pre = PresynapticTrace(1.0, 0.0, at_spikes=False)
    rule = ThreeFactor(pre, TeachingSignal(Backpropagation()), 0.0, synapses=("first",))
    learner = learner_of(rule, still, **TAUGHT)
    state = learner.init(jax.random.key(0), PARAMS, *ARGS)
    grads = learner(PARAMS, state, *ARGS).grads["first"]

    def slope(first):
        z = jnp.tanh(X @ first)
        signal = 2 * (z @ PARAMS["second"] - Y) @ PARAMS["second"].T / 2
        return jnp.einsum("tbi,tbj->ij", X, signal)

    close(np.asarray(grads), np.asarray(slope(PARAMS["first"])))


def test_a_signal_for_each_unit_meets_what_an_earlier_window_left():
    rule = ThreeFactor(
        PAIRS,
        TeachingSignal(DirectFeedbackAlignment()),
        LONG,
        synapses=("first",),
        bounds=MultiplicativeBounds(high=2.0),
    )
    learner = learner_of(rule, taught, **{**TAUGHT, **{"carry": STREAM["carry"]}})
    start = learner.init(jax.random.key(3), PARAMS, *ARGS)
    whole = learner(PARAMS, start, *ARGS).grads["first"]
    state, kept, total = STILL, start, 0.0
    for t in range(0, STEPS, 10):
        credit = learner(PARAMS, kept, state, X[t : t + 10], Y[t : t + 10])
        state, kept = credit.aux["state"], credit.state
        total = total + credit.grads["first"]
    close(np.asarray(total), np.asarray(whole))


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("reward", "per", "message"),
    [
        (np.ones(3), "call", "has shape \\(3,\\); with `per='call'`"),
        (np.ones(STEPS + 1), "step", "it is \\(30,\\) or \\(30, 2\\)"),
    ],
)
def test_a_reward_of_another_shape_is_refused(reward, per, message):
    rule = ThreeFactor(PAIRS, Reward(("given", "reward"), per=per))
    with pytest.raises(ValueError, match=message):
        change(rule, with_reward(reward))


def test_a_reward_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="looked for in `aux` at 'pay'"):
        change(ThreeFactor(PAIRS, Reward("pay")))


def test_a_reward_needs_aux():
    learner = apical.value_and_grad(
        lambda *given: loss_fn(*given)[0],
        ThreeFactor(PAIRS, Reward()),
        batch_axes=TOLD["batch_axes"],
    )
    with pytest.raises(ValueError, match="pass `has_aux=True`"):
        learner.init(jax.random.key(0), PARAMS, STILL, X)


def test_a_time_constant_may_not_be_negative():
    with pytest.raises(ValueError, match="`tau` must be a number of at least 0"):
        ThreeFactor(tau=-1.0)
