"""Dual propagation and activation relaxation: backpropagation by other dynamics."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.broken_rules import problem as given
from support.by_hand import assert_close, backward, distance, loss_fn
from support.check_on import check_on
from support.laws import problem
from support.refusals import refuses
from support.settled_by_hand import Network, credit_of, weights

import apical
from apical.rules import (
    ActivationRelaxation,
    DualPropagation,
    PredictiveCoding,
    RandomFeedback,
)

# Many of these take too few steps on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:With .* no signal:UserWarning")
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def grads_of(rule, loss_fn=loss_fn):
    params, data = weights()
    return credit_of(rule, loss_fn, params, data).grads


# --------------------------------------------------------------------- dual propagation


def dual_by_hand(nudge=0.2, balance=0.5, steps=3, rate=0.8):
    net = Network()
    one = np.tanh(net.x @ net.w[0] + net.b[0])
    two = np.tanh(one @ net.w[1] + net.b[1])
    plus, minus = [one, two], [one, two]
    for step in range(steps + 1):
        pairs = list(zip(plus, minus, strict=True))
        mean = [balance * p + (1 - balance) * m for p, m in pairs]
        gap = [p - m for p, m in pairs]
        error = mean[1] @ net.w[2] + net.b[2] - net.y
        if step == steps:
            break
        back = gap[1] @ net.w[1].T, -nudge * error @ net.w[2].T
        drives = net.x @ net.w[0] + net.b[0], mean[0] @ net.w[1] + net.b[1]

        def moved(old, part, drives=drives, back=back):
            new = [np.tanh(z + part * b) for z, b in zip(drives, back, strict=True)]
            return [(1 - rate) * o + rate * n for o, n in zip(old, new, strict=True)]

        plus, minus = moved(plus, balance), moved(minus, balance - 1)
    signals = [-gap[0] / nudge, -gap[1] / nudge, error]
    return net.products(signals, [net.x, mean[0], mean[1]])


@pytest.mark.parametrize("balance", [0.5, 0.2])
def test_dual_propagation_of_two_layers_by_hand(balance):
    rule = DualPropagation(0.2, balance, steps=3, rate=0.8)
    expected = dual_by_hand(balance=balance)
    assert_close(grads_of(rule), expected, 1e-8)
    for other in (
        dual_by_hand(nudge=0.4, balance=balance),
        dual_by_hand(balance=balance + 0.1),
        dual_by_hand(balance=balance, steps=2),
        dual_by_hand(balance=balance, rate=1.0),
    ):
        assert distance(other, expected) > 1e-4


@pytest.mark.parametrize(("balance", "order"), [(0.5, 2), (1.0, 1), (0.0, 1)])
def test_the_error_of_dual_propagation_falls_as_the_nudge(balance, order):
    params, data = weights()
    truth = jax.grad(loss_fn)(params, *data)

    def grads(nudge):
        rule = DualPropagation(nudge, balance)
        return apical.value_and_grad(loss_fn, rule)(params, (), *data).grads

    found = jax.jit(jax.vmap(grads))(jnp.array([0.1, 0.05]))
    rows = [jax.tree.map(lambda x, i=i: x[i], found) for i in range(2)]
    errors = [distance(row, truth) for row in rows]
    assert 1e-6 < errors[0] < 0.3
    np.testing.assert_allclose(errors[0] / errors[1], 2**order, rtol=0.1)


def test_one_step_short_of_the_longest_path_is_not_enough():
    params, data = weights()
    truth = jax.grad(loss_fn)(params, *data)
    enough, short = (grads_of(DualPropagation(0.01, steps=n)) for n in (2, 1))
    assert distance(enough, truth) < 1e-4
    assert not np.any(short[0]["w"])
    # One more step is taken by default, which shows that nothing moves.
    for steps, settled in ((2, False), (None, True)):
        rule = DualPropagation(0.01, steps=steps)
        assert bool(credit_of(rule, loss_fn, params, data).info.settled) is settled


# ---------------------------------------------------------------- activation relaxation


def relaxed_by_hand(steps, rate):
    net = Network()
    one = np.tanh(net.x @ net.w[0] + net.b[0])
    two = np.tanh(one @ net.w[1] + net.b[1])
    error = two @ net.w[2] + net.b[2] - net.y
    first, second = one, two  # activities begin as they are
    for _ in range(steps):
        targets = (second * (1 - two**2)) @ net.w[1].T, error @ net.w[2].T
        first = (1 - rate) * first + rate * targets[0]
        second = (1 - rate) * second + rate * targets[1]
    signals = [first * (1 - one**2), second * (1 - two**2), error]
    return net.products(signals, [net.x, one, two])


def test_activation_relaxation_of_two_layers_by_hand():
    expected = relaxed_by_hand(3, 0.4)
    assert_close(grads_of(ActivationRelaxation(3, 0.4)), expected, 1e-8)
    for other in (relaxed_by_hand(2, 0.4), relaxed_by_hand(3, 0.5)):
        assert distance(other, expected) > 0.05


def test_at_rate_one_it_is_predictive_coding_bit_for_bit():
    for steps in (2, 5):
        relaxed = grads_of(ActivationRelaxation(steps))
        coded = grads_of(PredictiveCoding(steps, 1.0, inference=optax.sgd(1.0)))
        jax.tree.map(np.testing.assert_array_equal, relaxed, coded)
    # With one step less, or at another rate, they differ: so do the initial values.
    for steps, rate in ((1, 1.0), (5, 0.5)):
        relaxed = grads_of(ActivationRelaxation(steps, rate))
        coded = grads_of(PredictiveCoding(steps, rate))
        assert distance(relaxed, coded) > 0.01


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", ["conv_residual", "lstm", "mlp_residual"])
def test_it_is_backpropagation_on_any_graph(name):
    with jax.enable_x64(False):
        found = problem(name)
        learner = apical.value_and_grad(
            found.loss_fn, ActivationRelaxation(), **found.keywords
        )
        params, args = found.params, found.args
        state = learner.init(KEY, params, *args)
        credit = jax.jit(
            lambda p: learner(found.circuit.merged(params, p), state, *args)
        )(found.learned)
        truth = jax.grad(lambda p: found.loss(p, args)[0])(found.learned)
        assert bool(credit.info.settled)
        assert distance(credit.grads, truth) < 1e-4


def test_signals_can_pass_through_feedback_weights():
    params, data = weights()
    rule = ActivationRelaxation(feedback=RandomFeedback())
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(KEY, params, *data)
    copies = [each["w"] for each in state.weights]
    expected, _ = backward(params, copies, *data)
    assert_close(jax.jit(learner)(params, state, *data).grads, expected, 1e-8)
    plain = ActivationRelaxation(derivative=False)
    assert distance(grads_of(plain), grads_of(ActivationRelaxation())) > 0.01
    assert "weight transport" not in rule.needs


def test_feedback_weights_learn_by_the_same_product():
    params, data = weights()
    rule = ActivationRelaxation(feedback=RandomFeedback(optax.sgd(0.3)))
    learner = apical.value_and_grad(loss_fn, rule)
    state, call = learner.init(KEY, params, *data), jax.jit(learner)
    copies = [each["w"] for each in state.weights]
    for _ in range(3):
        credit = call(params, state, *data)
        state, before = credit.state, copies
        expected, _ = backward(params, copies, *data)
        assert_close(credit.grads, expected, 1e-8)
        copies = [w - 0.3 * g["w"] for w, g in zip(copies, expected, strict=True)]
        assert_close([each["w"] for each in state.weights], copies, 1e-8)
        stale, _ = backward(params, before, *data)
        assert distance(backward(params, copies, *data)[0], stale) > 0.01


# ------------------------------------------------------------------ laws and refusals


def test_the_rules_keep_the_laws():
    # What is taught at a drive does not pass the nonlinearity.
    check_on(DualPropagation(), **given(), skip=("pull",))
    check_on(ActivationRelaxation(3, 0.5), **given())


def stream(params, x, y):
    h = x @ params[0]["w"]
    return loss_fn(params, x, y) + jnp.mean(h + jnp.tanh(h @ params[1]["w"])[:, :1])


REFUSED = {
    "stream": (lambda: grads_of(DualPropagation(), stream), "needs a unit between"),
    "balance": (lambda: DualPropagation(balance=1.5), "`balance`"),
    "nudge": (lambda: DualPropagation(nudge=0.0), "`nudge`"),
    "feedback": (lambda: ActivationRelaxation(feedback=True), "`feedback`", "Random"),
    "steps": (lambda: ActivationRelaxation(steps=0), "`steps`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_defined_is_refused(name):
    refuses(REFUSED[name])
