"""Weights that are not learned: signals pass through them, and a warning says so."""

import warnings

import jax
import jax.numpy as jnp
import pytest
from support.by_hand import array, assert_close, distance

import apical
from apical import rules
from apical.rules import RandomFeedback

KEY = jax.random.key(0)
SAYS = "Signals pass back through"


def draw(*shape, seed=0):
    import numpy as np

    return array(np.random.default_rng(seed), *shape)


PARAMS = {"a": draw(5, 6), "b": draw(6, 3, seed=1)}
FROZEN = {"w": draw(6, 6, seed=2)}
X, Y = draw(4, 5, seed=3), draw(4, 3, seed=4)


def loss_fn(params, frozen, x, y):
    """A frozen layer between two that learn."""
    h = jnp.tanh(jnp.tanh(x @ params["a"]) @ frozen["w"])
    return 0.5 * jnp.sum((h @ params["b"] - y) ** 2) / len(x)


WARNED = {
    "feedback alignment": rules.FeedbackAlignment(),
    "sign concordance": rules.SignConcordance(),
    "mirror": rules.WeightMirror(),
    "direct": rules.DirectFeedbackAlignment(),
    "coding": rules.PredictiveCoding(feedback=RandomFeedback()),
    "kolen-pollack": rules.KolenPollack(),
}


def start(
    rule, loss=loss_fn, args=(FROZEN, X, Y), batch_axes=(None, 0, 0), params=PARAMS
):
    import optax

    step = apical.train_step(loss, rule, optax.sgd(0.1), batch_axes=batch_axes)
    return step, step.init(KEY, params, *args)


@pytest.mark.parametrize("name", WARNED)
def test_a_frozen_network_is_named_once_with_its_argument_and_its_line(name):
    with pytest.warns(UserWarning, match=SAYS) as told:
        step, state = start(WARNED[name])
    (one,) = (w for w in told if SAYS in str(w.message))
    message = str(one.message)
    for words in ("argument 0 ('w')", "`dot_general`", "test_frozen_arguments.py"):
        assert words in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(PARAMS, state, FROZEN, X, Y)  # not again


@pytest.mark.parametrize("rule", [rules.Backpropagation(), rules.PredictiveCoding()])
def test_a_rule_that_transports_its_weights_has_nothing_to_say(rule):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start(rule)


def test_it_says_the_truth():
    """The signal passes through the frozen weight, whatever the rule's own are."""
    with pytest.warns(UserWarning, match=SAYS):
        step, state = start(WARNED["feedback alignment"])
    copies = {**state.rule.feedback, "b": PARAMS["b"]}
    found = step.learner(PARAMS, state.rule._replace(feedback=copies), FROZEN, X, Y)
    assert_close(found.grads, jax.grad(loss_fn)(PARAMS, FROZEN, X, Y))


def test_as_a_part_of_the_parameters_it_has_feedback():
    def whole(params, x, y):
        return loss_fn(params, params["frozen"], x, y)

    params = {**PARAMS, "frozen": FROZEN}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step, state = start(WARNED["feedback alignment"], whole, (X, Y), 0, params)
    copies = {**state.rule.feedback, "b": PARAMS["b"]}
    found = step.learner(params, state.rule._replace(feedback=copies), X, Y)
    assert distance(found.grads["a"], jax.grad(whole)(params, X, Y)["a"]) > 0.1


def test_it_can_be_silenced_by_its_first_words():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", SAYS)
        start(WARNED["feedback alignment"])


def convolved(params, kernel, x, y):
    h = jnp.tanh(x @ params["a"])[..., None]
    h = jax.lax.conv_general_dilated(
        h, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
    )
    return jnp.mean((h[..., 0] @ params["b"] - y) ** 2)


def scanned(params, weights, x, y):
    h, _ = jax.lax.scan(
        lambda h, w: (jnp.tanh(h @ w), None), jnp.tanh(x @ params["a"]), weights
    )
    return jnp.mean((h @ params["b"] - y) ** 2)


def computed(params, base, x, y):
    """A frozen weight that is scaled first, inside a branch."""
    h = jnp.tanh(x @ params["a"])
    scaled = base["w"].T / jnp.linalg.norm(base["w"])
    h = jax.lax.cond(x.sum() > 0, lambda w: h @ w, lambda w: h @ (2 * w), scaled)
    return jnp.mean((h @ params["b"] - y) ** 2)


CLOSED = draw(6, 6, seed=5)


def closes_over(params, ignored, x, y):
    return loss_fn(params, {"w": CLOSED}, x, y)


OTHERS = {
    "closed over": (closes_over, FROZEN, "what the loss function closes over in"),
    "convolution": (convolved, draw(3, 1, 1), "argument 0 in `conv_general"),
    "in a loop": (scanned, draw(2, 6, 6), "argument 0 in `dot_general"),
    "computed": (computed, FROZEN, "argument 0 ('w') in `dot_general"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_way_to_meet_it_is_listed(name):
    loss, given, words = OTHERS[name]
    args = (given, X, Y)
    circuit = apical.trace(loss, batch_axes=(None, 0, 0))(PARAMS, *args)
    assert words in str(circuit)
    with pytest.warns(UserWarning, match=SAYS):
        start(WARNED["feedback alignment"], loss, args)


def shared_below(params, frozen, x, y):
    """Frozen features of the data: no signal passes them."""
    return loss_fn(params, {"w": jnp.eye(6)}, jnp.tanh(x @ frozen), y)


def masked(params, mask, x, y):
    return loss_fn({**params, "a": params["a"] * mask}, {"w": jnp.eye(6)}, x, y)


def gated(params, gain, x, y):
    h = jnp.tanh(x @ params["a"]) * gain
    return jnp.mean((h @ params["b"] - y) ** 2)


def ids(params, rows, x, y):
    """Whole numbers: an adjacency matrix of zeros and ones, cast."""
    h = jnp.tanh(x @ params["a"])
    return jnp.mean((h @ rows.astype(float) @ params["b"] - y) ** 2)


def of_examples(params, others, x, y):
    h = jnp.tanh(x @ params["a"])
    return jnp.mean((jnp.einsum("eu,euv->ev", h, others) @ params["b"] - y) ** 2)


def unused(params, frozen, x, y):
    _ = jnp.tanh(x @ params["a"]) @ frozen
    return jnp.mean((jnp.tanh(x @ params["a"]) @ params["b"] - y) ** 2)


SILENT = {
    "below": (shared_below, draw(5, 5), None),
    "mask": (masked, jnp.ones((5, 6)), None),
    "gain": (gated, jnp.ones(6), None),
    "whole numbers": (ids, jnp.eye(6, dtype=int), None),
    "of examples": (of_examples, draw(4, 6, 6), 0),
    "not in the loss": (unused, draw(6, 6), None),
}


@pytest.mark.parametrize("name", SILENT)
def test_what_is_no_weight_in_the_way_of_a_signal_is_not_named(name):
    loss, given, axis = SILENT[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start(WARNED["feedback alignment"], loss, (given, X, Y), (axis, 0, 0))
    circuit = apical.trace(loss, batch_axes=(axis, 0, 0))(PARAMS, given, X, Y)
    assert circuit.structure.frozen == ()
