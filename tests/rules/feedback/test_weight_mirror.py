"""Weight mirrors: feedback weights learn the forward ones from noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.broken_rules import problem as given
from support.by_hand import (
    assert_close,
    assert_same,
    backward,
    batch,
    cosine,
    distance,
    layers,
    loss_fn,
    network,
    weights,
)
from support.check_on import check_on
from support.laws import problem
from support.learning_angle import losses_and_cosines
from support.zoo import MODELS

import apical
from apical.rules import WeightMirror
from apical.rules.feedback._weight_mirror import correlate

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)
RULE = WeightMirror()


def start(rule=RULE, params=PARAMS, data=DATA, loss_fn=loss_fn, **keywords):
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    return learner, learner.init(KEY, params, *data)


def mirrored(rule, calls, params=PARAMS, data=DATA, loss_fn=loss_fn, **keywords):
    """The state before and after many calls with constant weights."""
    learner, state = start(rule, params, data, loss_fn, **keywords)

    @jax.jit
    def run(state):
        def call(state, _):
            return learner(params, state, *data).state, None

        return jax.lax.scan(call, state, length=calls)[0]

    return state, run(state)


# ------------------------------------------------------------------------- what it does


def test_one_step_by_hand():
    """B <- (1 - decay) B + rate noise^2 x^T y / examples, after the backward pass."""
    learner, state = start(WeightMirror(0.2, 0.1, 3.0))
    credit = learner(PARAMS, state, *DATA)
    now, _ = jax.random.split(state.key)
    pairs = zip(weights(PARAMS), weights(state.feedback), strict=True)
    for i, (w, b) in enumerate(pairs):
        shape = (4, w.shape[0])
        x = np.asarray(3 * jax.random.normal(jax.random.fold_in(now, i), shape))
        expected = 0.9 * np.asarray(b) + 0.2 * x.T @ (x @ np.asarray(w)) / 4
        assert_close(credit.state.feedback[i]["w"], expected)
        assert distance(expected, b) > 0.1
    copies = weights(state.feedback)
    assert_close(credit.grads, backward(PARAMS, copies, *DATA)[0])
    after = weights(credit.state.feedback)
    assert distance(backward(PARAMS, after, *DATA)[0][0], credit.grads[0]) > 0.1
    assert credit.state.feedback[0]["b"] is None


@pytest.mark.parametrize("numbers", [(0.02, 0.02, 1.0), (0.01, 0.02, 2.0)])
def test_feedback_converges_to_a_multiple_of_constant_weights(numbers):
    rate, decay, noise = numbers
    before, after = mirrored(WeightMirror(*numbers), 600, data=batch(64, 5, 3))
    alpha = rate * noise**2 / decay
    for w, b, early in zip(
        *map(weights, (PARAMS, after.feedback, before.feedback)), strict=True
    ):
        assert distance(b, alpha * w) < 0.15
        assert distance(early, alpha * w) > 0.5
        assert cosine(b, w) > 0.98
        assert abs(cosine(early, w)) < 0.6


def test_without_the_mirror_feedback_only_decays():
    before, after = mirrored(WeightMirror(0.0, 0.05), 10)
    shrunk = [0.95**10 * b for b in weights(before.feedback)]
    assert_close(weights(after.feedback), shrunk)


SYNAPSES = {
    "conv_batch_norm": "strides, groups, dilation",
    "conv_residual": "padding",
    "lstm": "a weight used at every step",
    "scanned_stack": "a weight for each turn",
    "dictionary_batch": "a weight used twice",
    "transformer": "heads",
    "language_model": "a table used as a weight",
    "gru": "three gates",
}


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", SYNAPSES)
def test_noise_finds_the_weights_at_every_kind_of_synapse(name):
    found = problem(name)
    learner, state = start(
        WeightMirror(1.0, 1.0),
        found.params,
        found.args,
        found.loss_fn,
        **found.keywords,
    )

    @jax.jit
    def mean(state):
        def call(state, _):
            state = learner(found.params, state, *found.args).state
            return state, state.feedback

        drawn = jax.lax.scan(call, state, length=400)[1]
        return jax.tree.map(lambda b: jnp.mean(b, axis=0), drawn)

    leaves = found.circuit.leaves
    learnt, early = leaves.split(mean(state))[0], leaves.split(state.feedback)[0]
    true = leaves.split(found.params)[0]
    assert len(found.circuit.feedback_leaves) >= 2
    for i in found.circuit.feedback_leaves:
        assert cosine(learnt[i], true[i]) > 0.9
        assert abs(np.linalg.norm(learnt[i]) / np.linalg.norm(true[i]) - 1) < 0.2
        assert abs(cosine(early[i], true[i])) < 0.8


def test_a_weight_is_counted_wherever_it_is_used():
    """At the border of a picture a kernel's entry meets fewer pixels."""

    def loss_fn(w, x):
        return jnp.mean(jax.lax.conv(x, w, (1, 1), "SAME") ** 2)

    w, x = jnp.ones((1, 1, 3, 3)), jnp.ones((2, 1, 4, 5))
    uses = np.asarray(correlate(apical.trace(loss_fn)(w, x), w, (x,), KEY)[1][0])[0, 0]
    expected = [
        [2 * (4 - abs(i)) * (5 - abs(j)) for j in (-1, 0, 1)] for i in (-1, 0, 1)
    ]
    np.testing.assert_array_equal(uses, expected)
    found = problem("rnn")
    counts = correlate(found.circuit, found.params, found.args, KEY)[1]
    counts = dict(zip(found.circuit.leaves.names, counts, strict=True))
    assert {float(c) for c in np.unique(counts["u"])} == {4.0 * 5}
    assert {float(c) for c in np.unique(counts["out.w"])} == {4.0}
    assert {float(c) for c in np.unique(counts["out.b"])} == {0.0}


def test_each_synapse_is_evaluated_alone_on_the_noise_it_is_sent():
    circuit = apical.trace(loss_fn)(PARAMS, *DATA)
    sent = [jnp.cos(jnp.arange(4.0 * n)).reshape(4, n) for n in (5, 7, 6)]
    made = circuit.at_synapses(PARAMS, DATA, lambda i, x: sent[i])
    expected = [x @ w for x, w in zip(sent, weights(PARAMS), strict=True)]
    assert_close(made, expected)
    own = circuit.at_synapses(PARAMS, DATA, lambda i, x: x)
    assert distance(own, expected) > 0.1
    assert_close(own[2], network(PARAMS, DATA[0]) - PARAMS[2]["b"])


def test_feedback_does_not_change_in_a_branch_that_is_not_taken():
    def loss_fn(params, flag, x, y):
        h = jnp.tanh(x @ params["in"])
        h = jax.lax.cond(
            flag > 0, lambda h: h @ params["one"], lambda h: h @ params["two"], h
        )
        return jnp.mean((h - y) ** 2)

    w = [each["w"] for each in layers(5, 7, 3)]
    params = {"in": w[0], "one": w[1], "two": -w[1]}
    learner, state = start(
        WeightMirror(), params, (1.0, *DATA), loss_fn, batch_axes=(None, 0, 0)
    )
    for flag, taken, other in ((1.0, "one", "two"), (-1.0, "two", "one")):
        after = jax.jit(learner)(params, state, jnp.array(flag), *DATA).state.feedback
        assert_same(after[other], state.feedback[other])
        assert distance(after[taken], state.feedback[taken]) > 1e-3


def test_feedback_is_bounded_at_any_width_and_depth_because_it_decays():
    """The published growth control has no effect; here none is needed."""
    params, data = layers(8, *[200] * 6, 3), batch(8, 8, 3)
    size = jnp.linalg.norm(params[3]["w"])
    _, kept = mirrored(WeightMirror(0.05, 0.05), 300, params, data)
    _, grown = mirrored(WeightMirror(0.05, 0.0), 300, params, data)
    assert 0.8 < jnp.linalg.norm(kept.feedback[3]["w"]) / size < 1.6
    assert jnp.linalg.norm(grown.feedback[3]["w"]) / size > 5


def test_the_angle_to_backpropagation_falls():
    run = jax.jit(lambda rate: losses_and_cosines(WeightMirror(rate, 0.05), 150))
    losses, (before, after) = run(0.05)
    assert before < 0.5
    assert after > 0.95
    assert losses[-1] < 0.3 * losses[0]
    assert run(0.0)[1][1] < 0.8


def test_a_batch_of_another_size_may_follow():
    learner, state = start()
    after = learner(PARAMS, state, *batch(9, 5, 3)).state
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


def test_many_rates_at_once_equal_one_after_the_other():
    _, state = start()

    def after(rate):
        rule = WeightMirror(rate, 0.1)
        learner = apical.value_and_grad(loss_fn, rule)
        return learner(PARAMS, state, *DATA).state.feedback

    rates = jnp.array([0.1, 0.5])
    together = jax.vmap(after)(rates)
    for i, rate in enumerate(rates):
        assert_close(jax.tree.map(lambda b, i=i: b[i], together), after(rate))
    assert distance(after(0.1), after(0.5)) > 0.1


def test_the_rule_keeps_the_laws():
    check_on(RULE, **given())


# ---------------------------------------------------------------------------- refusals


COMPUTED = {"lora": "a + b + w", "weight_norm": "0.g + 0.v"}


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_zoo_is_mirrored_or_refused_by_name(name):
    found = problem(name)
    learner = apical.value_and_grad(found.loss_fn, WeightMirror(), **found.keywords)

    def after(key):
        state = learner.init(key, found.params, *found.args)
        return state, learner(found.params, state, *found.args).state

    if name in COMPUTED:
        with pytest.raises(ValueError, match="A mirror is defined entry by entry") as e:
            jax.eval_shape(after, KEY)
        assert f"computed from {COMPUTED[name]!r}. Make that weight" in str(e.value)
    else:
        before, later = jax.eval_shape(after, KEY)
        assert before == later


def test_a_decay_outside_0_and_1_is_refused():
    with pytest.raises(ValueError, match="`decay` is a fraction between 0 and 1"):
        WeightMirror(decay=2.0)


def test_a_weight_that_cannot_be_followed_is_refused():
    def loss_fn(w, x, y, mask):
        return jnp.mean((jnp.tanh(x @ w["a"]) @ (w["b"] * mask) - y) ** 2)

    params = {"a": PARAMS[0]["w"], "b": jnp.ones((7, 3))}
    with pytest.raises(ValueError, match="'b' cannot be given feedback"):
        start(WeightMirror(), params, (*DATA, jnp.ones((7, 3))), loss_fn)
