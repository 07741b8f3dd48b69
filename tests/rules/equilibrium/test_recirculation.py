"""Recirculation: the reconstruction presented as the input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import array, assert_close, assert_same, cosine, distance, layers
from support.by_hand import loss_fn as deep_loss
from support.check_on import check_on

import apical
from apical.rules import Recirculation
from apical.testing import LAWS

DRAW = np.random.default_rng(0)
X = array(DRAW, 6, 5)
W = {"encoder": array(DRAW, 5, 3), "bias": array(DRAW, 3), "decoder": array(DRAW, 3, 5)}
KEY = jax.random.key(0)


def loss_fn(params, x):
    hidden = jnp.tanh(x @ params["encoder"] + params["bias"])
    miss = hidden @ params["decoder"] - x
    return jnp.mean(jnp.sum(miss**2, axis=1)) / 2


def tied(params):
    return {**params, "decoder": params["encoder"].T}


def found(rule, params=W, loss_fn=loss_fn, x=X, **keywords):
    learner = apical.value_and_grad(loss_fn, rule, input_argnums=0, **keywords)
    return learner(params, learner.init(KEY, params, x), x)


def by_hand(w, regression):
    """The two rounds of the paper, its signs turned to those of a gradient."""
    w = {k: np.asarray(v) for k, v in w.items()}
    visible = np.asarray(X)
    first = np.tanh(visible @ w["encoder"] + w["bias"])
    output = first @ w["decoder"]
    again = regression * visible + (1 - regression) * output
    second = np.tanh(again @ w["encoder"] + w["bias"])
    change = (second - first) / (1 - regression) / len(X)
    return {
        "encoder": again.T @ change,
        "bias": change.sum(axis=0),
        "decoder": first.T @ (output - visible) / len(X),
    }


def test_two_rounds_by_hand():
    credit = found(Recirculation(0.6))
    expected = by_hand(W, 0.6)
    assert_close(credit.grads, expected)
    assert distance(by_hand(W, 0.9)["encoder"], expected["encoder"]) > 0.01
    assert_close(credit.value, loss_fn(W, X))


def deep(params, x):
    return deep_loss(params, x, x)


def deep_by_hand(params, regression):
    """Every layer compares its own two rounds."""

    def rounded(x):
        values = [x]
        for each in params[:-1]:
            values.append(np.tanh(values[-1] @ each["w"] + each["b"]))
        return values

    first = rounded(X)
    miss = first[-1] @ params[-1]["w"] + params[-1]["b"] - X
    second = rounded(X + (1 - regression) * miss)
    pairs = zip(first[1:], second[1:], strict=True)
    errors = [(after - before) / (1 - regression) for before, after in pairs]
    below = [*second[:-1], first[-1]]
    return [
        {"w": v.T @ e / len(X), "b": e.sum(axis=0) / len(X)}
        for v, e in zip(below, [*errors, miss], strict=True)
    ]


@pytest.mark.parametrize("widths", [(5, 4, 3, 5), (5, 4, 3, 4, 5)])
def test_several_hidden_layers_by_hand(widths):
    params = layers(*widths)
    expected = deep_by_hand(params, 0.6)
    assert_close(found(Recirculation(0.6), params, deep).grads, expected, 1e-3)
    for i, other in enumerate(deep_by_hand(params, 0.9)[:-1]):
        assert distance(other, expected[i]) > 0.01


def test_with_transposed_weights_it_tends_to_backpropagation_and_with_others_not():
    with jax.enable_x64(True):
        weights = jax.tree.map(lambda a: jnp.asarray(a, float), tied(W))
        x = jnp.asarray(X, float)
        truth = jax.grad(loss_fn)(weights, x)

        def off(regression):
            return distance(found(Recirculation(regression), weights, x=x).grads, truth)

        assert off(1 - 1e-6) < 1e-5
        assert 8 < off(0.99) / off(0.999) < 12  # of first order
        other = jax.tree.map(lambda a: jnp.asarray(a, float), W)
        credit = found(Recirculation(1 - 1e-6), other, x=x)
        truth = jax.grad(loss_fn)(other, x)
    assert_close(credit.grads["decoder"], truth["decoder"])
    assert cosine(credit.grads["encoder"], truth["encoder"]) < 0.9


def test_a_weight_used_both_ways_learns_from_both():
    def shared(w, x):
        return jnp.mean(jnp.sum((jnp.tanh(x @ w) @ w.T - x) ** 2, axis=1)) / 2

    w = W["encoder"]
    expected = by_hand({**tied(W), "bias": np.zeros(3)}, 0.6)
    assert_close(
        found(Recirculation(0.6), w, shared).grads,
        expected["encoder"] + expected["decoder"].T,
    )


def test_an_output_with_a_nonlinearity_learns_without_its_derivative():
    def bounded(params, x):
        hidden = jnp.tanh(x @ params["encoder"] + params["bias"])
        output = apical.output(
            apical.node(jax.nn.sigmoid(hidden @ params["decoder"]), "o")
        )
        return jnp.mean(jnp.sum((output - x) ** 2, axis=1)) / 2

    hidden = np.tanh(X @ W["encoder"] + W["bias"])
    output = 1 / (1 + np.exp(-hidden @ W["decoder"]))
    grads = found(Recirculation(0.6), loss_fn=bounded).grads
    assert_close(grads["decoder"], hidden.T @ (output - X) / len(X))


def test_a_summed_loss_has_a_gradient_larger_by_the_number_of_examples():
    def total(params, x):
        return len(x) * loss_fn(params, x)

    mean = found(Recirculation())
    summed = found(Recirculation(), W, total, X, reduction="sum")
    assert_close(summed.grads, jax.tree.map(lambda g: 6 * g, mean.grads))


DECAYING = optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.1))


def test_it_learns_to_reconstruct_and_weights_align():
    """Data with three strong directions of twelve, which the encoder has to find."""
    strong = 0.5 * DRAW.normal(size=(64, 3)) @ DRAW.normal(size=(3, 12))
    x = jnp.asarray(strong + 0.3 * DRAW.normal(size=(64, 12)), jnp.float32)
    start = {"encoder": array(DRAW, 12, 3), "decoder": array(DRAW, 3, 12)}
    start = {**jax.tree.map(lambda a: 0.1 * a, start), "bias": jnp.zeros(3)}

    def trained(optimizer=DECAYING, frozen=()):
        step = apical.train_step(loss_fn, Recirculation(), optimizer, input_argnums=0)
        params, state = start, step.init(KEY, start, x)
        once = jax.jit(step)
        for _ in range(600):
            moved, state, credit = once(params, state, x)
            params = {**moved, **{name: start[name] for name in frozen}}
        return params, float(credit.value)

    params, loss = trained()
    _, untrained = trained(frozen=("encoder", "bias"))
    _, scaled = trained(optax.adam(0.01))
    assert loss < 0.4 * untrained
    assert loss < 0.4 * scaled  # with scaled entries the weights do not align

    def alike(p):
        return cosine(p["encoder"], p["decoder"].T)

    assert alike(params) > alike(start) + 0.3


def test_signals_are_the_two_rounds():
    (signal,) = (
        apical.value_and_grad(loss_fn, Recirculation(0.6), input_argnums=0)
        .signals(W, (), X)
        .values()
    )
    expected = by_hand(W, 0.6)
    assert_close(jnp.sum(signal.teaching, axis=0), expected["bias"])
    assert_close(signal.teaching, (signal.value - signal.prediction) / 0.4 / 6)


REFUSED = {
    "regression": (lambda: Recirculation(1.0), "below 1"),
    "input_argnums": (
        lambda: apical.value_and_grad(loss_fn, Recirculation()).init(KEY, W, X),
        "pass `input_argnums=`",
    ),
    "shape": (
        lambda: found(
            Recirculation(),
            W,
            lambda w, x: jnp.mean(jnp.tanh(x @ w["encoder"]) @ w["decoder"][:, :2]),
        ),
        "output's shape",
    ),
    "reduction": (
        lambda: found(Recirculation(), W, lambda w, x: len(x) * loss_fn(w, x)),
        "mean",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_networks_are_refused(name):
    make, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        make()


def test_the_rule_keeps_the_laws():
    # The decoder learns from the first round and the encoder from the second, on an
    # input that is moved: with the nodes held once, no pull-back gives both.
    given = {"loss_fn": loss_fn, "params": W, "args": (X,), "input_argnums": 0}
    check_on(Recirculation(), **given, skip=("pull",))
    with pytest.raises(AssertionError, match="breaks the law 'pull'"):
        check_on(Recirculation(), **given, skip=set(LAWS) - {"pull"})


def test_the_state_is_empty():
    assert_same(found(Recirculation()).state, ())
