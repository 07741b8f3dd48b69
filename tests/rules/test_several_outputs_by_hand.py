"""Two heads are one head whose weights are joined by hand, under every rule.

    loss(x h [W_1 W_2]) = loss(x h W_1, x h W_2),      state of one = state of the other

so that the updates of the trunk agree, and those of the heads side by side.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import array

import apical
from apical import rules

KEY = jax.random.key(3)
N, D, H = 3, 4, 5
DRAW = np.random.default_rng(0)
X, Y = array(DRAW, N, D), jax.nn.one_hot(jnp.array([0, 2, 1]), 3)
V = array(DRAW, N, 2)
APART = {
    "a": array(DRAW, D, H) / 2,
    "b": array(DRAW, H, H) / 2,
    "one": array(DRAW, H, 3) / 2,
    "two": array(DRAW, H, 2) / 2,
}


def join(tree):
    """The tree with the leaves of the two heads side by side."""

    def heads(node):
        return isinstance(node, dict) and {"one", "two"} <= set(node)

    def joined(node):
        if not heads(node):
            return node
        one, two = node["one"], node["two"]
        both = None if one is None else jnp.concatenate([one, two], axis=1)
        rest = {k: v for k, v in node.items() if k not in ("one", "two")}
        return {**rest, "head": both}

    return jax.tree.map(joined, tree, is_leaf=heads)


def trunk(w, x):
    return jnp.tanh(jnp.tanh(x @ w["a"]) @ w["b"])


def errors(classes, numbers, y, v):
    entropy = -jnp.sum(y * jax.nn.log_softmax(classes), axis=1)
    return jnp.mean(entropy) + 0.5 * jnp.mean(jnp.sum((numbers - v) ** 2, axis=1))


def two_heads(w, x, y, v):
    h = trunk(w, x)
    return errors(h @ w["one"], h @ w["two"], y, v)


def one_head(w, x, y, v):
    out = trunk(w, x) @ w["head"]
    return errors(out[:, :3], out[:, 3:], y, v)


def marked(w, x, y, v):
    h = trunk(w, x)
    out = apical.output({"numbers": h @ w["two"], "classes": h @ w["one"]})
    return errors(out["classes"], out["numbers"], y, v)


RULES = {
    "feedback": rules.FeedbackAlignment(),
    "direct": rules.DirectFeedbackAlignment(),
    "direct, sign": rules.DirectFeedbackAlignment(error="sign"),
    "target": rules.DirectRandomTargetProjection(),
    "coding": rules.PredictiveCoding(8, 0.1, prediction="free"),
    "dual": rules.DualPropagation(),
    "equilibrium": rules.EquilibriumPropagation(8, 8, gain=0.5),
    "contrastive": rules.ContrastiveHebbian(free_steps=8, clamped_steps=8, gain=0.5),
    "synthetic": rules.SyntheticGradients(conditioned=True),
    "targets": rules.TargetPropagation(),
    "difference": rules.DifferenceTargetPropagation(),
    "nodes": rules.NodePerturbation(),
    "forward": rules.ForwardGradient("activities"),
    "pepita": rules.PEPITA(scale=1.0),
    "local": rules.LocalLosses(),
}


def update(loss_fn, params, rule, target, state=None):
    learner = apical.value_and_grad(loss_fn, rule, target=target, input_argnums=0)
    args = X, Y, V
    state = learner.init(KEY, params, *args) if state is None else state
    return jax.jit(learner)(params, state, *args).grads, state


@pytest.mark.grid(keep=5)
@pytest.mark.parametrize("name", RULES)
def test_two_heads_learn_as_one_head_joined_by_hand(name):
    rule = RULES[name]
    found, state = update(two_heads, APART, rule, lambda x, y, v: (y, v))
    beside = jnp.concatenate([Y, V], axis=1)
    true, _ = update(
        one_head, join(APART), rule, lambda x, y, v: beside, state=join(state)
    )
    for leaf, g in join(found).items():
        np.testing.assert_allclose(g, true[leaf], rtol=1e-4, atol=1e-6, err_msg=leaf)


def test_heads_joined_in_another_order_learn_otherwise():
    rule, beside = RULES["direct"], jnp.concatenate([Y, V], axis=1)
    found, state = update(two_heads, APART, rule, lambda x, y, v: (y, v))
    turned = {**join(APART), "head": join(APART)["head"][:, ::-1]}
    other, _ = update(one_head, turned, rule, lambda x, y, v: beside, state)
    assert not np.allclose(other["b"], found["b"], rtol=1e-2)


@pytest.mark.parametrize("name", ["target", "synthetic"])
def test_a_dictionary_of_targets_is_paired_with_the_marks_by_its_keys(name):
    rule = RULES[name]
    true, state = update(two_heads, APART, rule, lambda x, y, v: (y, v))
    found, _ = update(
        marked, APART, rule, lambda x, y, v: {"numbers": v, "classes": y}, state
    )
    for leaf, g in found.items():
        np.testing.assert_allclose(g, true[leaf], rtol=1e-5, atol=1e-7)


WRONG = {
    "of an unmarked dictionary": (
        two_heads,
        lambda x, y, v: {"classes": y, "numbers": v},
        "a dict with ['classes'], ['numbers']",
    ),
    "one of two": (two_heads, lambda x, y, v: (y,), "one for each output"),
    "in the other order": (
        two_heads,
        lambda x, y, v: (v, y),
        "(3, 2) for an output of shape (3, 3)",
    ),
    "of other keys": (
        marked,
        lambda x, y, v: {"classes": y, "values": v},
        "['classes'], ['values']",
    ),
    "of one output alone": (
        two_heads,
        lambda x, y, v: y,
        "a tuple of their targets in this order, of shapes (3, 3), (3, 2)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_targets_that_do_not_fit_the_outputs_are_refused(name):
    loss_fn, target, words = WRONG[name]
    with pytest.raises(ValueError) as told:
        update(loss_fn, APART, RULES["target"], target)
    assert words in str(told.value)


def test_a_rule_that_writes_labels_asks_for_the_output_they_are_about():
    rule = rules.ForwardForward()
    with pytest.raises(ValueError, match="Mark the one whose labels `target` returns"):
        update(two_heads, APART, rule, lambda x, y, v: (y, v))

    def of_classes(w, x, y, v):
        h = jax.nn.relu(jax.nn.relu(x @ w["a"]) @ w["b"])
        return errors(apical.output(h @ w["one"]), h @ w["two"], y, v)

    found, _ = update(of_classes, APART, rule, lambda x, y, v: y)
    assert all(map(np.any, found.values()))


def test_a_rule_without_the_loss_asks_for_every_head():
    def of_one(w, x, y, v):
        h = trunk(w, x)
        return errors(apical.output(h @ w["one"]), h @ w["two"], y, v)

    with pytest.raises(ValueError, match="beside the outputs that are marked"):
        update(of_one, APART, RULES["contrastive"], lambda x, y, v: y)
