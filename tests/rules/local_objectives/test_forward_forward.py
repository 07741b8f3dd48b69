"""Forward-forward: goodness of positive and negative data, and no signal from above."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import assert_close, distance, layers, loss_fn
from support.check_on import check_on
from support.local_objectives import (
    KEY,
    PARAMS,
    ZOO,
    X,
    assert_first_layer_ignores_the_layers_above,
    assert_no_gradient_from_above,
    called,
    layer,
    pulled,
    readout,
    second,
)

import apical
from apical.rules import ForwardForward
from apical.rules.local_objectives._positive_negative_examples import (
    over_first_entries,
    wrong_labels,
)

# Two classes: the wrong one is known.
Y = np.eye(2)[[0, 1, 1, 0]].astype(np.float32)
DATA = jnp.asarray(X), jnp.asarray(Y)
SUM, MEAN = ForwardForward(), ForwardForward(threshold=0.3, goodness="mean")


def with_label(label):
    """The input with a label in its first two entries, as large as its largest."""
    size = np.abs(X).max(axis=1, keepdims=True)
    return np.concatenate([size * label, X[:, 2:]], axis=1)


def test_an_empty_example_has_a_label_of_its_own():
    """Of size 1 if all entries of the example are 0."""
    x = jnp.asarray(X).at[1].set(0)
    found = over_first_entries(x, jnp.asarray(Y))
    assert_close(found[1], np.concatenate([Y[1], np.zeros(X.shape[1] - 2)]))
    assert_close(found[0], with_label(Y)[0])


def normalised(value):
    return value / np.sqrt((value**2).mean(axis=1, keepdims=True))


def by_hand(theta, mean, right=None, wrong=None, none=None):
    """The gradients of two layers and of the read-out."""
    reads = [with_label(Y) if right is None else right]
    reads += [with_label(1 - Y) if wrong is None else wrong]
    grads = []
    for index in (0, 1):
        values, pairs = [layer(index, x) for x in reads], []
        for x, value, sign in zip(reads, values, (-1, 1), strict=True):
            units = value.shape[1]
            share = 1 / units if mean else 1.0
            over = share * (value**2).sum(axis=1) - theta * (1 if mean else units)
            slope = sign / (1 + np.exp(-sign * over)) / len(x)  # of the softplus
            pairs.append((x, value, slope[:, None] * 2 * share * value))
        grads.append(pulled(pairs))
        reads = [normalised(value) for value in values]
    read = with_label(np.full_like(Y, 0.5)) if none is None else none
    for index in (0, 1):
        read = normalised(layer(index, read))
    return [*grads, readout(read, Y)]


@pytest.mark.parametrize(
    ("rule", "theta", "mean"), [(ForwardForward(0.4), 0.4, False), (MEAN, 0.3, True)]
)
def test_two_layers_by_hand(rule, theta, mean):
    _, credit = called(rule, data=DATA)
    assert_close(credit.grads, by_hand(theta, mean))
    swapped = by_hand(theta, mean, with_label(1 - Y), with_label(Y))
    assert distance(swapped[:2], credit.grads[:2]) > 0.1
    assert distance(by_hand(3 * theta, mean)[:2], credit.grads[:2]) > 0.1
    assert_close(credit.value, loss_fn(PARAMS, *DATA))


def test_functions_of_the_user_make_positive_and_negative_data():
    def turned(key, x, y):
        return x[:, ::-1], y

    rule = ForwardForward(1.0, positive=lambda key, *args: args, negative=turned)
    state, credit = called(rule, data=DATA, input_argnums=None, target=None)
    assert_close(credit.grads, by_hand(1.0, False, X, X[:, ::-1], X))
    learner = apical.value_and_grad(loss_fn, rule)
    read = normalised(layer(1, normalised(layer(0, X))))
    expected = read @ np.asarray(PARAMS[2]["w"]) + np.asarray(PARAMS[2]["b"])
    assert_close(learner.predict(PARAMS, state, *DATA), expected)


def test_prediction_is_the_goodness_of_each_class_above_the_first_layer():
    learner = apical.value_and_grad(loss_fn, SUM, target=second, input_argnums=0)
    state = learner.init(KEY, PARAMS, *DATA)
    found = jax.jit(learner.predict)(PARAMS, state, *DATA)
    goodness, first = [], []
    for label in np.eye(2):
        one = layer(0, with_label(np.broadcast_to(label, Y.shape)))
        first.append((one**2).sum(axis=1))
        goodness.append((layer(1, normalised(one)) ** 2).sum(axis=1))
    assert_close(found, np.stack(goodness, axis=1))
    assert distance(np.stack(first, axis=1), found) > 0.1
    # The prediction does not depend on the labels.
    assert_close(learner.predict(PARAMS, state, DATA[0], 1 - DATA[1]), found)


def test_other_weights_above_leave_an_update_the_same_bit_for_bit():
    assert_first_layer_ignores_the_layers_above(SUM, DATA)


def test_the_next_layer_does_not_depend_on_the_size_of_an_activity():
    """A first layer five times as large, in a rectified net without a bias."""

    def rectified(params, x, y):
        for each in params[:-1]:
            x = jax.nn.relu(x @ each["w"])
        return jnp.mean((x @ params[-1]["w"] - y) ** 2)

    larger = [{**PARAMS[0], "w": 5 * PARAMS[0]["w"]}, *PARAMS[1:]]
    state, small = called(SUM, loss_fn=rectified, data=DATA)
    _, large = called(SUM, larger, rectified, DATA, state)
    assert_close(large.grads[1]["w"], small.grads[1]["w"], rtol=1e-3)
    assert distance(large.grads[0]["w"], small.grads[0]["w"]) > 0.1


def test_wrong_labels_are_uniform_over_the_other_classes():
    target = jnp.tile(jnp.eye(3), (200, 1))
    found = wrong_labels(KEY, target)
    assert not np.any(np.sum(found * target, axis=1))
    counts = np.asarray(target.T @ found)
    np.testing.assert_allclose(counts[~np.eye(3, dtype=bool)], 100, atol=25)


def test_wrong_labels_are_drawn_anew_at_every_call():
    params, labels = layers(5, 7, 6, 4), jnp.eye(4)
    learner = apical.value_and_grad(loss_fn, SUM, target=second, input_argnums=0)
    state = learner.init(KEY, params, X, labels)
    first = learner(params, state, X, labels)
    again = learner(params, first.state, X, labels)
    assert distance(again.grads[0], first.grads[0]) > 1e-3


def negated(key, *args):
    """Every array of rank two or more turned round, but the last argument."""
    del key
    turn = lambda x: -x if getattr(x, "ndim", 0) > 1 else x  # noqa: E731
    return (*jax.tree.map(turn, args[:-1]), args[-1])


@pytest.mark.parametrize("name", ZOO)
def test_no_gradient_crosses_a_layer_on_other_models(name):
    rule = ForwardForward(positive=lambda key, *args: args, negative=negated)
    assert_no_gradient_from_above(name, rule)


def test_a_step_of_a_loop_reads_the_step_before_normalised():
    """Two turns of a recurrence, written out."""

    def loop(params, x, y):
        def step(h, x):
            return jnp.tanh(h @ params["u"] + x @ params["in"]), None

        h, _ = jax.lax.scan(step, jnp.zeros((x.shape[1], 3)), x)
        return jnp.mean((h @ params["out"] - y) ** 2)

    draw = np.random.default_rng(3)
    shapes = {"u": (3, 3), "in": (2, 3), "out": (3, 2)}
    params = {n: jnp.asarray(draw.normal(size=s), float) for n, s in shapes.items()}
    x = jnp.asarray(draw.normal(size=(2, 4, 2)), float)
    rule = ForwardForward(
        1.0, positive=lambda key, *args: args, negative=lambda key, x, y: (-x, y)
    )
    given = {"batch_axes": (1, 0), "input_argnums": None, "target": None}
    _, found = called(rule, params, loop, (x, DATA[1]), **given)

    def objective(params):
        total = 0.0
        for sign in (1, -1):
            one = jnp.tanh(sign * x[0] @ params["in"])
            read = normalised(jax.lax.stop_gradient(one))
            two = jnp.tanh(read @ params["u"] + sign * x[1] @ params["in"])
            for value in (one, two):
                over = jnp.sum(value**2, axis=1) - 3
                total += jnp.mean(jax.nn.softplus(-sign * over))
        return total

    expected = jax.grad(objective)(params)
    for name in ("u", "in"):
        assert_close(found.grads[name], expected[name])


# ---------------------------------------------------------------------------- refusals


def refuses(words, rule=SUM, loss_fn=loss_fn, params=PARAMS, data=DATA, **keywords):
    given = {"target": second, "input_argnums": 0, **keywords}
    learner = apical.value_and_grad(loss_fn, rule, **given)
    with pytest.raises(ValueError, match=words):
        learner.init(KEY, params, *data)


def test_missing_requirements_are_named():
    refuses("pass `input_argnums=`", input_argnums=None)
    refuses("pass `target=`", target=None)
    refuses("`input_argnums` names 2", input_argnums=(0, 1))
    small = {"params": layers(2, 4, 2), "data": (DATA[0][:, :2], DATA[1])}
    refuses("has 2 of them for 2 classes", **small)
    single = {"params": layers(5, 4, 1), "data": (DATA[0], DATA[1][:, :1])}
    refuses(r"`target` has shape \(4, 1\).*Pass `positive`", **single)
    refuses("must be a class.* a regression has none", **single)
    refuses("No node was found", params=layers(5, 2))
    named = {"data": ({"x": DATA[0]}, DATA[1]), "batch_axes": ({"x": 0}, 0)}

    def of_dict(params, x, y):
        return loss_fn(params, x["x"], y)

    refuses("is {'x': 0} for it: pass an integer", loss_fn=of_dict, **named)
    named["batch_axes"] = 0
    refuses("argument 0 is not.*Pass `overlay`", loss_fn=of_dict, **named)


def test_pairs_that_do_not_fit_are_refused():
    def pairs(negative):
        return ForwardForward(positive=lambda key, *args: args, negative=negative)

    refuses("`negative` must return a tuple of the 2", pairs(lambda key, x, y: x))
    refuses("not 1 of them", pairs(lambda key, x, y: (x,)))
    refuses("do not fit those it was given", pairs(lambda key, x, y: (x[:2], y)))


def test_a_node_that_all_examples_share_is_refused():
    def loss_fn(params, x, y, shared):
        gate = jnp.tanh(jnp.tanh(shared @ params["a"]) @ params["b"])
        return jnp.mean(((jnp.tanh(x @ params["a"]) * gate) @ params["c"] - y) ** 2)

    params = {"a": jnp.ones((5, 4)), "b": jnp.ones((4, 4)), "c": jnp.ones((4, 2))}
    data = *DATA, jnp.ones(5)
    given = {"target": lambda x, y, shared: y, "batch_axes": (0, 0, None)}
    refuses("has no axis of examples", SUM, loss_fn, params, data, **given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"threshold": 0.0}, "`threshold` must be a finite number above 0"),
        ({"goodness": "max"}, "`goodness` must be one of"),
        ({"positive": 1, "negative": 2}, "`positive` must be a function"),
        ({"positive": lambda key, x: x}, "Pass both `positive` and `negative`"),
    ],
)
def test_invalid_settings_are_refused(given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        ForwardForward(**given)


def test_the_rule_keeps_the_laws():
    """Three passes are not one local product; with two classes nothing is drawn."""
    given = {"loss_fn": loss_fn, "params": PARAMS, "args": DATA, "target": second}
    check_on(SUM, **given, input_argnums=0, skip=("pull",))


def test_targets_that_are_not_classes_are_refused():
    with pytest.raises(ValueError, match="a row of `target` is not a class"):
        called(SUM, data=(DATA[0], 2 * DATA[1] - 1))


def test_functions_that_do_not_take_a_key_are_refused():
    rule = ForwardForward(positive=lambda x, y: (x, y), negative=lambda x, y: (x, y))
    with pytest.raises(TypeError, match="`positive` cannot be called with a key and"):
        called(rule, data=DATA)
