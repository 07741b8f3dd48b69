"""The claim about damaged synapses: the damage, its rules and its judge."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.claim_lines import run
from support.drawn_claims import assert_drawn

import apical
from apical.claims import run_claim
from apical.claims.feedback import _damaged_synapses as damage
from apical.claims.feedback import robust_synapses as claim
from apical.lab._registry import BASELINE, CONTROL

# ---- The verdict


def lines(damaged=0.84, control=0.80, others=None, **how):
    found = []
    for rule in claim.RULES_DAMAGED:
        by = {claim.PERFECT: 0.87, claim.DAMAGED: (others or {}).get(rule, damaged)}
        if rule == CONTROL:
            by = {claim.PERFECT: control, claim.DAMAGED: 0.7}
        for optimizer, accuracy in by.items():
            said = {"optimizer": optimizer.name, "data": "made up"}
            found += run(rule, accuracy, **said, **how)
    return found


CASES = {
    "holds": [lines()],
    "holds within limits": [
        lines(others={BASELINE: 0.79}),
        lines(others={"sign-concordance": 0.805}),
    ],
    "does not hold": [
        lines(others={"kolen-pollack": 0.79}),
        lines(damaged=0.8),
        lines(control=0.85),
    ],
    "not settled": [lines(damaged=0.806, spread=6), lines(seeds=4), []],
}


@pytest.mark.parametrize("word", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(word):
    found = [claim.judge(each) for each in CASES[word]]
    assert [verdict.word for verdict in found] == [word] * len(found), [
        verdict.because for verdict in found
    ]


def test_lines_are_drawn():
    assert_drawn(claim, lines())


# ---- The damage


def test_an_update_is_late_noisy_and_sometimes_negated():
    w = {"a": jax.random.normal(jax.random.key(0), (200, 100))}
    made = damage.damaged_synapses(delay=2, noise=0.5, wrong=0.1)
    state = made.init(w)
    assert float((state.signs["a"] < 0).mean()) == pytest.approx(0.1, abs=0.01)
    arrived = []
    for size in (1.0, 2.0, 4.0):
        moved, state = made.update({"a": jnp.full((200, 100), size)}, state)
        arrived.append(moved["a"])
    assert not np.any(arrived[0]) and not np.any(arrived[1])
    apart = arrived[2] - state.signs["a"]  # that of the first, of size 1
    assert float(apart.std()) == pytest.approx(0.5, rel=0.02)
    assert float(apart.mean()) == pytest.approx(0, abs=0.02)


def test_damage_differs_between_weights_and_is_the_same_for_the_same():
    made = damage.damaged_synapses()
    one, other = jnp.arange(900.0), jnp.arange(900.0) + 1
    signs = [made.init(w).signs for w in (one, one, other)]
    assert np.array_equal(signs[0], signs[1])
    assert not np.array_equal(signs[0], signs[2])


def test_without_damage_an_update_is_the_gradient():
    made = damage.damaged_synapses(delay=0, noise=0.0, wrong=0.0)
    g = jnp.array([1.0, -2.0])
    assert np.array_equal(made.update(g, made.init(g))[0], g)


def loss_fn(w, x):
    return jnp.mean((jnp.tanh(jnp.tanh(x @ w["a"]) @ w["b"]) @ w["c"] - 1) ** 2)


@pytest.fixture(scope="module")
def weights():
    keys = jax.random.split(jax.random.key(0), 4)
    w = {
        name: jax.random.normal(k, (9, 9)) / 3
        for name, k in zip("abc", keys[:3], strict=True)
    }
    return w, jax.random.normal(keys[3], (4, 9))


def test_backprop_passes_back_through_weights_of_which_some_are_negated(weights):
    w, x = weights
    learner = apical.value_and_grad(loss_fn, damage.DamagedBackpropagation())
    state = learner.init(jax.random.key(1), w, x)
    signs = state.connections.backward
    assert {-1.0, 1.0} == set(np.unique(signs["b"]))
    found = learner(w, state, x).grads

    def by_hand(w, x):
        def through(h, weight, sign):
            """The product, whose gradient by h uses the negated weights."""
            back = jax.lax.stop_gradient(weight * sign)
            fixed = jax.lax.stop_gradient(h)
            return fixed @ weight + (h - fixed) @ back

        h = jnp.tanh(x @ w["a"])
        h = jnp.tanh(through(h, w["b"], signs["b"]))
        return jnp.mean((through(h, w["c"], signs["c"]) - 1) ** 2)

    expected = jax.grad(by_hand)(w, x)
    for name in "abc":
        assert np.allclose(found[name], expected[name], atol=1e-6)


@pytest.mark.parametrize("name", claim.LEARNING)
def test_every_damaged_rule_differs_from_the_rule_by_its_feedback(weights, name):
    w, x = weights
    made = claim.RULES_DAMAGED[name].make()
    assert made.backward_noise == damage.NOISE
    step = apical.train_step(loss_fn, made, optax.sgd(0.1))
    state = step.init(jax.random.key(1), w, x)
    negated = [
        float((s < 0).mean()) for s in jax.tree.leaves(state.rule.connections.backward)
    ]
    assert 0.02 < np.mean(negated) < 0.25
    _, after, credit = step(w, state, x)
    _, _, again = step(w, after, x)
    assert np.all(np.isfinite(credit.grads["a"]))
    # New noise at every call reaches the first layer, and not the last one.
    assert not np.allclose(credit.grads["a"], again.grads["a"])
    assert np.allclose(credit.grads["c"], again.grads["c"])


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert len({line["optimizer"] for line in outcome.lines}) == 2
