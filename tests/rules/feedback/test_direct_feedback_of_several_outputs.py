"""Direct feedback with several outputs: their steps, and heads that are not outputs.

By hand in numpy, for a recurrent net h_t = tanh(x_t A + h_{t-1} U) in which no signal
passes from step to step:

    delta_t = B_1 e1_t + B_2 e2_t,     e_t the error at the same step;
    delta_t = B_1 e1_t + B_2 e2,       if the second head reads the last step alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import array

import apical
from apical import rules

KEY = jax.random.key(0)
T, N, D, H = 3, 2, 4, 5
DRAW = np.random.default_rng(1)
W = {
    "a": array(DRAW, D, H) / 2,
    "u": array(DRAW, H, H) / 2,
    "one": array(DRAW, H, 3) / 2,
    "two": array(DRAW, H, 1) / 2,
}
X = array(DRAW, T, N, D)
Y, V, LAST = array(DRAW, T, N, 3), array(DRAW, T, N), array(DRAW, N, 3)
RULE = rules.DirectFeedbackAlignment()


def states(w, x):
    def step(h, x):
        h = jnp.tanh(x @ w["a"] + h @ w["u"])
        return h, h

    return jax.lax.scan(step, jnp.zeros((x.shape[1], H)), x)


def outside(w, x, y, v):
    """Both heads behind the loop."""
    _, h = states(w, x)
    first, value = h @ w["one"], (h @ w["two"])[..., 0]
    return 0.5 * jnp.sum((first - y) ** 2) + 0.5 * jnp.sum((value - v) ** 2)


def inside(w, x, y, v):
    """Both heads and the loss inside it."""

    def step(carry, given):
        h, loss = carry
        x, y, v = given
        h = jnp.tanh(x @ w["a"] + h @ w["u"])
        first, value = h @ w["one"], (h @ w["two"]).squeeze(-1)
        error = jnp.sum((first - y) ** 2) + jnp.sum((value - v) ** 2)
        return (h, loss + 0.5 * error), None

    start = jnp.zeros((x.shape[1], H)), 0.0
    return jax.lax.scan(step, start, (x, y, v))[0][1]


def last(w, x, y, v):
    """One head reads the last step alone."""
    end, h = states(w, x)
    value = (h @ w["two"])[..., 0]
    return 0.5 * jnp.sum((end @ w["one"] - y) ** 2) + 0.5 * jnp.sum((value - v) ** 2)


def value_alone(w, x, y, v):
    """One head of one unit, without an axis of units."""
    _, h = states(w, x)
    return 0.5 * jnp.sum(((h @ w["two"])[..., 0] - v) ** 2) + 0.0 * jnp.sum(y)


def by_hand(b_one, b_two, first=Y, steps=True):
    """The gradients of `a` and `u`, by the equations above."""
    w, x, v = jax.tree.map(np.asarray, (W, X, V))
    h, before = [], [np.zeros((N, H))]
    for t in range(T):
        h.append(np.tanh(x[t] @ w["a"] + before[-1] @ w["u"]))
        before.append(h[-1])
    e_two = [h[t] @ w["two"] - v[t][:, None] for t in range(T)]
    if first is None:
        e_one = [np.zeros((N, 3))] * T
    elif steps:
        e_one = [h[t] @ w["one"] - np.asarray(first)[t] for t in range(T)]
    else:
        e_one = [h[-1] @ w["one"] - np.asarray(first)] * T
    grads = {"a": np.zeros((D, H)), "u": np.zeros((H, H))}
    for t in range(T):
        delta = e_one[t] @ b_one.T + e_two[t] @ b_two.T
        delta = delta * (1 - h[t] ** 2)
        grads["a"] += x[t].T @ delta
        grads["u"] += before[t].T @ delta
    return grads


def taught(loss_fn, y=Y):
    axes = (1, 0 if y.ndim == 2 else 1, 1)
    learner = apical.value_and_grad(loss_fn, RULE, batch_axes=axes, reduction="sum")
    state = learner.init(KEY, W, X, y, V)
    (own,) = state.feedback.values()
    return learner(W, state, X, y, V).grads, jax.tree.map(np.asarray, own)


@pytest.mark.parametrize("loss_fn", [outside, inside])
def test_heads_at_every_step_teach_the_same_step(loss_fn):
    found, own = taught(loss_fn)
    for leaf, g in by_hand(own[:, :3], own[:, 3:]).items():
        np.testing.assert_allclose(found[leaf], g, rtol=1e-4, atol=1e-5)
    # The errors of the second head at other steps teach something else.
    wrong = by_hand(own[:, :3], own[:, 3:][::-1])
    assert not np.allclose(found["a"], wrong["a"], rtol=1e-2)


def test_a_head_after_the_last_step_leaves_the_other_its_steps():
    found, (b_two, b_one) = taught(last, LAST)  # in the order of the program
    assert (b_two.shape, b_one.shape) == ((H, 1), (H, 3))
    for leaf, g in by_hand(b_one, b_two, LAST, steps=False).items():
        np.testing.assert_allclose(found[leaf], g, rtol=1e-4, atol=1e-5)


def test_a_head_of_one_unit_at_every_step_needs_no_axis_of_units():
    found, own = taught(value_alone)
    assert own.shape == (H, 1)
    for leaf, g in by_hand(np.zeros((H, 3)), own, None).items():
        np.testing.assert_allclose(found[leaf], g, rtol=1e-4, atol=1e-5)


# ---- Heads beside the output, and heads that the loss reads together.

FLAT = X[0], Y[0], V[0]


def one_of_two(w, x, y, v):
    h = jnp.tanh(jnp.tanh(x @ w["a"]) @ w["u"])
    value = (h @ w["two"])[:, 0]
    return jnp.mean((apical.output(h @ w["one"]) - y) ** 2) + jnp.mean((value - v) ** 2)


@pytest.mark.parametrize(
    "rule", [RULE, rules.DirectRandomTargetProjection()], ids=["error", "target"]
)
def test_a_head_that_is_not_marked_sends_nothing_through_its_true_weights(rule):
    learner = apical.value_and_grad(one_of_two, rule, target=lambda x, y, v: y)
    state = learner.init(KEY, W, *FLAT)
    silent = state._replace(feedback=jax.tree.map(jnp.zeros_like, state.feedback))
    found, true = learner(W, silent, *FLAT).grads, jax.grad(one_of_two)(W, *FLAT)
    assert not np.any(found["a"])
    assert not np.any(found["u"])
    assert np.any(true["u"])
    for head in ("one", "two"):  # both heads learn from the loss
        np.testing.assert_allclose(found[head], true[head], rtol=1e-5)


def dueling(w, x, y, v):
    """A value and advantages, whose mean is taken off."""
    h = jnp.tanh(x @ w["a"])
    gain = h @ w["one"]
    return jnp.mean((h @ w["two"] + gain - gain.mean(1, keepdims=True) - y) ** 2)


def triplet(w, x, y, v):
    """Distances of one code to two others."""

    def code(x):
        return jnp.tanh(x @ w["a"]) @ w["one"]

    one, two, three = code(x), code(x[::-1] * 2), code(x + 1)
    return jnp.mean(jnp.sum((one - two) ** 2 - (one - three) ** 2, axis=1))


@pytest.mark.parametrize("loss_fn", [dueling, triplet])
def test_heads_that_the_loss_reads_together_are_all_outputs(loss_fn):
    """No output stands behind another, where its error would be lost."""
    learner = apical.value_and_grad(loss_fn, RULE)
    found = learner(W, learner.init(KEY, W, *FLAT), *FLAT).grads
    true = jax.grad(loss_fn)(W, *FLAT)
    for head in ("one", "two"):
        np.testing.assert_allclose(found[head], true[head], rtol=1e-4, atol=1e-6)


def test_an_output_that_is_marked_behind_another_is_refused():
    def loss_fn(w, x, y, v):
        logits = apical.output(jnp.tanh(x @ w["a"]) @ w["one"])
        return jnp.mean((apical.output(jax.nn.softmax(logits)) - y) ** 2)

    learner = apical.value_and_grad(loss_fn, RULE)
    with pytest.raises(ValueError, match="One output is computed from another"):
        learner.init(KEY, W, *FLAT)


# ---- A head of one unit with an axis of units, and without.


def value_with_units(w, x, y, v):
    _, h = states(w, x)
    return 0.5 * jnp.sum((h @ w["two"] - v[..., None]) ** 2) + 0.0 * jnp.sum(y)


@pytest.mark.parametrize(
    "rule",
    [rules.DirectRandomTargetProjection(), rules.LocalLosses()],
    ids=["target", "local"],
)
def test_a_head_of_one_unit_learns_the_same_with_its_axis_and_without(rule):
    given = {"batch_axes": 1, "reduction": "sum"}

    def update(loss_fn, target):
        learner = apical.value_and_grad(loss_fn, rule, target=target, **given)
        state = learner.init(KEY, W, X, Y, V)
        return learner(W, state, X, Y, V).grads

    found = update(value_alone, lambda x, y, v: v)
    true = update(value_with_units, lambda x, y, v: v[..., None])
    for leaf in ("a", "u", "two"):
        np.testing.assert_allclose(found[leaf], true[leaf], rtol=1e-5, atol=1e-7)
        assert np.any(true[leaf])
