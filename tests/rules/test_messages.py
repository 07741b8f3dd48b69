"""Messages for wrong calls: the argument, the cause and the fix."""

# Wrong types are what these tests are about.
# pyright: reportArgumentType=false, reportCallIssue=false

import jax
import jax.numpy as jnp
import optax
import pytest
from support.refusals import refuses
from support.wrong_calls import (
    DEEPER,
    FA,
    KEY,
    PARAMS,
    WIDER,
    X,
    Y,
    call,
    init,
    loss_fn,
)

import apical
from apical import rules
from apical.rules.feedback._connection_masks import FeedbackState

SGD = optax.sgd(0.1)
NAN = float("nan")


def target(x, y):
    del x
    return y


def step(state, optimizer=SGD, rule=FA):
    return apical.train_step(loss_fn, rule, optimizer)(PARAMS, state, X, Y)


def stepped(optimizer=SGD, rule=FA, params=PARAMS):
    return apical.train_step(loss_fn, rule, optimizer).init(KEY, params, X, Y)


class Bare(rules.Rule):
    """Not decorated."""


@rules.rule
class Empty(rules.Rule):
    """Without `credit`."""


# ------------------------------------------------------------------ what is handed in

ENTRIES = {
    "no function": (lambda: apical.value_and_grad(PARAMS, FA), "`loss_fn`", "a dict"),
    "a loss": (lambda: apical.trace(jnp.ones(())), "`loss_fn`", "not an array"),
    "swapped": (lambda: apical.value_and_grad(FA, loss_fn), "`loss_fn`", "Feedback"),
    "bare rule": (lambda: init(Bare()), "Bare", "`@apical.rules.rule` above"),
    "rule above": (lambda: rules.rule(FA), "`@rule` decorates a class"),
    "keyword": (
        lambda: apical.train_step(loss_fn, FA, SGD, axis=0),
        *("'axis'", "`has_aux`", "`target`"),
    ),
    "optimizer": (lambda: apical.train_step(loss_fn, FA, "adam"), "`optimizer`", "'ad"),
    "factory": (
        lambda: apical.train_step(loss_fn, FA, optax.adam),
        *("`optimizer`", "as `optax.adam(1e-3)` makes one"),
    ),
    "seed": (
        lambda: apical.value_and_grad(loss_fn, FA).init(0, PARAMS, X, Y),
        *("`key`", "`jax.random.key(0)`", "not a int", "`init(key, params, *args)`"),
    ),
    "no key": (
        lambda: apical.value_and_grad(loss_fn, FA).init(PARAMS, X, Y),
        *("`key`", "not a dict"),
    ),
    "keys": (
        lambda: apical.train_step(loss_fn, FA, SGD).init(
            jax.random.split(KEY), PARAMS, X, Y
        ),
        *("`key` must be one key", "[2]"),
    ),
    "too few": (
        lambda: init(args=(X,)),
        *("`params` and 1 more", "`learner(params, state, *args)`", "'y'"),
    ),
    "too many": (lambda: init(args=(X, Y, Y)), "`params` and 3 more", "(params, x, y)"),
    "no state": (
        lambda: apical.value_and_grad(loss_fn, FA)(PARAMS, X, Y),
        *("`params` and 1 more", "`learner(params, state, *args)`"),
    ),
    "batch, text": (
        lambda: init(batch_axes="0"),
        "`batch_axes`",
        "an integer, None",
        "'0'",
    ),
    "batch, truth": (lambda: init(batch_axes=True), "`batch_axes`", "not True"),
    "batch, too long": (
        lambda: init(rules.PredictiveCoding(), batch_axes=(0, 0, 0)),
        *("`batch_axes`", "There are 2 of these", "(0, 0, 0)"),
    ),
    "no example": (
        lambda: init(rules.PredictiveCoding(), args=(X[:0], Y[:0])),
        *("no example", "argument 0"),
    ),
    "target, arguments": (
        lambda: init(rules.DirectRandomTargetProjection(), target=lambda p, x, y: y),
        *("`target`", "2 arguments", "without `params`"),
    ),
    "target, none": (
        lambda: init(rules.DirectRandomTargetProjection(), target=lambda x, y: None),
        *("`target` returned a NoneType", "(5, 2)"),
    ),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_what_cannot_be_used_is_named_with_what_to_give(name):
    refuses(ENTRIES[name])


def test_a_list_for_batch_is_a_tuple_and_an_old_key_a_key():
    rule = rules.PredictiveCoding()
    assert init(rule, batch_axes=[0, 0]) == ()
    learner = apical.value_and_grad(loss_fn, FA)
    assert learner.init(jax.random.PRNGKey(0), PARAMS, X, Y).connections.forward is None


def test_a_rule_without_credit_is_told_so():
    with pytest.raises(NotImplementedError, match="Empty does not define `credit`"):
        call((), Empty())


# ----------------------------------------------------------------- loss and parameters

LOSSES = {
    "a text": (lambda p, x, y: "loss", "returned a str"),
    "an object": (lambda p, x, y: object(), "returned a object"),
    "whole numbers": (lambda p, x, y: 1, "int32", "Return a floating-point number"),
    "a number": (lambda p, x, y: 1.0, "does not depend on `params`"),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("rule", [FA, rules.Backpropagation()], ids=["fa", "backprop"])
def test_what_is_no_loss_is_named(rule, name):
    loss, *words = LOSSES[name]
    refuses((lambda: init(rule, loss=loss), *words))


@pytest.mark.parametrize(
    ("returned", "words"),
    [([0, 1], "it returned a list of 2"), ((0, 1, 2), "it returned a tuple of 3")],
)
def test_what_is_no_pair_is_told(returned, words):
    refuses((lambda: init(loss=lambda p, x, y: returned, has_aux=True), words))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"a": jnp.ones((3, 4), int)}, "('a' is int32)"),
        ({"a": jnp.ones((3, 4), bool)}, "('a' is bool)"),
        ({"a": 2.0}, "('a' is a float)"),
        ({}, "(it is a dict without leaves)"),
    ],
)
def test_parameters_that_cannot_be_learned_are_named(params, words):
    refuses((lambda: init(params=params), "no leaf to learn", words, "jnp.asarray"))


def test_a_weight_without_numbers_is_named_with_its_line():
    empty = {"a": jnp.ones((3, 0)), "b": jnp.ones((0, 2))}
    words = "The weight 'a' at", "wrong_calls.py", "shape (3, 0)"
    refuses((lambda: init(params=empty), *words))


FAULTS = {
    "wrong shape": (loss_fn, (X[:, :2], Y), "args = ([0] float32[5, 2], [1] float"),
    "a list": (loss_fn, ([[1.0, 2.0, 3.0]], Y), "[0][0][0] (a float)"),
    "float": (lambda p, x, y: float(loss_fn(p, x, y)), (X, Y), "as `jax.jit` does"),
    "many": (lambda p, *xs: xs["x"], (X,) * 9, "and 3 more"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_error_of_the_loss_function_says_what_it_was_given(name):
    loss, args, words = FAULTS[name]
    with pytest.raises(TypeError) as error:
        init(args=args, loss=loss)
    (note,) = [n for n in error.value.__notes__ if "apical" in n]
    assert words in note and "params = (['a'] float32[3, 4]" in note


# ------------------------------------------------------------------------------ states

LEARNER = apical.value_and_grad(loss_fn, FA)
STATES = {
    "fa, ()": (lambda: call(()), "`state`", "a tuple", "a FeedbackState", "`init(key"),
    "fa, none": (lambda: call(None), "`state`", "a NoneType"),
    "fa, of another rule": (
        lambda: call(init(rules.SignConcordance())),
        *("a SignState", "FeedbackState of feedback, connections"),
    ),
    "fa, of a step": (lambda: call(stepped()), "a TrainState", "pass `state.rule`"),
    "fa, of a wider model": (
        lambda: call(init(params=WIDER)),
        *("state.feedback['a']", "(3, 6)", "(3, 4)"),
    ),
    "fa, of a deeper model": (
        lambda: call(init(params=DEEPER)),
        *("state.feedback['c'] should not be there",),
    ),
    "fa, without a mask": (
        lambda: call(init(), rules.FeedbackAlignment(removed_forward=0.5)),
        *("state.connections.forward", "`removed_forward=0.5`"),
    ),
    "sc, other magnitude": (
        lambda: call(init(rules.SignConcordance()), rules.SignConcordance("fixed")),
        *("state.magnitude", "`magnitude`", "'fixed'"),
    ),
    "sc, other concordance": (
        lambda: call(
            init(rules.SignConcordance()), rules.SignConcordance(concordance=0.5)
        ),
        *("state.agreement", "`concordance`", "0.5"),
    ),
    "wm, of a wider model": (
        lambda: call(init(rules.WeightMirror(), WIDER), rules.WeightMirror()),
        *("state.feedback['a']", "(3, 6)"),
    ),
    "dfa, ()": (
        lambda: call((), rules.DirectFeedbackAlignment()),
        *("a tuple", "a FeedbackState"),
    ),
    "dfa, of no node": (
        lambda: call(FeedbackState({}), rules.DirectFeedbackAlignment()),
        "state.feedback['a'] is missing",
    ),
    "dfa, turned": (
        lambda: call(
            FeedbackState({"a": jnp.ones((2, 4))}), rules.DirectFeedbackAlignment()
        ),
        *("state.feedback['a'] has shape (2, 4)", "(4, 2)"),
    ),
    "step, ()": (lambda: step(()), "`state` is a tuple", "TrainState"),
    "step, of a learner": (lambda: step(init()), "a FeedbackState", "TrainState"),
    "step, of another optimizer": (
        lambda: step(stepped(), optax.adam(0.1)),
        *("`state`", "state.optimizer"),
    ),
    "step, of other params": (
        lambda: step(
            stepped(rule=rules.KolenPollack(), params=WIDER), rule=rules.KolenPollack()
        ),
        *("state.rule.feedback['b']", "(6, 2)"),
    ),
    "signals": (
        lambda: apical.value_and_grad(loss_fn, FA).signals(PARAMS, (), X, Y),
        *("`state`", "FeedbackState"),
    ),
    "alignment": (
        lambda: apical.measure.alignment(LEARNER)(PARAMS, (), X, Y),
        *("`state`", "FeedbackState"),
    ),
    "cost": (
        lambda: apical.measure.cost(LEARNER, repeats=1)(PARAMS, (), X, Y),
        *("`state`", "FeedbackState"),
    ),
    "predict": (
        lambda: apical.value_and_grad(loss_fn, FA).predict(PARAMS, (), X, Y),
        *("`state`", "FeedbackState"),
    ),
    "under jit": (
        lambda: jax.jit(apical.value_and_grad(loss_fn, FA))(PARAMS, (), X, Y),
        *("`state`", "FeedbackState"),
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_from_elsewhere_is_told_apart(name):
    refuses(STATES[name])


def test_the_right_states_are_taken():
    assert call(init()).value > 0
    assert step(stepped())[2].value > 0


# ------------------------------------------------------------------- rules' own numbers

NUMBERS = {
    "a text": (
        lambda: rules.FeedbackAlignment(removed_forward="0.5"),
        "`removed_forward`",
        "'0.5'",
    ),
    "a list": (lambda: rules.KolenPollack([0.1]), "`decay`", "[0.1]"),
    "no number": (
        lambda: rules.FeedbackAlignment(removed_forward=NAN),
        "`removed_forward`",
        "nan",
    ),
    "dfa": (lambda: rules.DirectFeedbackAlignment(0.0), "`scale`", "above 0", "0.0"),
    "dfa, word": (lambda: rules.DirectFeedbackAlignment("sign"), "`scale`", "'sign'"),
    "drtp": (lambda: rules.DirectRandomTargetProjection(NAN), "`scale`", "nan"),
    "mirror": (lambda: rules.WeightMirror(-1.0), "`mirror_rate`", "-1.0"),
    "noise": (lambda: rules.WeightMirror(noise=0), "`noise`", "above 0"),
    "rate": (lambda: rules.PredictiveCoding(rate=-0.1), "`rate`", "-0.1"),
    "inference": (
        lambda: rules.PredictiveCoding(inference="adam"),
        *("`inference`", "optax", "'adam'"),
    ),
    "class": (
        lambda: rules.PredictiveCoding(inference=rules.Sweep),
        *("`inference`", "Sweep"),
    ),
    "order": (lambda: rules.Sweep(order="a"), "`order`", "a tuple", "not 'a'"),
    "manhattan, rate": (lambda: apical.optim.batch_manhattan(-1), "`learning_rate`"),
    "manhattan, text": (
        lambda: apical.optim.batch_manhattan("0.1"),
        *("`learning_rate`", "'0.1'"),
    ),
    "manhattan, momentum": (
        lambda: apical.optim.batch_manhattan(0.1, 1.0),
        *("`momentum`", "below 1"),
    ),
    "manhattan, decay": (
        lambda: apical.optim.batch_manhattan(0.1, weight_decay=-1),
        *("`weight_decay`", "-1"),
    ),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_mean_nothing_are_named(name):
    refuses(NUMBERS[name])


def test_numbers_that_are_traced_or_only_a_form_are_let_through():
    rule = rules.DirectFeedbackAlignment()
    traced = jax.jit(lambda rule: rule.scale)(rule)
    assert traced == 1.0
    assert jax.tree.map(lambda _: None, rule).scale is None
    assert apical.optim.batch_manhattan(optax.constant_schedule(0.1)).init(PARAMS)


def test_a_state_that_is_one_key_is_not_blamed_for_what_else_fails():
    rule = apical.rules.WeightPerturbation()
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(jax.random.key(0), PARAMS, X, Y)
    with pytest.raises(NotImplementedError, match="does not define `signals`"):
        learner.signals(PARAMS, state, X, Y)
    with pytest.raises(ValueError, match=r"it is a tuple, and should be an array"):
        learner(PARAMS, (), X, Y)
