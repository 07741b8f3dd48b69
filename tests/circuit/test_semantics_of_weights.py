"""Weights made of weights, user-defined derivatives, and loops.

Every test here stands behind a statement of docs/rules-and-models.md, as in
test_semantics.py.
"""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, distance
from support.second_weight import (
    DATA,
    KEY,
    array,
    by_feedback,
    credit,
    differ,
    fed_back,
    plain,
    squared,
    through,
)

import apical
from apical.rules import (
    Backpropagation,
    FeedbackAlignment,
    KolenPollack,
    PredictiveCoding,
    SignConcordance,
)

FREE = PredictiveCoding(steps=8, rate=0.2, prediction="free")
RULES = [Backpropagation(), FeedbackAlignment(), PredictiveCoding(), FREE]
NAMES = ["backprop", "feedback", "fixed", "free"]
every_rule = pytest.mark.parametrize("rule", RULES, ids=NAMES)


def tied(dot: Any) -> Any:
    """The table is looked up in, and is the read-out too."""

    def loss_fn(params, ids, y):
        h = jnp.tanh(params["table"][ids])
        for use in range(2):
            h = jnp.tanh(dot(h, params["w"], "w", use))
        return squared(dot(h, params["table"].T, "table", 0), y)

    return loss_fn


TIED = {"table": array(4, 5), "w": array(5, 5)}
IDS = jnp.array([2, 0, 2, 1])
WHICH = IDS, array(4, 4)


def test_a_tied_weight_has_one_copy_and_the_sum_of_its_gradients():
    found, copies = fed_back(tied(lambda h, w, *_: h @ w), TIED, *WHICH)

    def one(h, w, name, use):
        return through(h, w, copies[name].T if name == "table" else copies[name])

    assert_close(found, jax.grad(tied(one))(TIED, *WHICH))

    def one_for_each(h, w, name, use):
        copy = copies[name].T if name == "table" else copies[name]
        return through(h, w, copy if use == 0 else array(5, 5, seed=9))

    assert differ(found["w"], jax.grad(tied(one_for_each))(TIED, *WHICH)["w"])


@every_rule
def test_a_tied_weight_sums_over_its_uses(rule):
    loss_fn = tied(lambda h, w, *_: h @ w)
    found, state = credit(loss_fn, rule, TIED, *WHICH)
    signals = list(
        apical.value_and_grad(loss_fn, rule).signals(TIED, state, *WHICH).values()
    )
    uses = []
    for before, after in pairwise(signals):
        # With fixed predictions a synapse's input stays what was predicted.
        incoming = before.value if rule is FREE else before.prediction
        uses.append(incoming.T @ (after.teaching * (1 - after.prediction**2)))
    assert len(uses) == 2
    assert_close(found.grads["w"], uses[0] + uses[1])
    assert all(differ(found.grads["w"], use) for use in uses)


def adapted(dot: Any) -> Any:
    def loss_fn(params, x, y):
        h = jnp.tanh(dot(jnp.tanh(x @ params["in"]), params))
        return squared(h @ params["out"], y)

    return loss_fn


def effective(params: Any) -> jax.Array:
    return params["w"] + params["a"] @ params["b"]


LORA = {"in": array(5, 6), "w": array(6, 7), "a": array(6, 2), "b": array(2, 7)}
LORA |= {"out": array(7, 3)}


def back_through(weight: Any, copies: Any) -> Any:
    """Return the adapted model by hand: its middle goes back through a given weight."""

    def loss_fn(params, x, y):
        h = through(x, params["in"], copies["in"])
        h = jnp.tanh(through(jnp.tanh(h), effective(params), weight))
        return squared(through(h, params["out"], copies["out"]), y)

    return jax.grad(loss_fn)(LORA, *DATA)


def test_feedback_goes_through_the_effective_weight_of_the_copies():
    found, copies = fed_back(adapted(lambda h, w: h @ effective(w)), LORA, *DATA)
    assert_close(found, back_through(effective(copies), copies))
    alone = back_through(copies["w"] + LORA["a"] @ LORA["b"], copies)
    assert differ(found["in"], alone["in"])


@every_rule
def test_the_parts_of_a_weight_learn_through_the_other_parts_themselves(rule):
    grads = credit(adapted(lambda h, w: h @ effective(w)), rule, LORA, *DATA)[0].grads
    assert_close(grads["a"], grads["w"] @ LORA["b"].T)
    assert_close(grads["b"], LORA["a"].T @ grads["w"])
    assert differ(grads["a"], grads["w"] @ array(2, 7, seed=1).T)


def test_the_sign_is_that_of_the_effective_weight():
    loss_fn = adapted(lambda h, w: h @ effective(w))
    found, _ = credit(loss_fn, SignConcordance(), LORA, *DATA)

    def sign(weight):
        return (2 / sum(weight.shape)) ** 0.5 * jnp.sign(weight)

    copies = {name: sign(LORA[name]) for name in ("in", "out")}
    expected = back_through(sign(effective(LORA)), copies)
    assert_close(found.grads, expected)
    parts = jnp.sign(LORA["w"]) + jnp.sign(LORA["a"]) @ jnp.sign(LORA["b"])
    assert differ(found.grads["in"], back_through(sign(parts), copies)["in"])


def test_a_normalised_weight_is_normalised_in_both_copies():
    def weight(v, g):
        return g * v / jnp.linalg.norm(v, axis=0)

    def loss_fn(params, x, y, dot=lambda h, w, name: h @ w):
        h = jnp.tanh(dot(x, params["in"], "in"))
        h = jnp.tanh(dot(h, weight(params["v"], params["g"]), "mid"))
        return squared(dot(h, params["out"], "out"), y)

    params = {"in": array(5, 6), "v": array(6, 7), "g": 1 + array(7)}
    params |= {"out": array(7, 3)}
    found, copies = fed_back(loss_fn, params, *DATA)

    def by_hand(middle):
        back = {**copies, "mid": middle}
        dot = lambda h, w, name: through(h, w, back[name])  # noqa: E731
        return jax.grad(lambda *given: loss_fn(*given, dot))(params, *DATA)

    assert_close(found, by_hand(weight(copies["v"], copies["g"])))
    assert differ(found["in"], by_hand(copies["v"])["in"])


@pytest.mark.parametrize("name", ["a", "w"])
def test_what_is_told_entry_by_entry_is_refused_where_a_weight_has_parts(name):
    loss_fn = adapted(lambda h, w: h @ effective(w))
    rule = FeedbackAlignment(0.2) if name == "a" else SignConcordance("fixed")
    with pytest.raises(ValueError, match=r"computed from 'a \+ b \+ w'"):
        credit(loss_fn, rule, LORA, *DATA)
    direct = {"in": LORA["in"], "w": LORA["w"], "out": LORA["out"]}
    credit(adapted(lambda h, w: h @ w["w"]), rule, direct, *DATA)


# -------------------------------------------------------- derivatives that users bend


@every_rule
def test_nothing_passes_a_stop_gradient(rule):
    def loss_fn(params, x, y, still):
        h = still(jnp.tanh(x @ params["below"]))
        return squared(jnp.tanh(h @ params["above"]) @ params["out"], y)

    params = {"below": array(5, 6), "above": array(6, 7), "out": array(7, 3)}
    stopped, _ = credit(
        lambda *given: loss_fn(*given, jax.lax.stop_gradient), rule, params, *DATA
    )
    assert not np.any(stopped.grads["below"])
    assert np.any(stopped.grads["above"])
    going, _ = credit(lambda *given: loss_fn(*given, lambda h: h), rule, params, *DATA)
    assert np.any(going.grads["below"])


@jax.custom_vjp
def spike(x: jax.Array) -> jax.Array:
    return (x > 0).astype(x.dtype)


spike.defvjp(lambda x: (spike(x), x), lambda x, g: (g / (1 + x**2),))


def spiking(dot: Any, activation: Any = spike) -> Any:
    def loss_fn(params, x, y):
        h = activation(dot(x, "a", params))
        return squared(dot(activation(dot(h, "b", params)), "c", params), y)

    return loss_fn


SPIKING = {"a": array(5, 6), "b": array(6, 7), "c": array(7, 3)}


def test_a_users_derivative_of_an_activation_is_kept():
    found, copies = fed_back(spiking(plain), SPIKING, *DATA)
    assert_close(found, jax.grad(spiking(by_feedback(copies)))(SPIKING, *DATA))
    fixed, _ = credit(spiking(plain), PredictiveCoding(), SPIKING, *DATA)
    assert_close(fixed.grads, jax.grad(spiking(plain))(SPIKING, *DATA))
    true = jax.grad(spiking(plain, lambda h: (h > 0).astype(h.dtype)))(SPIKING, *DATA)
    assert not np.any(true["a"])
    assert np.any(found["a"])


@jax.custom_vjp
def doubled(x: jax.Array, w: jax.Array) -> jax.Array:
    return x @ w


doubled.defvjp(
    lambda x, w: (x @ w, (x, w)), lambda kept, g: (2 * g @ kept[1].T, kept[0].T @ g)
)


def test_a_weight_inside_a_users_derivative_keeps_it_or_is_refused():
    def dot(x, name, params):
        return doubled(x, params[name]) if name == "b" else x @ params[name]

    loss_fn = spiking(dot, jnp.tanh)
    for rule in (FeedbackAlignment(), SignConcordance()):
        with pytest.raises(ValueError, match="Parameter 'b' cannot be given feedback"):
            credit(loss_fn, rule, SPIKING, *DATA)
    fixed, _ = credit(loss_fn, PredictiveCoding(), SPIKING, *DATA)
    assert_close(fixed.grads, jax.grad(loss_fn)(SPIKING, *DATA))
    assert differ(fixed.grads, jax.grad(spiking(plain, jnp.tanh))(SPIKING, *DATA))


# ------------------------------------------------------------------------------ loops

STEPS = 3
SERIES = array(STEPS, 4, 5), array(4, 3)
RECURRENT = {"u": array(6, 6), "in": array(5, 6), "out": array(6, 3)}


def recurrent(params, x, y):
    def step(h, x):
        return jnp.tanh(h @ params["u"] + x @ params["in"]), None

    h, _ = jax.lax.scan(step, jnp.zeros((4, 6)), x)
    return squared(h @ params["out"], y)


IN_TIME = {"batch_axes": (1, 0)}


def test_a_loop_has_one_copy_for_all_its_steps():
    found, state = credit(recurrent, FeedbackAlignment(), RECURRENT, *SERIES, **IN_TIME)
    copies = state.feedback

    def unrolled(params, x, y, copy_at):
        h = jnp.zeros((4, 6))
        for t in range(STEPS):
            h = jnp.tanh(through(h, params["u"], copy_at(t)) + x[t] @ params["in"])
        return squared(through(h, params["out"], copies["out"]), y)

    def by_hand(copy_at):
        return jax.grad(unrolled)(RECURRENT, *SERIES, copy_at)

    assert_close(found.grads, by_hand(lambda t: copies["u"]))
    assert differ(found.grads["u"], by_hand(lambda t: array(6, 6, seed=t))["u"])


@pytest.mark.filterwarnings("ignore:With .* no signal:UserWarning")
def test_a_node_in_a_loop_has_a_value_for_each_step():
    circuit = apical.trace(recurrent, **IN_TIME)(RECURRENT, *SERIES)
    assert [node.shape for node in circuit.nodes] == [(STEPS, 4, 6)]
    truth = jax.grad(recurrent)(RECURRENT, *SERIES)
    for steps, exact in ((STEPS, True), (STEPS - 1, False)):
        rule = PredictiveCoding(steps)
        found, _ = credit(recurrent, rule, RECURRENT, *SERIES, **IN_TIME)
        assert (distance(found.grads, truth) < 1e-4) == exact


@every_rule
def test_an_open_loop_is_refused_by_name(rule):
    def loss_fn(params, x, y):
        def body(state):
            return state[0] + 1, jnp.tanh(state[1] @ params["u"])

        start = 0, jnp.tanh(x @ params["in"])
        h = jax.lax.while_loop(lambda state: state[0] < 2, body, start)[1]
        return squared(h @ params["out"], y)

    with pytest.raises(ValueError, match=r"`while_loop`.* and JAX cannot reverse it"):
        credit(loss_fn, rule, RECURRENT, *DATA)


def test_kolen_pollack_moves_the_copies_of_the_parts_by_the_updates_of_the_parts():
    loss_fn = adapted(lambda h, w: h @ effective(w))
    step = apical.train_step(loss_fn, KolenPollack(decay=0.1), optax.sgd(0.5))
    state = step.init(KEY, LORA, *DATA)
    moved, after, found = jax.jit(step)(LORA, state, *DATA)
    copies = {n: copy for n, copy in state.rule.feedback.items() if copy is not None}
    assert copies.keys() == {"w", "a", "b", "out"}  # `in` meets data alone
    for name, copy in copies.items():
        assert_close(after.rule.feedback[name], 0.9 * copy - 0.5 * found.grads[name])
        assert_close(moved[name] - after.rule.feedback[name], 0.9 * (LORA[name] - copy))
    whole = effective(LORA) - effective(state.rule.feedback)
    assert differ(effective(moved) - effective(after.rule.feedback), 0.9 * whole)
