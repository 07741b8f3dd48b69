"""Several outputs, side by side for each example: six kinds of model.

Closed forms: on a net that is linear behind its hidden layer, direct feedback whose
matrix is the transposed Jacobian of all outputs is backpropagation, and the error at
the joined output is the gradient at each output, side by side.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import apical
from apical import rules

N, D, H = 4, 5, 6
KEYS = jax.random.split(jax.random.key(2), 8)
X, V = jax.random.normal(KEYS[0], (N, D)), jax.random.normal(KEYS[1], (N,))
LABELS = jnp.array([0, 2, 1, 0])
W = {
    "a": jax.random.normal(KEYS[2], (D, H)) / 2,
    "b": jax.random.normal(KEYS[3], (H, H)) / 2,
    "one": jax.random.normal(KEYS[4], (H, 3)) / 2,
    "two": jax.random.normal(KEYS[5], (H, 1)) / 2,
    "c": jax.random.normal(KEYS[6], (1, H)) / 2,
}
entropy = optax.softmax_cross_entropy_with_integer_labels


def trunk(w, x):
    return jnp.tanh(jnp.tanh(x @ w["a"]) @ w["b"])


def two_heads(w, x, v):
    h = trunk(w, x)
    classes, number = h @ w["one"], (h @ w["two"])[:, 0]
    return jnp.mean(entropy(classes, LABELS) + (number - v) ** 2)


def actor_critic(w, x, v):
    h = trunk(w, x)
    policy, value = jax.nn.log_softmax(h @ w["one"]), (h @ w["two"])[:, 0]
    advantage = jax.lax.stop_gradient(v - value)
    chosen = policy[jnp.arange(len(x)), LABELS]
    entropies = jnp.sum(jnp.exp(policy) * policy, axis=1)
    return jnp.mean(-advantage * chosen + (v - value) ** 2 + 0.01 * entropies)


def adversarial(w, x, v):
    """A discriminator of true and made examples."""
    del v
    made = jnp.stack([x[:, 0], x[:, 1] ** 2, x[:, 2], x[:, 3], x[:, 4]], axis=1)
    true, fake = trunk(w, x) @ w["two"], trunk(w, made) @ w["two"]
    return jnp.mean(jax.nn.softplus(-true) + jax.nn.softplus(fake))


def contrastive(w, x, v):
    """Pictures and captions: examples meet in the loss."""
    del v
    one, two = trunk(w, x) @ w["one"], jnp.tanh(x @ w["a"]) @ w["one"]
    one, two = (z / jnp.linalg.norm(z, axis=1, keepdims=True) for z in (one, two))
    logits = one @ two.T
    return jnp.mean(entropy(logits, jnp.arange(len(x))))


def physics(w, x, v):
    """A field and its derivative, in the residual of an equation."""

    def field(w, t):
        return (jnp.tanh(jnp.tanh(t[:, None] @ w["c"]) @ w["b"]) @ w["two"])[:, 0]

    t = x[:, 0]
    u, slope = jax.jvp(lambda t: field(w, t), (t,), (jnp.ones_like(t),))
    return jnp.mean((slope + u - jnp.sin(t)) ** 2 + (u - v) ** 2)


def detection(w, x, v):
    """Boxes and classes at each of three anchors."""
    del v
    anchors = jnp.arange(1.0, 4.0)
    h = trunk(w, x[:, None] * anchors[:, None])
    boxes, classes = h @ w["one"], h @ w["two"]
    return jnp.mean(jnp.abs(boxes)) + jnp.mean(jax.nn.softplus(classes))


MODELS = [two_heads, actor_critic, adversarial, contrastive, physics, detection]
IDS = [f.__name__ for f in MODELS]
RULES = {
    "feedback": (rules.FeedbackAlignment(), {}),
    "direct": (rules.DirectFeedbackAlignment(), {}),
    "coding": (rules.PredictiveCoding(), {}),
    "local": (rules.LocalLosses(), {}),
    "synthetic": (rules.SyntheticGradients(), {}),
    "difference": (rules.DifferenceTargetPropagation(), {}),
    "nodes": (rules.NodePerturbation(), {}),
    "forward": (rules.ForwardGradient("activities"), {}),
    "pepita": (rules.PEPITA(), {"input_argnums": 0}),
}


@pytest.mark.grid(keep=9)
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("loss_fn", MODELS, ids=IDS)
def test_rules_learn_from_every_output(loss_fn, name):
    rule, keywords = RULES[name]
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    if loss_fn is contrastive and name in ("nodes", "forward"):
        with pytest.raises(ValueError, match="activities of several examples meet"):
            learner.init(KEYS[7], W, X, V)
        return
    state = learner.init(KEYS[7], W, X, V)
    credit = learner(W, state, X, V)
    np.testing.assert_allclose(credit.value, loss_fn(W, X, V), rtol=1e-5)
    true = jax.grad(loss_fn)(W, X, V)
    for leaf, g in credit.grads.items():
        assert np.all(np.isfinite(g)), leaf
        assert np.any(g) == np.any(true[leaf]) or name == "synthetic", leaf
    if name in ("feedback", "direct", "local", "coding"):  # after the last node
        for leaf in set(true) & {"one", "two"}:
            if loss_fn not in (contrastive, physics):
                np.testing.assert_allclose(
                    credit.grads[leaf], true[leaf], rtol=1e-4, atol=1e-6
                )


@pytest.mark.parametrize("loss_fn", MODELS, ids=IDS)
def test_predictive_coding_and_backpropagation_agree_on_several_outputs(loss_fn):
    true = jax.grad(loss_fn)(W, X, V)
    for rule in (rules.Backpropagation(), rules.PredictiveCoding()):
        grads = apical.value_and_grad(loss_fn, rule)
        found = grads(W, grads.init(KEYS[7], W, X, V), X, V).grads
        for leaf, g in found.items():
            np.testing.assert_allclose(g, true[leaf], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("loss_fn", [two_heads, actor_critic])
def test_direct_feedback_by_the_transposed_jacobian_is_backpropagation(loss_fn):
    learner = apical.value_and_grad(loss_fn, rules.DirectFeedbackAlignment())
    state = learner.init(KEYS[7], W, X, V)
    drawn = state.feedback
    assert {n: b.shape for n, b in drawn.items()} == {"a": (H, 4), "b": (H, 4)}

    def taught(b):
        return learner(W, state._replace(feedback={**drawn, "b": b}), X, V).grads

    # From the last hidden layer the way to both outputs is linear.
    down = jnp.concatenate([W["one"], W["two"]], axis=1)
    grads, true = taught(down), jax.grad(loss_fn)(W, X, V)
    np.testing.assert_allclose(grads["b"], true["b"], rtol=1e-4, atol=1e-6)
    assert not np.allclose(grads["a"], true["a"], rtol=1e-2)
    # One output alone, and the two the other way round, teach something else.
    for other in (down.at[:, 3].set(0), down[:, ::-1]):
        wrong = taught(other)["b"]
        assert not np.allclose(wrong, true["b"], rtol=1e-2)


def test_what_is_predicted_is_a_tuple_of_the_outputs():
    learner = apical.value_and_grad(two_heads, rules.DirectFeedbackAlignment())
    classes, number = learner.predict(W, learner.init(KEYS[7], W, X, V), X, V)
    h = trunk(W, X)
    np.testing.assert_allclose(classes, h @ W["one"], rtol=1e-5)
    np.testing.assert_allclose(jnp.ravel(number), (h @ W["two"])[:, 0], rtol=1e-5)


def test_outputs_that_differ_in_their_last_axis_keep_their_steps():
    circuit = apical.trace(detection)(W, X, V)
    assert circuit.output_shape.shape == (N, 3, 4)
    circuit = apical.trace(two_heads)(W, X, V)
    assert circuit.output_shape.shape == (N, 4)


MARKS = {
    "each": lambda one, two: (apical.output(one), apical.output(two)),
    "a pair": lambda one, two: apical.output((one, two)),
    "joined": lambda one, two: jnp.split(
        apical.output(jnp.concatenate([one, two], axis=1)), [3], axis=1
    ),
    "none": lambda one, two: (one, two),
}


@pytest.mark.parametrize("mark", MARKS)
def test_every_way_to_mark_them_is_the_same(mark):
    def loss_fn(w, x, v):
        h = trunk(w, x)
        one, two = MARKS[mark](h @ w["one"], h @ w["two"])
        return jnp.mean(entropy(one, LABELS) + (two[:, 0] - v) ** 2)

    learner = apical.value_and_grad(loss_fn, rules.DirectFeedbackAlignment())
    found = learner(W, learner.init(KEYS[7], W, X, V), X, V).grads
    learner = apical.value_and_grad(two_heads, rules.DirectFeedbackAlignment())
    true = learner(W, learner.init(KEYS[7], W, X, V), X, V).grads
    for leaf in W:
        np.testing.assert_allclose(found[leaf], true[leaf], rtol=1e-5, atol=1e-7)


def test_a_target_of_one_of_several_outputs_says_which_to_mark():
    rule = rules.DirectRandomTargetProjection()
    keywords = {"target": lambda x, v: jax.nn.one_hot(LABELS, 3)}
    learner = apical.value_and_grad(two_heads, rule, **keywords)
    with pytest.raises(ValueError, match=r"reads 2 outputs, side by side"):
        learner.init(KEYS[7], W, X, V)


def test_an_output_that_is_a_node_beside_another_is_refused():
    def loss_fn(w, x, v):
        h = apical.output(apical.node(trunk(w, x), "h"))
        out = apical.output(jnp.tanh(x @ w["a"]) @ w["one"])
        return jnp.mean(h**2) + jnp.mean(jnp.sum(out, axis=1) - v)

    learner = apical.value_and_grad(loss_fn, rules.DirectFeedbackAlignment())
    with pytest.raises(ValueError, match="one of them is the node 'h'"):
        learner.init(KEYS[7], W, X, V)
