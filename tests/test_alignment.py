"""How close an update is to backpropagation's, against numpy."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from by_hand import batch, layers, loss_fn

import apical
from apical import rules

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)


def state_of(rule):
    return jax.jit(apical.value_and_grad(loss_fn, rule).init)(KEY, PARAMS, *DATA)


def numbers(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def by_hand(ours, theirs):
    ours, theirs = numbers(ours), numbers(theirs)
    sizes = np.linalg.norm(ours), np.linalg.norm(theirs)
    cosine = ours @ theirs / sizes[0] / sizes[1]
    return cosine, sizes[0] / sizes[1], np.mean(np.sign(ours) == np.sign(theirs))


@pytest.mark.parametrize(
    "rule", [rules.Backpropagation(), rules.PredictiveCoding(inference=rules.Sweep())]
)
def test_backpropagation_agrees_with_itself_by_any_route(rule):
    found = apical.measure.alignment(loss_fn, rule)(PARAMS, (), *DATA)
    for each in (found.overall, *found.leaves.values()):
        np.testing.assert_allclose([each.cosine, each.norm_ratio], 1, rtol=1e-5)
        assert each.sign_agreement == 1


def test_agreement_equals_numpy_by_hand():
    rule = rules.FeedbackAlignment()
    state = state_of(rule)
    found = apical.measure.alignment(loss_fn, rule)(PARAMS, state, *DATA)
    ours = jax.jit(apical.value_and_grad(loss_fn, rule))(PARAMS, state, *DATA).grads
    theirs = jax.grad(loss_fn)(PARAMS, *DATA)
    np.testing.assert_allclose(found.overall, by_hand(ours, theirs), rtol=1e-4)
    assert list(found.leaves) == [f"{i}.{name}" for i in range(3) for name in "bw"]
    for path, agreement in found.leaves.items():
        layer, name = int(path[0]), path[2]
        expected = by_hand(ours[layer][name], theirs[layer][name])
        np.testing.assert_allclose(agreement, expected, rtol=1e-4, atol=1e-6)
    assert found.overall.cosine < 0.95
    assert all(np.shape(each) == () for each in jax.tree.leaves(found))


def test_reversed_and_absent_signals_have_a_cosine_of_minus_one_and_zero():
    rule = rules.FeedbackAlignment()
    state, measure = state_of(rule), apical.measure.alignment(loss_fn, rule)
    for factor in (-1.0, 0.0):
        copy = jax.tree.map(lambda leaf, c=factor: c * leaf, PARAMS)
        found = measure(PARAMS, state._replace(feedback=copy), *DATA).leaves["1.w"]
        np.testing.assert_allclose(found.cosine, factor, atol=1e-5)
        np.testing.assert_allclose(found.norm_ratio, abs(factor), atol=1e-5)
        assert found.sign_agreement == 0


def test_the_state_of_a_training_step_will_do():
    rule = rules.KolenPollack()
    trainer = apical.train_step(loss_fn, rule, optax.sgd(0.1))
    state = jax.jit(trainer.init)(KEY, PARAMS, *DATA)
    measure = apical.measure.alignment(loss_fn, rule)
    whole, own = measure(PARAMS, state, *DATA), measure(PARAMS, state.rule, *DATA)
    np.testing.assert_array_equal(whole.overall, own.overall)
    assert whole.overall.cosine < 0.95


def test_a_module_passes_as_it_is():
    model = eqx.nn.MLP(5, 3, 6, 2, key=KEY)

    def module_loss(model, x, y):
        return jnp.mean((jax.vmap(model)(x) - y) ** 2)

    rule = rules.SignConcordance()
    state = jax.jit(apical.value_and_grad(loss_fn, rule).init)(KEY, PARAMS, *DATA)
    found = apical.measure.alignment(module_loss, rule)(model, state, *DATA)
    assert len(found.leaves) == 6
    assert "layers.0.weight" in found.leaves
    np.testing.assert_allclose(found.leaves["layers.2.weight"].cosine, 1, rtol=1e-5)
    assert found.leaves["layers.0.weight"].cosine < 0.99


def test_keywords_reach_the_learner():
    def with_aux(params, shared, x, y):
        return loss_fn(params, x + shared, y), x

    measure = apical.measure.alignment(
        with_aux, rules.PredictiveCoding(2), has_aux=True, batch=(None, 0, 0)
    )
    found = measure(PARAMS, (), jnp.zeros(5), *DATA)
    np.testing.assert_allclose(found.overall.cosine, 1, rtol=1e-5)


def test_it_is_compiled_once():
    count = 0

    def counted(params, x, y):
        nonlocal count
        count += 1
        return loss_fn(params, x, y)

    rule = rules.SignConcordance()
    measure, state = apical.measure.alignment(counted, rule), state_of(rule)
    first = measure(PARAMS, state, *DATA)
    traced = count
    halved = jax.tree.map(lambda leaf: leaf / 2, PARAMS)
    second = measure(halved, state, *jax.tree.map(lambda leaf: leaf + 1, DATA))
    assert count == traced <= 2  # for the circuit and for backpropagation
    assert first.overall.cosine != second.overall.cosine
    measure(PARAMS, state, *batch(6, 5, 3))
    assert count > traced


def test_numbers_of_a_rule_may_differ_at_every_call_of_one_compiled_function():
    """The rule is a pytree, so the measure may be taken inside a transformation."""

    def cosine(rate):
        rule = dataclasses.replace(
            rules.PredictiveCoding(5, prediction="free"), rate=rate
        )
        measure = apical.measure.alignment(loss_fn, rule)
        return measure(PARAMS, (), *DATA).leaves["0.w"].cosine

    slow, fast = jax.jit(jax.vmap(cosine))(jnp.array([0.01, 0.5]))
    assert abs(slow - fast) > 1e-3
