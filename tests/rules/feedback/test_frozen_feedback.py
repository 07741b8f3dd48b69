"""Feedback weights of frozen networks, beside a network written by hand.

    e = (y_hat - y) B_f^T * rho'(z_f),      delta_a = e B_w^T * rho'(z_a)

for x -> a -> frozen w -> frozen out, with a backward weight for each frozen weight.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import array, assert_close, distance

import apical
from apical import rules
from apical.circuit import WithFrozen

KEY = jax.random.key(0)
DRAW = np.random.default_rng(2)
PARAMS = {"a": array(DRAW, 4, 5), "b": array(DRAW, 5, 5)}
FROZEN = {"w": array(DRAW, 5, 6), "out": array(DRAW, 6, 3), "bias": array(DRAW, 3)}
X, Y = array(DRAW, 3, 4), array(DRAW, 3, 3)
ARGS = FROZEN, X, Y
AXES = {"batch_axes": (None, 0, 0)}


def loss_fn(params, frozen, x, y):
    """Two layers that learn, below two that do not."""
    h = jnp.tanh(jnp.tanh(x @ params["a"]) @ params["b"])
    out = jnp.tanh(h @ frozen["w"]) @ frozen["out"] + frozen["bias"]
    return 0.5 * jnp.sum((out - y) ** 2) / len(x)


def by_hand(copies):
    """The gradients of `a` and `b`, with these backward weights."""
    w, f, x, y = jax.tree.map(np.asarray, (PARAMS, FROZEN, X, Y))
    b, phi, frozen = copies.params["b"], copies.frozen["0.w"], copies.frozen["0.out"]
    low = np.tanh(x @ w["a"])
    high = np.tanh(low @ w["b"])
    top = np.tanh(high @ f["w"])
    error = (top @ f["out"] + f["bias"] - y) / len(x)
    error = (error @ np.asarray(frozen).T) * (1 - top**2)
    error = (error @ np.asarray(phi).T) * (1 - high**2)
    below = (error @ np.asarray(b).T) * (1 - low**2)
    return {"a": x.T @ below, "b": low.T @ error}


def start(rule, loss=loss_fn, args=ARGS, **axes):
    learner = apical.value_and_grad(loss, rule, **(axes or AXES))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return learner, learner.init(KEY, PARAMS, *args)


@pytest.mark.parametrize("which", [True, (0,)])
def test_signals_pass_back_through_copies_as_by_hand(which):
    learner, state = start(rules.FeedbackAlignment(frozen_feedback=which))
    found = learner(PARAMS, state, *ARGS).grads
    assert_close(found, by_hand(state.feedback))
    assert set(state.feedback.frozen) == {"0.w", "0.out"}
    # The control: through the frozen network's true weights it is another update.
    frozen = {"0.w": FROZEN["w"], "0.out": FROZEN["out"]}
    true = WithFrozen(state.feedback.params, frozen)
    assert distance(found["a"], by_hand(true)["a"]) > 0.1
    plain, held = start(rules.FeedbackAlignment(frozen_feedback=False))
    held = held._replace(feedback=state.feedback.params)
    assert_close(plain(PARAMS, held, *ARGS).grads, by_hand(true))


def test_no_true_weight_of_the_frozen_network_is_read_on_the_way_back():
    learner, state = start(rules.FeedbackAlignment(frozen_feedback=True))
    copies = state.feedback

    def update(**frozen):
        given = copies._replace(frozen={**copies.frozen, **frozen})
        return learner(PARAMS, state._replace(feedback=given), *ARGS).grads

    for path in copies.frozen:  # without its copies nothing passes: exact zeros
        found = update(**{path: jnp.zeros_like(copies.frozen[path])})
        assert not any(map(np.any, found.values()))
    assert all(map(np.any, update().values()))
    # Half of the copies give half of the update, to the last bit.
    halves = update(**{"0.w": copies.frozen["0.w"] / 2})
    assert all(np.array_equal(2 * halves[n], g) for n, g in update().items())


def test_true_weights_in_place_of_all_copies_are_backpropagation():
    learner, state = start(rules.FeedbackAlignment(frozen_feedback=True))
    true = {"0.w": FROZEN["w"], "0.out": FROZEN["out"]}
    state = state._replace(feedback=WithFrozen(PARAMS, true))
    credit = jax.jit(learner)(PARAMS, state, *ARGS)
    assert_close(credit.grads, jax.grad(loss_fn)(PARAMS, *ARGS))
    plain = learner.with_rule(rules.Backpropagation())
    true = plain.signals(PARAMS, plain.init(KEY, PARAMS, *ARGS), *ARGS)
    signals = learner.signals(PARAMS, state, *ARGS)
    assert set(signals) == set(true) == {"a"}  # the nodes of the circuit stay the same
    assert_close(signals["a"].teaching, true["a"].teaching)


def test_signs_of_a_frozen_network_are_those_of_its_weights():
    learner, state = start(rules.SignConcordance(frozen_feedback=True))

    def signs(weight):
        return np.sign(weight) * (2 / sum(weight.shape)) ** 0.5

    frozen = {"0.w": signs(FROZEN["w"]), "0.out": signs(FROZEN["out"])}
    copies = WithFrozen({"b": signs(PARAMS["b"])}, frozen)
    assert_close(learner(PARAMS, state, *ARGS).grads, by_hand(copies))


def test_a_mirror_learns_the_weights_of_a_frozen_network():
    rule = rules.WeightMirror(1.0, 1.0, frozen_feedback=True)
    x, y = jnp.ones((20000, 4)), jnp.ones((20000, 3))
    learner, state = start(rule, args=(FROZEN, x, y))
    copies = jax.jit(learner)(PARAMS, state, FROZEN, x, y).state.feedback.frozen
    for path, leaf in copies.items():
        true = FROZEN[path.removeprefix("0.")]
        np.testing.assert_allclose(leaf, true, atol=0.15)


def test_kolen_pollack_moves_the_copies_of_what_learns_alone():
    rule = rules.KolenPollack(0.1, frozen_feedback=True)
    step = apical.train_step(loss_fn, rule, optax.sgd(0.1), **AXES)
    state = step.init(KEY, PARAMS, *ARGS)
    before = state.rule.feedback
    params, state, _ = step(PARAMS, state, *ARGS)
    after = state.rule.feedback
    was, is_now = PARAMS["b"] - before.params["b"], params["b"] - after.params["b"]
    assert_close(is_now, 0.9 * was)
    assert all(np.array_equal(after.frozen[p], x) for p, x in before.frozen.items())


def test_nothing_is_removed_from_a_frozen_network_forwards():
    rule = rules.FeedbackAlignment(0.5, 0.5, frozen_feedback=True)
    learner, state = start(rule)
    masks = state.connections
    assert set(masks.forward) == {"a", "b"}
    assert set(masks.backward.frozen) == {"0.w", "0.out"}
    kept = jax.tree.map(jnp.multiply, PARAMS, masks.forward)
    credit = learner(PARAMS, state, *ARGS)
    np.testing.assert_allclose(credit.value, loss_fn(kept, *ARGS), rtol=1e-6)


def adjacent(params, frozen, graph, x, y):
    """A graph beside a frozen network."""
    h = jnp.tanh(graph @ jnp.tanh(x @ params["a"])) @ params["b"]
    return jnp.mean((jnp.tanh(h @ frozen["w"]) @ frozen["out"] - y) ** 2)


def test_a_tuple_chooses_among_the_arguments():
    args = FROZEN, array(DRAW, 3, 3), X[None], Y[None]
    axes = {"batch_axes": (None, None, 0, 0)}
    for which, paths in [((0,), {"0.w", "0.out"}), (True, {"0.w", "0.out", "1"})]:
        rule = rules.FeedbackAlignment(frozen_feedback=which)
        _, state = start(rule, adjacent, args, **axes)
        assert set(state.feedback.frozen) == paths


def closed_over(params, x, y):
    """The same frozen network, not handed in."""
    return loss_fn(params, FROZEN, x, y)


def looped(params, x, y):
    """The frozen network in a loop, in a branch and in a function under `jit`."""
    draw = np.random.default_rng(3)
    frozen = {name: array(draw, 5, 5) for name in ("w", "out")}

    def step(h, _):
        h = jax.lax.cond(
            h.sum() > -99, lambda h: h @ frozen["w"], lambda h: h @ frozen["out"], h
        )
        return jnp.tanh(jax.jit(lambda h: h @ frozen["out"])(h)), None

    h, _ = jax.lax.scan(step, jnp.tanh(x @ params["a"]) @ params["b"], length=2)
    return jnp.mean((h[:, :3] - y) ** 2)


@pytest.mark.parametrize("which", [True, ("constants",)])
def test_what_is_closed_over_has_copies_as_an_argument_has(which):
    rule = rules.FeedbackAlignment(frozen_feedback=which)
    learner, state = start(rule, closed_over, (X, Y), batch_axes=0)
    drawn = state.feedback.frozen
    assert set(drawn) == {"constants.0", "constants.1"}
    copies = {"0.w": drawn["constants.0"], "0.out": drawn["constants.1"]}
    expected = by_hand(state.feedback._replace(frozen=copies))
    assert_close(jax.jit(learner)(PARAMS, state, X, Y).grads, expected)
    # The control: with its true weights it is another update.
    frozen = {"constants.0": FROZEN["w"], "constants.1": FROZEN["out"]}
    held = state._replace(feedback=WithFrozen(state.feedback.params, frozen))
    assert distance(learner(PARAMS, held, X, Y).grads["a"], expected["a"]) > 0.1


def test_constants_in_loops_and_branches_are_not_read_on_the_way_back():
    rule = rules.FeedbackAlignment(frozen_feedback=True)
    learner, state = start(rule, looped, (X, Y), batch_axes=0)
    assert set(state.feedback.frozen) == {"constants.0", "constants.1"}  # each once
    none = jax.tree.map(jnp.zeros_like, state.feedback.frozen)
    found = [
        learner(PARAMS, state._replace(feedback=copies), X, Y).grads
        for copies in (state.feedback, state.feedback._replace(frozen=none))
    ]
    assert all(map(np.any, found[0].values()))
    assert not any(map(np.any, found[1].values()))
    drawn = WithFrozen(PARAMS, _frozen_of(learner, rule))
    true = learner(PARAMS, state._replace(feedback=drawn), X, Y)
    assert_close(true.grads, jax.grad(looped)(PARAMS, X, Y))


def _frozen_of(learner, rule):
    circuit = learner.circuit(PARAMS, X, Y)
    return rule.whole(circuit, PARAMS, (X, Y))[1].frozen


RELAXING = {
    "fixed": rules.PredictiveCoding,
    "steps": lambda feedback: rules.PredictiveCoding(9, feedback=feedback),
    "activities": lambda feedback: rules.ActivationRelaxation(feedback=feedback),
}


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("name", RELAXING)
def test_errors_pass_back_through_copies_at_a_fixed_prediction(name, closed):
    feedback = rules.RandomFeedback(optax.sgd(0.1), frozen_feedback=True)
    make = RELAXING[name]
    rule = make(feedback=feedback)
    loss, args, axes = (loss_fn, ARGS, AXES)
    if closed:
        loss, args, axes = closed_over, (X, Y), {"batch_axes": 0}
    learner, state = start(rule, loss, args, **axes)
    credit = jax.jit(learner)(PARAMS, state, *args)
    part = state.feedback if isinstance(rule, rules.PredictiveCoding) else state
    drawn = list(part.weights.frozen.values())
    copies = WithFrozen(
        part.weights.params, dict(zip(("0.w", "0.out"), drawn, strict=True))
    )
    if not closed:  # keys of the dictionary are sorted
        copies = part.weights
    assert_close(credit.grads, by_hand(copies))
    assert set(credit.grads) == {"a", "b"}
    signals = learner.signals(PARAMS, state, *args)
    assert set(signals) == {"a"}
    # The copies of what learns move by the product of error and activity, others stay.
    after = credit.state
    moved = after.feedback if isinstance(rule, rules.PredictiveCoding) else after
    assert_close(
        moved.weights.params["b"], copies.params["b"] - 0.1 * credit.grads["b"]
    )
    assert all(
        np.array_equal(x, y)
        for x, y in zip(moved.weights.frozen.values(), drawn, strict=True)
    )


def test_values_relax_by_what_copies_send_back():
    rate, steps = 0.2, 6
    feedback = rules.RandomFeedback(frozen_feedback=True)
    rule = rules.PredictiveCoding(steps, rate, prediction="free", feedback=feedback)
    learner, state = start(rule)
    weights = state.feedback.weights
    w, f, x, y = jax.tree.map(np.asarray, (PARAMS, FROZEN, X, Y))
    copies = jax.tree.map(np.asarray, weights)

    def back(value):
        """The sizes of each layer above, and the error at the value of `a`."""
        high = np.tanh(value @ w["b"])
        top = np.tanh(high @ f["w"])
        error = top @ f["out"] + f["bias"] - y
        error = (error @ copies.frozen["0.out"].T) * (1 - top**2)
        error = (error @ copies.frozen["0.w"].T) * (1 - high**2)
        return error, error @ copies.params["b"].T

    guess = np.tanh(x @ w["a"])
    value = guess
    for _ in range(steps):
        value = value - rate * (value - guess + back(value)[1])
    expected = {
        "a": -x.T @ ((value - guess) * (1 - guess**2)) / len(x),
        "b": value.T @ back(value)[0] / len(x),
    }
    assert_close(learner(PARAMS, state, *ARGS).grads, expected)


def test_one_warning_names_every_frozen_weight():
    learner = apical.value_and_grad(loss_fn, rules.FeedbackAlignment(), **AXES)
    with pytest.warns(UserWarning, match="Signals pass back through") as told:
        learner.init(KEY, PARAMS, *ARGS)
    (one,) = told
    for words in ("argument 0 ('w')", "argument 0 ('out')", "frozen_feedback=True"):
        assert words in str(one.message)


def traced(scale):
    """A loss function that closes over what `jax.jit` traces."""

    def loss(params, x, y):
        frozen = {**FROZEN, "w": scale * FROZEN["w"]}
        return loss_fn(params, frozen, x, y)

    return start(
        rules.FeedbackAlignment(frozen_feedback=True), loss, (X, Y), batch_axes=0
    )[1].feedback


WRONG = [
    (lambda: start(rules.FeedbackAlignment(frozen_feedback=(1,))), "names argument 1"),
    (lambda: rules.FeedbackAlignment(frozen_feedback=0), "`frozen_feedback` must be"),
    (lambda: rules.SignConcordance(frozen_feedback=(-1,)), "`frozen_feedback` must be"),
    (
        lambda: rules.RandomFeedback(frozen_feedback=("all",)),
        "`frozen_feedback` must be",
    ),
    (
        lambda: start(rules.FeedbackAlignment(frozen_feedback=("constants",))),
        "names what the loss function closes over",
    ),
    (lambda: jax.jit(traced)(2.0), "Make it an argument of `loss_fn`"),
    (
        lambda: rules.EProp(rules.FeedbackAlignment(frozen_feedback=True)),
        "leave out `frozen_feedback`",
    ),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_what_cannot_have_feedback_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
