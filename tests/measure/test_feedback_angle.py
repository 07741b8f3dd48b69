"""The angle between forward and feedback weights, against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import batch, layers

import apical
from apical import rules

KEY = jax.random.key(0)
PARAMS = dict(zip("abc", layers(5, 7, 6, 3), strict=True))
DATA = batch(4, 5, 3)


def network(params, x, nonlinearity):
    h = nonlinearity(x @ params["a"]["w"] + params["a"]["b"])
    h = nonlinearity(h @ params["b"]["w"] + params["b"]["b"])
    return h @ params["c"]["w"] + params["c"]["b"]


def loss_fn(params, x, y):
    return jnp.mean((network(params, x, jnp.tanh) - y) ** 2)


def cosine(a, b):
    a, b = (np.asarray(each, float).ravel() for each in (a, b))
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def measured(rule, loss=loss_fn):
    learner = apical.value_and_grad(loss, rule)
    state = learner.init(KEY, PARAMS, *DATA)
    return state, apical.measure.feedback_angle(learner)(PARAMS, state, *DATA)


def test_each_synapse_that_a_signal_passes_is_listed():
    state, found = measured(rules.FeedbackAlignment())
    assert list(found) == ["b.w", "c.w"]  # no signal passes the first layer
    for name, each in found.items():
        mine, copy = PARAMS[name[0]]["w"], state.feedback[name[0]]["w"]
        np.testing.assert_allclose(each.cosine, cosine(mine, copy), atol=1e-6)
        ratio = np.linalg.norm(copy) / np.linalg.norm(mine)
        np.testing.assert_allclose(each.norm_ratio, ratio, rtol=1e-5)


def test_the_angle_to_signs_has_a_closed_form():
    _, found = measured(rules.SignConcordance())
    for name in "bc":
        w = np.asarray(PARAMS[name]["w"], float)
        wanted = np.abs(w).sum() / np.linalg.norm(w) / np.sqrt(w.size)
        np.testing.assert_allclose(found[f"{name}.w"].cosine, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "rule", [rules.Backpropagation(), rules.PredictiveCoding(prediction="free")]
)
def test_weights_that_are_used_as_they_are_have_the_cosine_1(rule):
    for each in measured(rule)[1].values():
        np.testing.assert_allclose([each.cosine, each.norm_ratio], 1, rtol=1e-5)


def test_random_feedback_of_predictive_coding_is_found():
    rule = rules.PredictiveCoding(prediction="free", feedback=rules.RandomFeedback())
    state, found = measured(rule)
    for name in "bc":
        copy = state.feedback.weights[name]["w"]
        wanted = cosine(PARAMS[name]["w"], copy)
        np.testing.assert_allclose(found[f"{name}.w"].cosine, wanted, atol=1e-6)


def test_a_factored_weight_is_compared_as_it_acts():
    params = {
        "a": jnp.eye(5),
        "u": jnp.ones((5, 2)),
        "v": jnp.arange(6.0).reshape(2, 3),
    }

    def loss(p, x, y):
        return jnp.mean((jnp.tanh(x @ p["a"]) @ (p["u"] @ p["v"]) - y) ** 2)

    learner = apical.value_and_grad(loss, rules.FeedbackAlignment())
    state = learner.init(KEY, params, *DATA)
    (each,) = apical.measure.feedback_angle(learner)(params, state, *DATA).values()
    copy = state.feedback["u"] @ state.feedback["v"]
    wanted = cosine(params["u"] @ params["v"], copy)
    np.testing.assert_allclose(each.cosine, wanted, atol=1e-6)


def test_direct_feedback_is_compared_with_the_product_of_the_weights_above():
    def linear(params, x, y):
        return jnp.mean((network(params, x, lambda h: h) - y) ** 2)

    state, found = measured(rules.DirectFeedbackAlignment(), linear)
    product = PARAMS["b"]["w"] @ PARAMS["c"]["w"]
    names = list(found)
    assert len(names) == 2
    for name, above in zip(names, (product, PARAMS["c"]["w"]), strict=True):
        wanted = cosine(state.feedback[name], above)
        np.testing.assert_allclose(found[name].cosine, wanted, atol=1e-5)
        assert state.feedback[name].shape == above.shape


def test_direct_feedback_through_units_is_compared_with_the_mean_derivative():
    state, found = measured(rules.DirectFeedbackAlignment())
    x, _ = DATA
    lower = jnp.tanh(x @ PARAMS["a"]["w"] + PARAMS["a"]["b"])

    def above(h):
        h = jnp.tanh(h @ PARAMS["b"]["w"] + PARAMS["b"]["b"])
        return h @ PARAMS["c"]["w"]

    mean = jnp.mean(jax.vmap(jax.jacobian(above))(lower), axis=0).T
    name = next(iter(found))
    wanted = cosine(state.feedback[name], mean)
    np.testing.assert_allclose(found[name].cosine, wanted, atol=1e-5)


def test_forward_weights_turn_towards_fixed_feedback():
    step = apical.train_step(
        apical.value_and_grad(loss_fn, rules.FeedbackAlignment()), optax.sgd(0.3)
    )
    x = jax.random.normal(jax.random.key(1), (64, 5))
    y = jnp.tanh(x @ jax.random.normal(jax.random.key(2), (5, 3)))
    angle = apical.measure.feedback_angle(step.learner)
    # Small weights, as in the source: what is learned outweighs them.
    params = jax.tree.map(lambda leaf: 0.1 * leaf, PARAMS)
    state = step.init(KEY, params, x, y)
    before = angle(params, state.rule, x, y)["c.w"].cosine

    @jax.jit
    def run(params, state):
        def body(carry, _):
            return step(*carry, x, y)[:2], None

        return jax.lax.scan(body, (params, state), length=400)[0]

    params, state = run(params, state)
    after = angle(params, state.rule, x, y)["c.w"].cosine
    assert after > before + 0.15


def test_a_rule_without_feedback_weights_is_refused():
    rule = rules.NodePerturbation()
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(KEY, PARAMS, *DATA)
    with pytest.raises(NotImplementedError, match=r"NodePerturbation does not send"):
        apical.measure.feedback_angle(learner)(PARAMS, state, *DATA)
