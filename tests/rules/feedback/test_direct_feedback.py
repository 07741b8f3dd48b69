"""Direct feedback: every node receives a random projection of the error or target."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.broken_rules import problem as given
from support.by_hand import assert_close, batch, distance, layers, loss_fn, network
from support.check_on import check_on
from support.laws import problem
from support.zoo import MODELS

import apical
from apical.rules import DirectFeedbackAlignment, DirectRandomTargetProjection
from apical.rules.feedback._connection_masks import FeedbackState
from apical.testing import check_rule

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)
X, Y = map(np.asarray, DATA)
FULL, SIGN = DirectFeedbackAlignment(), DirectFeedbackAlignment(error="sign")
TARGET = DirectRandomTargetProjection()


def second(x, y):
    return y


def grads_of(rule, state, params=PARAMS, loss_fn=loss_fn, data=DATA, **keywords):
    learner = apical.value_and_grad(loss_fn, rule, target=second, **keywords)
    state = FeedbackState(state)
    return jax.jit(lambda params: learner(params, state, *data).grads)(params)


def drawn(rule, params=PARAMS, loss_fn=loss_fn, data=DATA, **keywords):
    learner = apical.value_and_grad(loss_fn, rule, target=second, **keywords)
    return learner.init(KEY, params, *data).feedback


def by_hand(matrices, message):
    """The gradients where `message(error)` is sent to two layers of tanh."""
    w = jax.tree.map(np.asarray, PARAMS)
    one = np.tanh(X @ w[0]["w"] + w[0]["b"])
    two = np.tanh(one @ w[1]["w"] + w[1]["b"])
    error = (two @ w[2]["w"] + w[2]["b"] - Y) / 4
    sent = message(error)
    deltas = [
        sent @ matrices["0"].T * (1 - one**2),
        sent @ matrices["1"].T * (1 - two**2),
        error,
    ]
    return [
        {"w": below.T @ delta, "b": delta.sum(axis=0)}
        for below, delta in zip((X, one, two), deltas, strict=True)
    ]


MESSAGES = {
    "error": (FULL, lambda error: error),
    "half the error": (DirectFeedbackAlignment(0.5), lambda error: 0.5 * error),
    "sign": (SIGN, lambda error: np.sign(error) / 4),
    "target": (TARGET, lambda error: Y / 4),
}


@pytest.mark.parametrize(("rule", "message"), MESSAGES.values(), ids=MESSAGES)
def test_two_hidden_layers_by_hand(rule, message):
    state = drawn(rule)
    assert {name: b.shape for name, b in state.items()} == {"0": (7, 3), "1": (6, 3)}
    found = grads_of(rule, state)
    matrices = jax.tree.map(np.asarray, state)
    assert_close(found, by_hand(matrices, message))
    for name, layer in (("0", 0), ("1", 1)):
        other = by_hand({**matrices, name: -matrices[name]}, message)
        assert distance(other[layer], found[layer]) > 0.5


def linear(params, x, y):
    for each in params:
        x = x @ each["w"] + each["b"]
    return 0.5 * jnp.sum((x - y) ** 2) / len(x)


def test_the_transposed_jacobian_is_backpropagation_on_a_linear_network():
    params = layers(5, 7, 6, 4, 3)
    w = [each["w"] for each in params]
    exact = {"0": w[1] @ w[2] @ w[3], "1": w[2] @ w[3], "2": w[3]}
    true = jax.grad(linear)(params, *DATA)
    assert_close(grads_of(FULL, exact, params, linear), true)
    signals = apical.value_and_grad(linear, FULL).signals(
        params, FeedbackState(exact), *DATA
    )
    cotangents = apical.value_and_grad(linear, apical.rules.Backpropagation()).signals(
        params, (), *DATA
    )
    assert_close(signals, cotangents)
    random = grads_of(FULL, drawn(FULL, params, linear), params, linear)
    assert [distance(r, t) > 0.1 for r, t in zip(random, true, strict=True)] == [
        *[True] * 3,
        False,
    ]


def test_a_projection_of_the_target_does_not_depend_on_the_layers_above():
    above = [PARAMS[0], {**PARAMS[1], "w": -2 * PARAMS[1]["w"]}, PARAMS[2]]
    for rule, unlocked in ((TARGET, True), (FULL, False)):
        state = drawn(rule)
        before, after = (
            np.asarray(grads_of(rule, state, p)[0]["w"]) for p in (PARAMS, above)
        )
        assert np.array_equal(before, after) is unlocked


@pytest.mark.parametrize("rule", [SIGN, TARGET], ids=["sign", "target"])
def test_each_example_of_a_sum_has_the_whole_message(rule):
    def total(params, x, y):
        return len(x) * loss_fn(params, x, y)

    state = drawn(rule)
    found = grads_of(rule, state, loss_fn=total, reduction="sum")
    assert_close(found, jax.tree.map(lambda g: 4 * g, grads_of(rule, state)))


def test_what_the_loss_reads_of_a_node_itself_is_added():
    """The gradient of a penalty on activity is not sent through the matrix."""

    def penalised(params, x, y):
        first, *rest = params
        hidden = jnp.tanh(x @ first["w"] + first["b"])
        penalty = 0.5 * jnp.sum(hidden**2) / len(x)
        return loss_fn(rest, hidden, y) + penalty

    state = drawn(FULL)
    expected = by_hand(jax.tree.map(np.asarray, state), lambda error: error)
    one = np.tanh(X @ np.asarray(PARAMS[0]["w"]) + np.asarray(PARAMS[0]["b"]))
    extra = X.T @ (one / 4 * (1 - one**2))
    expected[0]["w"] = expected[0]["w"] + extra
    found = grads_of(FULL, state, loss_fn=penalised)
    assert_close(found[0]["w"], expected[0]["w"])
    assert_close(found[1:], expected[1:])
    assert np.linalg.norm(extra) > 0.1 * np.linalg.norm(expected[0]["w"])


def test_feedback_is_uniform_within_the_root_of_the_units_of_the_node():
    params, (x, y) = layers(5, 400, 100, 30), batch(4, 5, 30)
    for name, units in (("0", 400), ("1", 100)):
        matrix = drawn(FULL, params, data=(x, y))[name] * units**0.5
        assert float(jnp.max(jnp.abs(matrix))) <= 1
        np.testing.assert_allclose(jnp.var(matrix), 1 / 3, rtol=0.05)


def test_many_scales_at_once_equal_one_after_the_other():
    state, scales = drawn(FULL), jnp.array([0.5, 2.0])
    found = jax.vmap(lambda s: grads_of(DirectFeedbackAlignment(s), state)[0]["w"])(
        scales
    )
    whole = np.asarray(grads_of(FULL, state)[0]["w"])
    assert_close(found, np.stack([0.5 * whole, 2 * whole]))


def groups():
    """Three groups of points in each of four classes, and the classes as vectors."""
    draw = np.random.default_rng(0)
    group = np.arange(120) % 12
    x = draw.normal(size=(12, 8))[group] + 0.2 * draw.normal(size=(120, 8))
    return jnp.asarray(x, float), jnp.eye(4)[group % 4]


def classify(params, x, y):
    return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(network(params, x)), axis=1))


def train(rule, frozen=False):
    """The last loss, and the cosines to backpropagation before and after."""
    data, size = groups(), 1.0 if frozen else 0.1
    params = [{**p, "w": size * p["w"]} for p in layers(8, 30, 30, 4)]
    step = apical.train_step(classify, rule, optax.sgd(0.5), target=second)
    measure = apical.measure.alignment(step.learner)

    @jax.jit
    def run(params):
        def update(carry, _):
            params, state, credit = step(*carry, *data)
            params = [*carry[0][:-1], params[-1]] if frozen else params
            return (params, state), credit.value

        start = params, step.init(KEY, params, *data)
        end, losses = jax.lax.scan(update, start, length=200)
        pairs = start, end
        leaves = [measure(params, s.rule, *data).leaves for params, s in pairs]
        return losses[-1], [[of[w].cosine for w in ("0.w", "1.w")] for of in leaves]

    return run(params)


def test_weights_align_with_the_feedback_and_the_loss_falls():
    loss, (before, after) = train(FULL)
    readout_only, (_, unmoved) = train(FULL, frozen=True)
    assert max(before) < 0.2
    assert min(after) > 0.7
    assert max(unmoved) < 0.3
    for found in (loss, train(SIGN)[0], train(TARGET)[0]):
        assert found < 0.5 * readout_only


# ------------------------------------------------------------------ steps and examples


def signals_and_error(name, rule=FULL):
    """Signals, matrices, and the error at the output, on a model of the zoo."""
    found = problem(name)
    learner = apical.value_and_grad(found.loss_fn, rule, **found.keywords)
    state = learner.init(KEY, found.params, *found.args)
    signals = apical.value_and_grad(found.loss_fn, rule, **found.keywords).signals
    circuit, (params, args) = found.circuit, (found.params, found.args)

    @jax.jit
    def compute(learned):
        here = circuit.merged(params, learned)
        output = circuit.run(here, args, sites=["output"]).sites["output"]

        def loss(change):
            inject = {"output": change}
            return circuit.run(here, args, tap="offset", inject=inject, sites=[]).loss

        error = jax.grad(loss)(jnp.zeros_like(output))
        teaching = {n: s.teaching for n, s in signals(here, state, *args).items()}
        return teaching, error

    teaching, error = compute(found.learned)
    return teaching, state.feedback, error


RECEIVED = {
    # In a loop that the output does not have, the signal is the same in every turn.
    "rnn": ("in+u", "bo,uo->bu", (5, 4, 6)),
    "scanned_stack": ("blocks", "bo,uo->bu", (3, 4, 7)),
    "nested_scan": ("blocks", "bo,uo->bu", (5, 2, 4, 6)),
    # Steps that both have are paired: those of a loop, or of an axis.
    "gru": ("reset", "bto,uo->tbu", (5, 4, 6)),
    "language_model": ("block.mlp.0", "bto,uo->btu", (4, 5, 8)),
    # Every other axis has its own rows of the matrix: pixels, tokens, heads.
    "conv_residual": ("conv1", "bo,uo->bu", (4, 60)),
    "transformer": ("in", "bo,uo->bu", (4, 42)),
    "attention": ("attention", "bto,uo->but", (4, 6, 7)),
    # The examples are on the last axis of the node.
    "examples_last": ("1", "bo,uo->ub", (6, 4)),
}


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", RECEIVED)
def test_each_axis_of_a_node_receives_its_part_of_the_error(name):
    node, equation, shape = RECEIVED[name]
    teaching, state, error = signals_and_error(name)
    expected = jnp.einsum(equation, error, state[node])
    found = teaching[node].reshape(shape)
    assert_close(found, jnp.broadcast_to(expected, shape), atol=1e-7)
    assert distance(found, jnp.broadcast_to(expected[::-1], shape)) > 0.1


def test_as_many_units_as_steps_are_not_taken_for_steps():
    def loss_fn(params, x, y):
        out = jnp.tanh(x @ params["in"]) @ params["out"]
        return jnp.mean((out.reshape(y.shape) - y) ** 2)

    y = jnp.zeros((4, 5, 2))  # five steps
    units = {"in": jnp.ones((3, 5)), "out": jnp.ones((5, 10))}
    state = drawn(FULL, units, loss_fn, (jnp.ones((4, 3)), y))
    assert state["in"].shape == (5, 10)
    steps = {"in": jnp.ones((3, 5)), "out": jnp.ones((5, 2))}
    state = drawn(FULL, steps, loss_fn, (jnp.ones((4, 5, 3)), y))
    assert state["in"].shape == (5, 2)


def test_a_recurrent_update_by_hand():
    """The product of each step: no signal passes back through time."""
    found = problem("rnn")
    p, (x, y) = jax.tree.map(np.asarray, (found.params, found.args))
    learner = apical.value_and_grad(found.loss_fn, FULL)
    state = learner.init(KEY, found.params, *found.args)
    grads = jax.jit(learner)(found.params, state, *found.args).grads
    values = [np.zeros((4, 6))]
    for t in range(5):
        drive = values[-1] @ p["u"] + x[:, t] @ p["in"]["w"] + p["in"]["b"]
        values.append(np.tanh(drive))
    error = (values[-1] @ p["out"]["w"] + p["out"]["b"] - y) / 4
    (matrix,) = state.feedback.values()
    deltas = [error @ np.asarray(matrix).T * (1 - v**2) for v in values[1:]]
    pairs = list(zip(values, deltas, strict=False))
    assert_close(grads["u"], sum(v.T @ d for v, d in pairs), 1e-3)
    assert_close(grads["in"]["b"], sum(d.sum(axis=0) for d in deltas), 1e-3)
    assert distance(grads["u"], pairs[-1][0].T @ pairs[-1][1]) > 0.1


BELOW = {
    "mlp_residual": "out",
    "conv_residual": "out",
    "transformer": "out",
    "lstm": "out",
    "haiku_resnet": "linear",
}


@pytest.mark.grid(keep=5)
@pytest.mark.parametrize("name", BELOW)
def test_no_skip_path_or_gain_carries_the_true_gradient(name):
    """With zero feedback only parameters after the last node have a gradient."""
    found = problem(name)
    learner = apical.value_and_grad(found.loss_fn, FULL, **found.keywords)
    state = learner.init(KEY, found.params, *found.args)

    @jax.jit
    def grads(learned, state):
        params = found.circuit.merged(found.params, learned)
        return learner(params, state, *found.args).grads

    silent = grads(found.learned, jax.tree.map(jnp.zeros_like, state))
    true = jax.grad(lambda p: found.loss(p, found.args)[0])(found.learned)
    moved = {path for path, g in found.by_path(silent).items() if np.any(g)}
    assert moved == {path for path in found.by_path(true) if BELOW[name] in path}
    assert found.changed(silent, true) == set(found.by_path(true)) - moved
    driven = found.by_path(grads(found.learned, state))
    assert {path for path, g in driven.items() if np.any(g)} == set(driven)


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_zoo_takes_direct_feedback(name):
    found = problem(name)
    output = found.circuit.output_shape

    def target(*args):
        return jnp.ones(output.shape, output.dtype)

    for rule in (FULL, SIGN, TARGET):
        learner = apical.value_and_grad(
            found.loss_fn, rule, target=target, **found.keywords
        )

        def grads(key, learner=learner):
            state = learner.init(key, found.params, *found.args)
            return learner(found.params, state, *found.args).grads

        assert jax.tree.structure(jax.eval_shape(grads, KEY)) == jax.tree.structure(
            found.learned
        )


@pytest.mark.sweep
def test_the_rules_keep_the_laws():
    check_rule(FULL)
    check_on(SIGN, **given())
    check_on(TARGET, **given(), target=lambda x: jnp.ones((len(x), 2)))
    with pytest.raises(AssertionError, match=r"refuses every problem.*pass `target=`"):
        check_on(TARGET, **given())
