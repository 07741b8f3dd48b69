"""Arguments that are inferred: generation, completion, recall, amortised starts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, distance
from support.latent_causes import KEYS, X
from support.latent_causes import U as Z
from support.latent_causes import W as PARAMS

import apical
from apical.rules import (
    AmortisedStart,
    DecayingPrecision,
    DifferentialEquation,
    Nudge,
    PredictiveCoding,
    RandomFeedback,
    Sweep,
)

CAUSE = (True, False)
generative = functools.partial(PredictiveCoding, prediction="free", free=CAUSE)


def loss_fn(params, z, x):
    """A cause z, with a prior, above the data x."""
    values = jnp.tanh(z @ params["a"]) @ params["b"]
    return 0.5 * (jnp.sum((values - x) ** 2) + jnp.sum(z**2)) / len(x)


def learner_of(rule, loss_fn=loss_fn, **keywords):
    return apical.value_and_grad(loss_fn, rule, **keywords)


def by_hand(steps, rate, z=Z, x=X, kept=None):
    """Two layers written out: values, cause, and the gradients at the end."""
    a, b, z, x = (np.asarray(v) for v in (PARAMS["a"], PARAMS["b"], z, x))
    v = np.tanh(z @ a)
    for _ in range(steps):
        p = np.tanh(z @ a)
        error, missed = v - p, v @ b - x
        dv = error + missed @ b.T
        dz = z - (error * (1 - p**2)) @ a.T
        dx = np.zeros_like(x) if kept is None else np.where(kept, 0, -missed)
        v, z, x = v - rate * dv, z - rate * dz, x - rate * dx
    p = np.tanh(z @ a)
    grads = {
        "a": -(z.T @ ((v - p) * (1 - p**2))) / len(x),
        "b": v.T @ (v @ b - x) / len(x),
    }
    return grads, z, x


# ------------------------------------------------------------------- by hand


@pytest.mark.parametrize("steps", [1, 7])
def test_an_inferred_cause_equals_two_layers_by_hand(steps):
    learner = learner_of(generative(steps=steps, rate=0.1))
    credit = jax.jit(learner)(PARAMS, (), Z, X)
    grads, z, _ = by_hand(steps, 0.1)
    assert_close(credit.grads, grads)
    found, data = learner.predict(PARAMS, (), Z, X)
    assert_close(found, z)
    assert jnp.array_equal(data, X)
    assert distance(found, Z) > 1e-2
    assert distance(credit.grads["a"], by_hand(steps + 2, 0.1)[0]["a"]) > 1e-3


def test_missing_entries_equal_two_layers_by_hand_and_the_others_stay():
    kept = jnp.array([True, True, False])
    rule = generative(steps=9, rate=0.1, free=lambda z, x: (True, ~kept))
    learner = learner_of(rule)
    grads, z, x = by_hand(9, 0.1, kept=np.asarray(kept))
    assert_close(jax.jit(learner)(PARAMS, (), Z, X).grads, grads)
    found = learner.predict(PARAMS, (), Z, X)
    assert_close(found, (z, x))
    assert jnp.array_equal(found[1][:, :2], X[:, :2])
    assert distance(found[1][:, 2], X[:, 2]) > 1e-2


def test_missing_data_may_be_not_a_number():
    """They start at 0, and are filled in as zeros would be."""
    missing = jnp.zeros_like(X, bool).at[:2, 1].set(True)
    rule = PredictiveCoding(20, 0.1, prediction="free", free=(True, missing))
    found = [
        learner_of(rule)(PARAMS, (), Z, jnp.where(missing, gap, X))
        for gap in (0.0, jnp.nan)
    ]
    assert_close(found[1].grads, found[0].grads)
    assert_close(found[1].value, found[0].value)
    given = learner_of(rule)(PARAMS, (), Z, X.at[4, 0].set(jnp.nan))
    assert jnp.isnan(given.value)  # what is not free is not filled in


def test_the_value_is_the_loss_at_the_arguments_as_filled_in():
    learner = learner_of(generative(steps=20))
    credit = learner(PARAMS, (), Z, X)
    filled = learner.predict(PARAMS, (), Z, X)
    assert_close(credit.value, loss_fn(PARAMS, *filled))
    assert credit.value < loss_fn(PARAMS, Z, X)
    backprop = jax.grad(loss_fn)(PARAMS, *filled)
    found = learner.rule.reference(learner.circuit(PARAMS, Z, X), PARAMS, (), (Z, X))
    assert_close(found, backprop)


def linear_loss(params, z, x):
    return 0.5 * (jnp.sum((z @ params - x) ** 2) + jnp.sum(z**2)) / len(x)


@pytest.mark.parametrize(
    "inference",
    [None, optax.adam(0.02), DifferentialEquation(30.0, relative=1e-5)],
    ids=["steps", "adam", "ode"],
)
def test_a_linear_cause_without_nodes_is_ridge_regression(inference):
    w = jax.random.normal(KEYS[4], (2, 3))
    rule = generative(steps=1500, rate=0.05, inference=inference)
    learner = learner_of(rule, linear_loss)
    learner.init(KEYS[0], w, Z, X)
    found, _ = jax.jit(learner.predict)(w, (), Z, X)
    expected = X @ w.T @ jnp.linalg.inv(w @ w.T + jnp.eye(2))
    assert_close(found, expected, rtol=1e-2, atol=1e-3)
    assert distance(Z, expected) > 0.5


def test_what_all_examples_share_is_inferred_from_all_of_them():
    w = jax.random.normal(KEYS[4], (2, 3))

    def shared_loss(params, z, x):
        return 0.5 * jnp.mean(jnp.sum((z @ params - x) ** 2, -1)) + 0.1 * z @ z

    rule = generative(steps=3000, rate=0.02)
    learner = learner_of(rule, shared_loss, batch_axes=(None, 0))
    found, _ = jax.jit(learner.predict)(w, (), Z[0], X)
    slope = jax.grad(shared_loss, argnums=1)(w, found, X)
    assert (
        jnp.abs(slope).max()
        < 1e-4
        < jnp.abs(jax.grad(shared_loss, 1)(w, Z[0], X)).max()
    )


def test_inference_does_not_depend_on_the_size_of_the_batch():
    learner = learner_of(generative(steps=5, rate=0.2))
    twice = [jnp.concatenate([v, v]) for v in (Z, X)]
    one, two = learner.predict(PARAMS, (), Z, X), learner.predict(PARAMS, (), *twice)
    assert_close(two[0][:5], one[0])


# -------------------------------------------------- memory, labels, precision


def test_stored_patterns_are_recalled_from_a_part_of_them():
    patterns = jnp.sign(jax.random.normal(KEYS[5], (3, 12)))

    def memory(params, z, x):
        hidden = jnp.tanh(z @ params["up"] + params["bias"])
        return 0.5 * jnp.sum((hidden @ params["down"] - x) ** 2) / len(x)

    params = {
        "up": jax.random.normal(KEYS[6], (4, 16)) / 2,
        "bias": jnp.zeros(16),
        "down": jax.random.normal(KEYS[7], (16, 12)) / 4,
    }
    step = apical.train_step(memory, generative(steps=50), optax.adam(0.03))
    none = jnp.zeros((3, 4))
    state, train = step.init(KEYS[1], params, none, patterns), jax.jit(step)
    learned = params
    for _ in range(200):
        learned, state, _ = train(learned, state, none, patterns)
    known = jnp.arange(12) < 8
    cue = jnp.where(known, patterns, 0.0)
    rule = generative(steps=1000, free=lambda z, x: (True, ~known))
    recall = jax.jit(learner_of(rule, memory).predict)
    assert jnp.array_equal(jnp.sign(recall(learned, (), none, cue)[1]), patterns)
    assert not jnp.array_equal(jnp.sign(recall(params, (), none, cue)[1]), patterns)


def test_a_label_is_read_from_a_generative_network():
    """The label is the cause: given data, it is filled in."""
    prototypes = jnp.array([[1.0, 0, 0, 1], [0, 1, 1, 0]])

    def model(params, label, x):
        return 0.5 * jnp.sum((label @ params - x) ** 2) / len(x)

    learner = learner_of(generative(steps=200, rate=0.1), model)
    noisy = prototypes[jnp.array([1, 0, 1])] + 0.2 * jax.random.normal(KEYS[0], (3, 4))
    label, _ = learner.predict(prototypes, (), jnp.full((3, 2), 0.5), noisy)
    assert jnp.array_equal(label.argmax(-1), jnp.array([1, 0, 1]))


def test_precision_weighs_the_errors_above_a_free_cause():
    plain = learner_of(generative(steps=9)).predict(PARAMS, (), Z, X)[0]
    for precision in (3.0, DecayingPrecision(3.0, 1.0)):
        rule = generative(steps=9, precision=precision)
        learner = learner_of(rule)
        state = learner.init(KEYS[0], PARAMS, Z, X)
        assert distance(learner.predict(PARAMS, state, Z, X)[0], plain) > 1e-3


# ----------------------------------------------------------- amortised starts


class Linear:
    """Guesses the cause from the data."""

    def init(self, key, z, x):
        return {"w": jnp.zeros((x.shape[-1], z.shape[-1])), "b": jnp.zeros(z.shape[-1])}

    def apply(self, weights, z, x):
        return x @ weights["w"] + weights["b"]


def test_a_network_learns_where_inference_ends_so_that_fewer_steps_are_needed():
    rule = generative(steps=200, amortised=AmortisedStart(Linear(), optax.adam(0.02)))
    learner = learner_of(rule)
    zeros = jnp.zeros_like(Z)
    state, call = learner.init(KEYS[0], PARAMS, zeros, X), jax.jit(learner)
    first = state
    for _ in range(300):
        state = call(PARAMS, state, zeros, X).state
    ends = learner.predict(PARAMS, state, zeros, X)[0]
    guess = Linear().apply(state.amortised.weights, zeros, X)
    assert distance(guess, ends) < 0.2 < distance(zeros, ends)

    def energy(state, steps):
        short = learner_of(dataclasses.replace(rule, steps=steps))
        return float(short(PARAMS, state, zeros, X).value)

    assert energy(state, 10) < energy(first, 10)
    assert energy(state, 1) < energy(first, 10)


def test_one_step_of_the_network_equals_the_step_by_hand():
    rule = generative(steps=5, amortised=AmortisedStart(Linear(), optax.sgd(0.1)))
    learner = learner_of(rule)
    state = learner.init(KEYS[0], PARAMS, Z, X)
    after = learner(PARAMS, state, Z, X).state.amortised.weights
    ends = learner_of(generative(steps=5)).predict(PARAMS, (), jnp.zeros_like(Z), X)[0]
    expected = {"w": 0.1 * X.T @ ends / 5, "b": 0.1 * ends.mean(0)}
    assert_close(after, expected)
    assert jnp.abs(expected["w"]).max() > 1e-3


# -------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"prediction": "fixed"}, ValueError, "needs `prediction='free'`"),
        ({"free": True}, TypeError, "must be a tuple"),
        ({"inference": Sweep()}, ValueError, "`Sweep` moves the values of nodes"),
        ({"nudge": Nudge(0.1, "positive")}, ValueError, "descend the energy itself"),
        ({"feedback": RandomFeedback()}, ValueError, "descend the energy itself"),
        ({"derivative": False}, ValueError, "descend the energy itself"),
        ({"amortised": Linear()}, TypeError, r"AmortisedStart\(\)"),
        (
            {"free": None, "amortised": AmortisedStart(Linear(), optax.sgd(0.1))},
            ValueError,
            "say which by `free`",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(changed, kind, words):
    with pytest.raises(kind, match=words):
        generative(**changed)


def numbers(params, z, x, labels):
    return loss_fn(params, z, x) + 0 * jnp.sum(labels)


@pytest.mark.parametrize(
    ("free", "words"),
    [
        ((False, False, False), "frees no argument"),
        ((True, False), "one entry .* for each of the 3 arguments"),
        ((True, False, True), r"args\[2\], which is int32"),
        (lambda z, x, n: (jnp.ones(2), False, False), "has float32 for args"),
        (lambda z, x, n: (jnp.ones(7, bool), False, False), r"mask of shape \(7,\)"),
        (lambda params, z: (True, False), "cannot be called with the 3 arguments"),
    ],
)
def test_masks_that_do_not_fit_the_arguments_are_refused(free, words):
    learner = learner_of(generative(free=free), numbers)
    with pytest.raises((ValueError, TypeError), match=words):
        learner.init(KEYS[0], PARAMS, Z, X, jnp.zeros(5, int))


def test_a_regime_is_that_of_nodes_alone():
    with pytest.raises(ValueError, match="leave `free` at None"):
        apical.measure.regime(apical.value_and_grad(loss_fn, generative()))


def test_a_guess_that_does_not_fit_is_refused():
    class Other(Linear):
        def apply(self, weights, z, x):
            return x

    rule = generative(amortised=AmortisedStart(Other(), optax.sgd(0.1)))
    with pytest.raises(ValueError, match=r"shapes \[\(5, 3\)\].*have \[\(5, 2\)\]"):
        learner_of(rule).init(KEYS[0], PARAMS, Z, X)
    with pytest.raises(TypeError, match="has no `init`"):
        AmortisedStart(object(), optax.sgd(0.1))
