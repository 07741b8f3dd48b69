"""Whether a loss is a sum over examples, determined from its program.

The law: noise at one example's activities moves the loss of that example alone, and
all that moves is the sum of what moves.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import apical
from apical.rules import (
    DualPropagation,
    EquilibriumPropagation,
    ForwardGradient,
    NodePerturbation,
)

N, UNITS = 4, 6
KEYS = jax.random.split(jax.random.key(0), 4)
X, Y = jax.random.normal(KEYS[0], (N, 5)), jnp.array([0, 2, 1, 0])
W = {
    "a": 0.5 * jax.random.normal(KEYS[1], (5, UNITS)),
    "b": 0.5 * jax.random.normal(KEYS[2], (UNITS, 3)),
}
CLASSES = jnp.array([1.0, 2.0, 5.0])
entropy = optax.softmax_cross_entropy_with_integer_labels


def hidden(w, x):
    return jnp.tanh(x @ w["a"])


def net(w, x):
    return hidden(w, x) @ w["b"]


def class_weights(w, x, y):
    return jnp.average(entropy(net(w, x), y), weights=CLASSES[y])


def product_with_weights(w, x, y):
    return jnp.dot(CLASSES[y] / CLASSES[y].sum(), entropy(net(w, x), y))


def unmasked_mean(w, x, y):
    return jnp.mean(entropy(net(w, x), y), where=y > 0)


def unmasked_mean_or_nothing(w, x, y):
    kept = jnp.sum(y > 0)
    total = jnp.sum(jnp.where(y > 0, entropy(net(w, x), y), 0))
    return jnp.where(kept > 0, total / jnp.maximum(kept, 1), 0)


def dropout_from_one_key(w, x, y):
    h = hidden(w, x)
    kept = jax.random.bernoulli(KEYS[3], 0.5, h.shape)
    return entropy(jnp.where(kept, 2 * h, 0) @ w["b"], y).mean()


def labels_by_index(w, x, y):
    return -jnp.mean(jax.nn.log_softmax(net(w, x))[jnp.arange(len(x)), y])


def mean_of_each_class(w, x, y):
    total = jax.ops.segment_sum(entropy(net(w, x), y), y, 3)
    return jnp.sum(total / jnp.maximum(jnp.bincount(y, length=3), 1))


def product_with_itself(w, x, y):
    del y
    out = net(w, x)
    return jnp.vdot(out, out) / len(x) + 0.1 * jnp.sum(w["a"] ** 2)


def steps(w, x, y):
    del y

    def step(h, x):
        h = jnp.tanh(x @ w["a"] + h)
        return h, jnp.mean((h @ w["b"]) ** 2)

    start = jnp.zeros((len(x), UNITS))
    return jax.lax.scan(step, start, jnp.stack([x, 2 * x, 3 * x]))[1].sum()


def steps_added_up(w, x, y):
    del y

    def step(carry, x):
        h, total = carry
        h = jnp.tanh(x @ w["a"] + h)
        return (h, total + jnp.mean((h @ w["b"]) ** 2)), None

    start = jnp.zeros((len(x), UNITS)), 0.0
    return jax.lax.scan(step, start, jnp.stack([x, 2 * x, 3 * x]))[0][1]


def one_at_a_time(w, x, y):
    del y
    return jnp.mean(jax.lax.map(lambda x: jnp.sum(net(w, x) ** 2), x))


def mapped(w, x, y):
    return jnp.mean(jax.vmap(lambda x, y: entropy(net(w, x), y))(x, y))


def remembered(w, x, y):
    return jax.checkpoint(lambda w: entropy(net(w, x), y).mean())(w)


def chosen(w, x, y):
    branches = (lambda h: jnp.mean(jnp.sin(h)), lambda h: jnp.mean(entropy(h + 0, y)))
    return jax.lax.cond(jnp.sum(x) > 100, *branches, net(w, x))


def two_batches(w, x, y):
    del y
    out = net(w, jnp.concatenate([x, 2 * x]))
    return jnp.mean(out[: len(x)] ** 2) + jnp.mean(jnp.abs(out[len(x) :]))


def heads(w, x, y):
    """Attention as torch writes it: heads are folded into the batch."""
    del y
    n, t = len(x), 2
    h = jnp.tanh((x[:, None] * jnp.arange(1, 3)[:, None]) @ w["a"])
    h = h.reshape(n, t, 2, 3).transpose(0, 2, 1, 3).reshape(n * 2, t, 3)
    scores = jax.nn.softmax(jnp.einsum("btd,bsd->bts", h, h))
    mixed = jnp.einsum("bts,bsd->btd", scores, h)
    mixed = mixed.reshape(n, 2, t, 3).transpose(0, 2, 1, 3).reshape(n, t, UNITS)
    return jnp.mean((mixed @ w["b"]) ** 2)


def shared_activity(w, x, y):
    """A node that all examples share, and a penalty on it."""
    code = apical.node(jnp.tanh(CLASSES @ w["c"] * jnp.sum(x)), "code")
    return entropy(net(w, x) + code, y).mean() + jnp.sum(code**2)


SUMS = [
    *(class_weights, product_with_weights, unmasked_mean, unmasked_mean_or_nothing),
    *(dropout_from_one_key, labels_by_index, mean_of_each_class, product_with_itself),
    *(steps, steps_added_up, one_at_a_time, mapped, remembered, chosen, two_batches),
    *(heads, shared_activity),
]


def named(functions):
    return [f.__name__ for f in functions]


def parameters(loss_fn):
    code = {"c": jax.random.normal(KEYS[3], (3, 3))}
    return {**W, **code} if loss_fn is shared_activity else W


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("loss_fn", SUMS, ids=named(SUMS))
def test_noise_at_one_example_moves_its_own_loss_alone(loss_fn):
    w = parameters(loss_fn)
    circuit = apical.trace(loss_fn)(w, X, Y)
    assert circuit.batch.mixing is None
    still, before = circuit.by_example(w, (X, Y))
    np.testing.assert_allclose(still.loss, loss_fn(w, X, Y), rtol=1e-6)
    noise = {
        n.name: 0.3 * jax.random.normal(KEYS[3], n.shape)
        for n in circuit.nodes
        if circuit.batch.example_places[n.name] is not None
    }
    assert noise
    own = []
    for example in range(N):
        one = {n: only(circuit, n, x, example) for n, x in noise.items()}
        run, after = circuit.by_example(w, (X, Y), tap="offset", inject=one)
        moved = np.asarray(after - before)
        others = [i for i in range(N) if i != example]
        np.testing.assert_allclose(moved[others], 0, atol=1e-5)
        np.testing.assert_allclose(moved[example], moved[-1], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(N * (run.loss - still.loss), moved[-1], atol=1e-5)
        own.append(moved[example])
    assert np.count_nonzero(own) >= 2


def only(circuit, name, noise, example):
    """The noise of one example, and nothing at the others."""
    axis, form = circuit.example_axes[name], circuit.unfolded(name, noise.shape)
    mask = np.arange(N) == example
    mask = mask.reshape([N if i == axis else 1 for i in range(len(form))])
    return (noise.reshape(form) * mask).reshape(noise.shape)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("loss_fn", SUMS, ids=named(SUMS))
def test_forward_gradients_are_those_of_the_loss_and_the_value_is_its_own(loss_fn):
    w = parameters(loss_fn)
    rule = ForwardGradient("activities", directions=2000, kind="sign")
    learner = apical.value_and_grad(loss_fn, rule)
    state = jax.jit(lambda: learner.init(KEYS[0], w, X, Y))()
    credit = jax.jit(learner)(w, state, X, Y)
    np.testing.assert_allclose(credit.value, loss_fn(w, X, Y), rtol=1e-6)
    true = jax.grad(loss_fn)(w, X, Y)
    for name, g in credit.grads.items():
        off = jnp.linalg.norm(g - true[name]) / jnp.linalg.norm(true[name])
        assert off < 0.25, name


# ----------------------------------------------------------------- where examples meet


def centred(w, x, y):
    h = hidden(w, x)
    return entropy((h - h.mean(axis=0)) @ w["b"], y).mean()


def root_of_a_mean(w, x, y):
    del y
    return jnp.sqrt(jnp.mean(net(w, x) ** 2))


def contrastive(w, x, y):
    h = hidden(w, x)
    return entropy(h @ h.T + jnp.sum(net(w, x)), y).mean()


def softmax_over_examples(w, x, y):
    del y
    return jnp.mean(jax.nn.softmax(net(w, x), axis=0) ** 2)


def neighbours(w, x, y):
    h = hidden(w, x)
    return entropy((h * h[::-1]) @ w["b"], y).mean()


def shuffled(w, x, y):
    h = hidden(w, x)[jnp.argsort(x[:, 0])]
    return entropy(jnp.tanh(h) @ w["b"], y).mean()


def statistics_without_derivative(w, x, y):
    h = hidden(w, x)
    return entropy(h @ w["b"] / jax.lax.stop_gradient(h).std(), y).mean()


def from_example_to_example(w, x, y):
    del y

    def step(h, x):
        h = jnp.tanh(x @ w["a"] + h)
        return h, h

    return jnp.mean((jax.lax.scan(step, jnp.zeros(UNITS), x)[1] @ w["b"]) ** 2)


def steps_of_a_sum(w, x, y):
    def step(total, x):
        return jnp.tanh(total + jnp.mean(hidden(w, x), axis=0)), None

    total = jax.lax.scan(step, jnp.zeros(UNITS), jnp.stack([x, x]))[0]
    return entropy(net(w, x) + total @ w["b"], y).mean()


def branch_of_all(w, x, y):
    h = hidden(w, x)
    h = jax.lax.cond(h.sum() > 0, jnp.sin, jnp.cos, h)
    return entropy(h @ w["b"], y).mean()


def own_derivative(w, x, y):
    @jax.custom_jvp
    def norm(h):
        return h / jnp.max(h, axis=0)

    norm.defjvp(lambda primals, tangents: (norm(*primals), tangents[0]))
    return entropy(norm(hidden(w, x)) @ w["b"], y).mean()


MEET = {
    **{centred: "sub", root_of_a_mean: "sqrt", contrastive: "dot_general"},
    **{softmax_over_examples: "reduce_max", neighbours: "mul", shuffled: "tanh"},
    **{statistics_without_derivative: "", from_example_to_example: "scan"},
    **{steps_of_a_sum: "tanh", branch_of_all: "cond", own_derivative: "reduce_max"},
}


@pytest.mark.parametrize("loss_fn", MEET, ids=named(MEET))
def test_where_examples_meet_is_named_with_its_line_and_under_jit_too(loss_fn):
    said = rf"examples meet in `{MEET[loss_fn]}.*` at \S*test_separation.py:\d+"
    for rule in (NodePerturbation(), DualPropagation()):
        learner = apical.value_and_grad(loss_fn, rule)
        if rule == DualPropagation():
            circuit = apical.trace(loss_fn)(W, X, Y)
            with pytest.raises(ValueError, match=said):
                circuit.require_separate("This")
            continue
        for init in (learner.init, jax.jit(learner.init)):
            with pytest.raises(ValueError, match=said):
                init(KEYS[0], W, X, Y)


ALIKE = [class_weights, unmasked_mean, dropout_from_one_key, labels_by_index]


@pytest.mark.parametrize("loss_fn", ALIKE, ids=named(ALIKE))
def test_equilibria_of_weighted_losses_settle_by_themselves(loss_fn):
    """One layer of units: nothing comes back, so that both are backpropagation."""
    true = jax.grad(loss_fn)(W, X, Y)
    for rule in (DualPropagation(0.01), EquilibriumPropagation(0.01, rate=1.0)):
        learner = apical.value_and_grad(loss_fn, rule)
        state = learner.init(KEYS[0], W, X, Y)
        grads = jax.jit(learner)(W, state, X, Y).grads
        for name, g in grads.items():
            np.testing.assert_allclose(g, true[name], rtol=0.02, atol=2e-3)


def centred_drives(w, x, y):
    z = x @ w["a"]
    return entropy(jnp.tanh(z - z.mean(axis=0)) @ w["b"], y).mean()


@pytest.mark.parametrize("loss_fn", [centred_drives, root_of_a_mean])
@pytest.mark.parametrize("rule", [DualPropagation(), EquilibriumPropagation()])
def test_equilibria_of_examples_that_meet_are_refused(rule, loss_fn):
    learner = apical.value_and_grad(loss_fn, rule)
    with pytest.raises(ValueError, match="examples meet in"):
        jax.jit(learner.init)(KEYS[0], W, X, Y)


def test_heads_folded_into_the_batch_keep_their_example():
    circuit = apical.trace(heads)(W, X, Y)
    (name,) = [n.name for n in circuit.nodes if n.shape == (N * 2, 2, 3)][-1:]
    assert circuit.batch.example_places[name] == (0, 1, 2)
    assert circuit.unfolded(name, (N * 2, 2, 3)) == (N, 2, 2, 3)
    assert circuit.example_axes[name] == 0


def test_a_single_example_has_the_axis_that_would_grow():
    for loss_fn in (class_weights, steps, heads):
        one = apical.trace(loss_fn)(W, X[:1], Y[:1])
        many = apical.trace(loss_fn)(W, X, Y)
        assert one.batch.example_places == many.batch.example_places
        _, losses = one.by_example(W, (X[:1], Y[:1]))
        np.testing.assert_allclose(losses, 2 * [loss_fn(W, X[:1], Y[:1])], rtol=1e-6)
