"""Learners of every rule: refusals, cached circuits, training, signals."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import (
    assert_close,
    assert_same,
    backward,
    batch,
    distance,
    layers,
    loss_fn,
    network,
    weights,
)

import apical
from apical import rules

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)
FREE = rules.PredictiveCoding(4, 0.2, prediction="free")
RULES = {
    "backpropagation": rules.Backpropagation(),
    "feedback_alignment": rules.FeedbackAlignment(),
    "sign_concordance": rules.SignConcordance("batch", concordance=0.8),
    "kolen_pollack": rules.KolenPollack(),
    "predictive_coding": rules.PredictiveCoding(3, 0.5),
    "sweep": rules.PredictiveCoding(inference=rules.Sweep()),
    "free": FREE,
}


@functools.cache
def trained_once(name):
    """Return params, the rule's state before the step, and the credit of one step."""
    trainer = apical.train_step(loss_fn, RULES[name], optax.sgd(0.1))
    state = jax.jit(trainer.init)(KEY, PARAMS, *DATA)
    params, after, credit = jax.jit(trainer)(PARAMS, state, *DATA)
    return params, state.rule, after.rule, credit


# -------------------------------------------------------------------- what it refuses


def refuses(message, loss_fn=loss_fn, params=PARAMS, data=DATA, rule=FREE, **keywords):
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    with pytest.raises(ValueError, match=message):
        learner.init(KEY, params, *data)
    with pytest.raises(ValueError, match=message):
        learner(params, (), *data)


@pytest.mark.parametrize("name", ["backpropagation", "sign_concordance", "free"])
def test_parameters_that_are_integers_are_refused(name):
    refuses(
        r"holds no leaf to learn.*`.astype\(float\)`",
        lambda w, x, y: jnp.mean((x @ w - y) ** 2),
        jnp.ones((5, 3), int),
        rule=RULES[name],
    )


def test_a_loss_that_is_not_a_scalar_is_refused():
    refuses(
        r"must return a real scalar; it returned shape \(4,\).*Take the mean",
        lambda params, x, y: jnp.sum((network(params, x) - y) ** 2, axis=1),
    )


def test_a_pair_needs_has_aux_and_has_aux_needs_a_pair():
    refuses(
        r"returned a tuple.*pass `has_aux=True`",
        lambda params, x, y: (loss_fn(params, x, y), x),
    )
    refuses(r"must return a pair `\(loss, aux\)`", has_aux=True)


def test_data_that_is_closed_over_is_refused():
    refuses(
        r"depends on `params` alone.*pass them as arguments",
        lambda params, unused: loss_fn(params, *DATA) + 0 * jnp.sum(params[0]["w"]),
        data=(jnp.ones(4),),
    )


def test_parameters_that_do_not_matter_are_refused():
    refuses(
        "does not depend on `params`",
        lambda params, x, y: jnp.mean((x[:, :3] - y) ** 2),
    )


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ((0,), "`batch_axes` must be an integer, None, or a tuple with one entry"),
        (
            (0, 1),
            r"differ in their number of examples \(0: 4, 1: 3\).*"
            r"`batch_axes=\(0, 0, None\)",
        ),
        ((0, 2), r"Argument 1 .* has shape \(4, 3\) and no axis 2 of examples"),
    ],
)
def test_a_batch_that_does_not_fit_the_arguments_is_refused(axes, message):
    learner = apical.value_and_grad(loss_fn, FREE, batch_axes=axes)
    with pytest.raises(ValueError, match=message):
        learner.init(KEY, PARAMS, *DATA)


@pytest.mark.parametrize("rule", [FREE, rules.IncrementalPredictiveCoding()])
def test_examples_that_cannot_be_counted_are_refused_under_jit_too(rule):
    step = apical.train_step(loss_fn, rule, optax.sgd(0.1), batch_axes=(0, 1))
    with pytest.raises(ValueError, match="differ in their number of examples"):
        jax.jit(step.init)(KEY, PARAMS, *DATA)


@pytest.mark.parametrize("keywords", [{"reduction": "max"}, {"nodes": "all"}])
def test_other_words_are_refused(keywords):
    (name,) = keywords
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        apical.value_and_grad(loss_fn, FREE, **keywords)


def test_a_class_in_place_of_a_rule_is_refused_with_its_call():
    for wrapped in (
        lambda rule: apical.value_and_grad(loss_fn, rule),
        lambda rule: apical.train_step(loss_fn, rule, optax.sgd(0.1)),
        apical.value_and_grad(loss_fn, FREE).with_rule,
    ):
        with pytest.raises(TypeError, match=r"did you mean `FeedbackAlignment\(\)`\?"):
            wrapped(rules.FeedbackAlignment)
        with pytest.raises(TypeError, match=r"`rule` must be a rule of `apical.rules`"):
            wrapped("backpropagation")


def test_feedback_that_does_not_fit_the_parameters_is_refused():
    learner = apical.value_and_grad(loss_fn, rules.FeedbackAlignment())
    _, state, _, _ = trained_once("feedback_alignment")
    with pytest.raises(
        ValueError, match="`feedback` must have the same tree structure"
    ):
        learner(PARAMS, state._replace(feedback=PARAMS[:2]), *DATA)
    wider = [*PARAMS[:2], {"w": jnp.ones((6, 4)), "b": None}]
    with pytest.raises(ValueError, match=r"'2.w' has shape \(6, 4\).*shape \(6, 3\)"):
        learner(PARAMS, state._replace(feedback=wider), *DATA)


# ------------------------------------------------------------------ what it remembers


def counted(loss_fn):
    def counting(*args):
        counting.calls += 1
        return loss_fn(*args)

    counting.calls = 0
    return counting


@pytest.mark.parametrize("name", ["sign_concordance", "sweep"])
def test_the_loss_function_is_traced_once_for_each_shape(name):
    traced = counted(loss_fn)
    learner = apical.value_and_grad(traced, RULES[name])
    state = jax.jit(learner.init)(KEY, PARAMS, *DATA)
    call = functools.partial(learner, PARAMS, state)
    for seed in (1, 2):  # a new function: JAX itself remembers nothing of it
        jax.eval_shape(lambda *data: call(*data), *batch(4, 5, 3, seed=seed))
    first = jax.jit(learner)(PARAMS, state, *DATA)
    assert traced.calls == 1
    for seed in (1, 2):
        jax.eval_shape(lambda *data: call(*data), *batch(6, 5, 3, seed=seed))
    assert traced.calls == 2
    again = jax.jit(learner)(PARAMS, state, *DATA)  # not of the circuit made last
    assert_same(again.grads, first.grads)
    assert traced.calls == 2


def test_dtypes_and_structures_are_told_apart():
    traced = counted(loss_fn)
    learner = apical.value_and_grad(traced, rules.Backpropagation())
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    found = [
        learner.circuit(params, *DATA)
        for params in (PARAMS, half, tuple(PARAMS), PARAMS)
    ]
    assert traced.calls == 3
    assert found[3] is found[0]
    assert len({id(each) for each in found}) == 3


def test_no_more_than_a_few_circuits_are_kept():
    traced = counted(lambda w, x: jnp.mean((x @ w) ** 2))
    learner = apical.value_and_grad(traced, rules.Backpropagation())
    data = [(jnp.ones((n + 1, 2)),) for n in range(17)]
    for each in data:
        learner.circuit(jnp.ones((2, 1)), *each)
    learner.circuit(jnp.ones((2, 1)), *data[-1])
    assert traced.calls == 17
    learner.circuit(jnp.ones((2, 1)), *data[0])  # the one used longest ago
    assert traced.calls == 18


@pytest.mark.parametrize("name", ["backpropagation", "feedback_alignment", "free"])
def test_a_loss_function_may_close_over_a_value_of_an_outer_transformation(name):
    state = trained_once(name)[1]
    box = [1.0]
    learner = apical.value_and_grad(
        lambda p, x, y: box[0] * loss_fn(p, x, y), RULES[name]
    )

    def size(scale):
        box[0] = scale
        grads = learner(PARAMS, state, *DATA).grads
        box[0] = None  # the only other place that holds the value
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads))

    with jax.checking_leaks():
        slope = jax.jit(jax.grad(size))(2.0)
    above, below = jax.jit(size)(2.01), jax.jit(size)(1.99)
    np.testing.assert_allclose(slope, (above - below) / 0.02, rtol=0.01)
    if name != "free":  # linear in the loss
        # Not traced at all: the circuits of the tracers before are forgotten.
        np.testing.assert_allclose(slope, 4 * size(1.0), rtol=1e-4)


# ----------------------------------------------------------------------- what it does


@pytest.mark.parametrize("name", [name for name in RULES if name != "kolen_pollack"])
def test_a_training_step_is_the_gradients_and_the_optimizer(name):
    optimizer = optax.adam(0.01)
    learner = apical.value_and_grad(loss_fn, RULES[name])
    trainer = apical.train_step(loss_fn, RULES[name], optimizer)
    ours = jax.jit(trainer.init)(KEY, PARAMS, *DATA)
    rule, moments = jax.jit(learner.init)(KEY, PARAMS, *DATA), optimizer.init(PARAMS)
    step, call, update = jax.jit(trainer), jax.jit(learner), jax.jit(optimizer.update)
    params = theirs = PARAMS
    for _ in range(3):
        params, ours, credit = step(params, ours, *DATA)
        by_hand = call(theirs, rule, *DATA)
        updates, moments = update(by_hand.grads, moments, theirs)
        theirs, rule = optax.apply_updates(theirs, updates), by_hand.state
        assert_close(credit.value, by_hand.value)
    assert_close(params, theirs)
    assert_close(ours.optimizer, moments)
    assert distance(params, PARAMS) > 0.01
    assert jax.tree.structure(ours.rule) == jax.tree.structure(rule)
    assert_close(
        trainer.predict(params, ours, *DATA), network(params, DATA[0]), atol=1e-5
    )


def test_a_state_starts_anew_on_a_new_batch():
    """The identity for these rules: none of their values persist."""
    trainer = apical.train_step(loss_fn, FREE, optax.sgd(0.1))
    state = trainer.init(KEY, PARAMS, *DATA)
    assert trainer.reset(PARAMS, state, *DATA) == state


@pytest.mark.parametrize("name", RULES)
def test_value_and_aux_are_those_of_the_undisturbed_network(name):
    def with_aux(params, x, y):
        output = network(params, x)
        return loss_fn(params, x, y), {"output": output, "name": "mlp", "count": 3}

    trainer = apical.train_step(with_aux, RULES[name], optax.sgd(0.1), has_aux=True)
    state = apical.train_step(loss_fn, RULES[name], optax.sgd(0.1))
    state = jax.jit(state.init)(KEY, PARAMS, *DATA)
    _, _, credit = trainer(PARAMS, state, *DATA)
    np.testing.assert_allclose(credit.value, loss_fn(PARAMS, *DATA), rtol=1e-6)
    assert_close(credit.aux["output"], network(PARAMS, DATA[0]))
    assert (credit.aux["name"], int(credit.aux["count"])) == ("mlp", 3)


# ---------------------------------------------------------------------- what it shows


def test_the_teaching_signal_of_backpropagation_is_the_cotangent():
    _, expected = backward(PARAMS, weights(PARAMS), *DATA)
    found = apical.value_and_grad(loss_fn, rules.Backpropagation()).signals(
        PARAMS, (), *DATA
    )
    x = DATA[0]
    for each, signal, teaching in zip(PARAMS, found.values(), expected, strict=False):
        x = jnp.tanh(x @ each["w"] + each["b"])
        assert_close(signal.teaching, teaching)
        assert_close(signal.value, x)
        assert_same(signal.prediction, signal.value)


@pytest.mark.parametrize("name", RULES)
def test_gradients_are_the_signals_pulled_back_through_what_made_each_node(name):
    """With every node held: the local product that all of these rules share."""
    _, state, _, credit = trained_once(name)
    rule = RULES[name]

    @jax.jit
    def pulled(params, state, x, y):
        found = apical.value_and_grad(loss_fn, rule).signals(params, state, x, y)
        # Fixed predictions hold the network at its feed-forward values.
        fixed = getattr(rule, "prediction", "fixed") == "fixed"
        held = {n: s.prediction if fixed else s.value for n, s in found.items()}
        teaching = {n: s.teaching for n, s in found.items()}
        circuit = apical.trace(loss_fn)(params, x, y)
        silent = jax.tree.map(jnp.zeros_like, teaching)
        pull = functools.partial(circuit.pull, params, (x, y), held, loss=1.0)
        return pull(teaching), pull(silent)

    grads, silent = pulled(PARAMS, state, *DATA)
    assert_close(grads, credit.grads, atol=1e-5)
    assert not np.any(silent[0]["w"])  # the loss alone teaches only the last layer
    assert_close(silent[2], credit.grads[2], atol=1e-5)


def test_a_rule_is_a_pytree_of_its_numbers():
    rule = replace(FREE, rate=0.25)
    assert jax.tree.leaves(rule) == [0.25]
    assert jax.tree.map(lambda rate: 2 * rate, rule) == replace(FREE, rate=0.5)
    for each in RULES.values():
        assert each.citation.startswith("@")
        assert set(each.search_space) <= set(vars(each))


# ---------------------------------------------------------------- what a rule returns


@rules.rule
class Returning(rules.Backpropagation):
    """Backpropagation whose credit is changed before it is returned."""

    change: object = rules.tools.static(default=None)

    def credit(self, circuit, params, state, args):
        return self.change(super().credit(circuit, params, state, args))


def first_row(credit):
    """A gradient that broadcasts to its parameter, so that optax would take it."""
    grads = jax.tree.map(lambda g: g[:1], credit.grads)
    return credit._replace(grads=grads)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (tuple, TypeError, "`Returning.credit` must return `apical.Credit.*not tuple"),
        (lambda credit: None, TypeError, "not NoneType"),
        (first_row, ValueError, r"like the learned leaves .* has shape \(1"),
        (lambda c: c._replace(grads=c.grads[1:]), ValueError, "has shape"),
    ],
)
def test_what_is_no_credit_of_this_model_is_refused(change, error, message):
    learner = apical.value_and_grad(loss_fn, Returning(change=change))
    with pytest.raises(error, match=message):
        learner(PARAMS, (), *DATA)
    step = apical.train_step(learner, optax.sgd(0.1))
    with pytest.raises((error, ValueError, AttributeError)):
        step(PARAMS, step.init(KEY, PARAMS, *DATA), *DATA)
    same = apical.value_and_grad(loss_fn, Returning(change=lambda credit: credit))
    assert float(same(PARAMS, (), *DATA).value) == pytest.approx(loss_fn(PARAMS, *DATA))
