"""The parts of predictive coding: precision, nudge, feedback."""

import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, batch, cosine, distance, layers, loss_fn
from support.predictive_coding_by_hand import (
    DATA,
    KEY,
    NAMES,
    PARAMS,
    ByHand,
    credit_of,
    free,
)

import apical
from apical.rules import (
    ConjugateGradients,
    DecayingPrecision,
    DifferentialEquation,
    ErrorRelaxation,
    LearnedPrecision,
    Nudge,
    PredictiveCoding,
    RandomFeedback,
    Sweep,
)

# ------------------------------------------------------------------------- precision


def test_unit_precision_changes_nothing_and_another_does():
    plain = credit_of(free(7, 0.2)).grads
    assert_close(credit_of(free(7, 0.2, precision=1.0)).grads, plain)
    assert distance(credit_of(free(7, 0.2, precision=2.0)).grads, plain) > 0.1


def test_precisions_equal_precisions_by_hand():
    rule = free(7, 0.2, precision=dict(zip(NAMES, (2.0, 0.5), strict=True)))
    assert_close(credit_of(rule).grads, ByHand((2.0, 0.5)).after(7, 0.2))
    fixed = PredictiveCoding(7, 0.2, precision=dict(rule.precision))
    expected = ByHand((2.0, 0.5), fixed=True).after(7, 0.2)
    assert_close(credit_of(fixed).grads, expected)


def test_all_precisions_and_the_pull_times_three_is_the_same_equilibrium():
    plain = credit_of(free(2000, 0.1)).grads
    strong = free(2000, 0.03, precision=3.0, nudge=Nudge(3.0, "positive"))
    # A nudge divides the gradients by its strength: those of the energy are 3 times.
    assert_close(credit_of(strong).grads, plain, rtol=1e-3, atol=1e-5)
    alone = free(2000, 0.03, precision=3.0)
    assert distance(credit_of(alone).grads, plain) > 0.1


def test_a_decaying_precision_is_that_of_its_step():
    given = DecayingPrecision(first=4.0, last=0.5, time=2.0)
    hand = ByHand()
    values = hand.start()
    for step in range(6):
        hand.precision = (0.5 + 3.5 * np.exp(-step / 2.0),) * 2
        values = hand.step(values, 0.1)
    hand.precision = (0.5, 0.5)
    found = credit_of(free(6, 0.1, precision=given)).grads
    assert_close(found, hand.grads(values))
    assert distance(found, ByHand((0.5, 0.5)).after(6, 0.1)) > 1e-2


def test_a_learned_precision_becomes_one_over_the_variance_of_the_errors():
    rule = free(5, 0.2, precision=LearnedPrecision(rate=0.2))
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(KEY, PARAMS, *DATA)
    circuit = apical.trace(loss_fn)(PARAMS, *DATA)
    draw = np.random.default_rng(0)
    spread = {"first": 2.0, "second": 0.1}
    errors = {
        name: jnp.asarray(size * draw.normal(size=(4, 100)))
        for name, size in zip(NAMES, spread.values(), strict=True)
    }
    learned = state.precision
    for _ in range(200):
        learned = rule.precision.update(circuit, learned, errors)
    for name in NAMES:
        expected = 1 / np.mean(np.square(errors[name]))
        np.testing.assert_allclose(np.exp(learned[name]), expected, rtol=1e-3)
    after = learner(PARAMS, state, *DATA).state.precision
    assert all(after[name] != state.precision[name] for name in NAMES)


PRECISIONS = {
    "by node": dict(zip(NAMES, (0.3, 7.0), strict=True)),
    "one": 5.0,
}


@pytest.mark.parametrize("inference", [None, Sweep()])
@pytest.mark.parametrize("name", PRECISIONS)
def test_the_default_step_is_one_over_the_precision_and_settles(name, inference):
    rule = PredictiveCoding(precision=PRECISIONS[name], inference=inference)
    credit = credit_of(rule)
    assert credit.info.settled
    assert_close(credit.grads, jax.grad(loss_fn)(PARAMS, *DATA))
    # The control: a step of 1 for all.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same = credit_of(replace(rule, rate=1.0))
    if inference is None:
        assert not same.info.settled
    assert distance(same.grads, credit.grads) > 0.1


@pytest.mark.parametrize("prediction", ["fixed", "free"])
def test_a_step_of_which_errors_grow_is_named_with_its_bound(prediction):
    given = dict(zip(NAMES, (2.0, 4.0), strict=True))
    rule = PredictiveCoding(rate=0.5, prediction=prediction, precision=given)
    with pytest.warns(UserWarning, match=r"node '1', a step .* below 2 / 4 = 0\.5"):
        init(rule)
    init(replace(rule, rate=0.4))  # the control


@pytest.mark.parametrize("precision", [1.0, 4.0])
def test_the_teaching_signal_is_that_of_the_loss_whatever_the_precision(precision):
    rule = PredictiveCoding(300, 0.1, precision=precision)
    found = apical.value_and_grad(loss_fn, rule).signals(PARAMS, init(rule), *DATA)
    exact = apical.value_and_grad(loss_fn, apical.rules.Backpropagation()).signals(
        PARAMS, (), *DATA
    )
    for name, signal in exact.items():
        teaching = found[name].teaching
        np.testing.assert_allclose(teaching, signal.teaching, rtol=1e-3, atol=1e-6)


# ----------------------------------------------------------------------------- nudge


def apart_from_backprop(kind, strength):
    rule = free(400, 0.1, nudge=Nudge(strength, kind))
    with jax.enable_x64(True):
        params, data = layers(5, 7, 6, 3), batch(4, 5, 3)
        found = credit_of(rule, params=params, data=data).grads
        return distance(found, jax.grad(loss_fn)(params, *data))


@pytest.mark.parametrize(
    ("kind", "order"), [("positive", 1), ("negative", 1), ("centred", 2)]
)
def test_a_nudge_errs_by_its_strength_to_this_power(kind, order):
    far, near = (apart_from_backprop(kind, b) for b in (0.02, 0.01))
    assert far > 1e-6
    np.testing.assert_allclose(far / near, 2**order, rtol=0.1)


def test_a_positive_nudge_equals_a_weaker_loss_by_hand():
    found = credit_of(free(7, 0.2, nudge=Nudge(0.3, "positive"))).grads
    expected = jax.tree.map(lambda g: g / 0.3, ByHand(pull=0.3).after(7, 0.2))
    assert_close(found, expected)


def test_of_two_settlings_the_larger_residual_is_reported():
    def steep(params, x, y):
        return 25 * loss_fn(params, x, y)

    def info_of(kind):
        return credit_of(free(40, 0.05, nudge=Nudge(0.3, kind)), steep).info

    towards, away, both = map(info_of, ("positive", "negative", "centred"))
    assert towards.residual < 0.5 and not away.residual < 0.5
    np.testing.assert_array_equal(both.residual, away.residual)
    assert not both.settled


# -------------------------------------------------------------------------- feedback


@pytest.mark.parametrize("prediction", ["fixed", "free"])
def test_feedback_through_the_forward_weights_is_ordinary_predictive_coding(prediction):
    rule = PredictiveCoding(3, 0.2, prediction=prediction, feedback=RandomFeedback())
    plain = PredictiveCoding(3, 0.2, prediction=prediction)
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(KEY, PARAMS, *DATA)
    same = state._replace(feedback=state.feedback._replace(weights=PARAMS))
    expected = credit_of(plain).grads
    assert_close(learner(PARAMS, same, *DATA).grads, expected)
    found = learner(PARAMS, state, *DATA).grads
    assert distance(found[:2], expected[:2]) > 0.1


@pytest.mark.parametrize("derivative", [True, False])
def test_random_feedback_equals_random_feedback_by_hand(derivative):
    rule = free(6, 0.2, feedback=RandomFeedback(), derivative=derivative)
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(KEY, PARAMS, *DATA)
    drawn = [each["w"] for each in state.feedback.weights]
    copies = [PARAMS[0]["w"], *drawn[1:]]
    hand = ByHand(copies=copies, derivative=derivative)
    assert_close(learner(PARAMS, state, *DATA).grads, hand.after(6, 0.2))


@pytest.mark.parametrize("prediction", ["fixed", "free"])
def test_without_the_derivative_errors_pass_as_they_are(prediction):
    rule = PredictiveCoding(6, 0.2, prediction=prediction, derivative=False)
    fixed = prediction == "fixed"
    expected = ByHand(derivative=False, fixed=fixed).after(6, 0.2)
    assert_close(credit_of(rule).grads, expected)
    assert distance(expected, ByHand(fixed=fixed).after(6, 0.2)) > 0.05


def test_learned_feedback_moves_by_the_product_that_moves_the_weights():
    rule = free(5, 0.2, feedback=RandomFeedback(optax.sgd(0.5)))
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(KEY, PARAMS, *DATA)
    credit = learner(PARAMS, state, *DATA)
    before, after = state.feedback.weights, credit.state.feedback.weights
    for old, new, grad in zip(before, after, credit.grads, strict=True):
        if old["w"] is not None:
            assert_close(new["w"], old["w"] - 0.5 * grad["w"])
    held = free(5, 0.2, feedback=RandomFeedback())
    kept = credit_of(
        held, state=apical.value_and_grad(loss_fn, held).init(KEY, PARAMS, *DATA)
    ).state.feedback.weights
    assert_close(kept, before)


def test_learned_feedback_comes_to_agree_with_the_weights():
    # Decay forgets where both began; what they have learned is the same.
    forward = optax.chain(optax.add_decayed_weights(0.05), optax.sgd(0.1))
    rule = free(10, 0.2, feedback=RandomFeedback(forward))
    step = apical.train_step(loss_fn, rule, forward)
    params, state = PARAMS, step.init(KEY, PARAMS, *DATA)

    def agreement(params, state):
        pairs = [
            (each["w"], copy["w"])
            for each, copy in zip(params, state.rule.feedback.weights, strict=True)
            if copy["w"] is not None
        ]
        return cosine(*zip(*pairs, strict=True))

    first = agreement(params, state)
    run = jax.jit(step)
    for _ in range(400):
        params, state, credit = run(params, state, *DATA)
    assert agreement(params, state) > 0.95 > 0.6 > first
    assert credit.value < 0.5 * loss_fn(PARAMS, *DATA)


# -------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PredictiveCoding(inference=ErrorRelaxation()), "prediction='free'"),
        (lambda: PredictiveCoding(inference=ConjugateGradients()), "prediction='free'"),
        (
            lambda: free(inference=ErrorRelaxation(), derivative=False),
            "needs `derivative=True`",
        ),
        (lambda: free(inference=Sweep(), tolerance=0.1), "leave `tolerance` at 0"),
        (lambda: free(tolerance=-1.0), "`tolerance` must be a finite number"),
        (
            lambda: init(free(precision=-1.0)),
            "above 0",
        ),
        (lambda: init(free(precision={"nobody": 1.0})), "'0' is missing or"),
        (lambda: Nudge(0.0), "`strength` must be"),
        (lambda: Nudge(0.1, "both"), "`kind` must be one of"),
        (lambda: ConjugateGradients(0), "`rounds` must be"),
        (lambda: DecayingPrecision(first=0.0), "`first` must be"),
        (lambda: LearnedPrecision(rate=0.0), "`rate` must be"),
        (lambda: Sweep(order="odd"), "`order` must be None, 'even/odd' or a tuple"),
    ],
)
def test_what_means_nothing_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def init(rule):
    return apical.value_and_grad(loss_fn, rule).init(KEY, PARAMS, *DATA)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"precision": "high"}, "`precision` must be a number"),
        ({"nudge": 0.1}, "`nudge` must be `apical.rules.Nudge"),
        ({"feedback": True}, "`feedback` must be `apical.rules.RandomFeedback"),
        ({"inference": "fast"}, "`inference` must be an optax transformation"),
    ],
)
def test_parts_of_another_kind_are_refused(keywords, message):
    with pytest.raises(TypeError, match=message):
        free(**keywords)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "diffrax", None)
    with pytest.raises(ImportError, match=r"pip install 'apical\[ode\]'"):
        credit_of(free(inference=DifferentialEquation()))


def test_a_solver_separates_examples_in_a_loss_for_one_number_of_them():
    def four(params, x, y):
        return loss_fn(params, x + jnp.zeros((4, 1)), y)

    found = []
    for each in (four, loss_fn):
        learner = apical.value_and_grad(each, free(inference=ErrorRelaxation()))
        found.append(learner(PARAMS, learner.init(KEY, PARAMS, *DATA), *DATA).grads)
    assert_close(*found)


def test_needs_are_those_of_the_parts():
    assert "weight transport" in free().needs
    assert "weight transport" not in free(feedback=RandomFeedback()).needs
    assert "derivative of the nonlinearity" not in free(derivative=False).needs
    assert "global error" in free(inference=ErrorRelaxation()).needs
    assert "global error" not in free().needs
