"""CLAPP: each layer predicts its next activity, and no signal comes from above."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, distance, loss_fn
from support.check_on import check_on
from support.local_objectives import (
    DATA,
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
)

import apical
from apical.rules import CLAPP

NEXT, OTHER = X + 0.3, X[::-1] - 0.2


def following(key, x, y):
    return x + 0.3, y


def elsewhere(key, x, y):
    return x[::-1] - 0.2, y


PAIRS = CLAPP(following, elsewhere, optax.sgd(0.5))


def by_hand(matrices):
    """The gradients of two layers and of their predictions, margin by margin."""
    reads, grads, by_matrix, kept = [X, NEXT, OTHER], [], {}, []
    for index, name in enumerate("01"):
        c, after, other = values = [layer(index, x) for x in reads]
        w = matrices[name]
        predicted = c @ w.T
        right = ((after * predicted).sum(axis=1) < 1)[:, None] / len(X)
        wrong = ((other * predicted).sum(axis=1) > -1)[:, None] / len(X)
        slopes = [
            (wrong * other - right * after) @ w,
            -right * predicted,
            wrong * predicted,
        ]
        grads.append(pulled(list(zip(reads, values, slopes, strict=True))))
        by_matrix[name] = (wrong * other - right * after).T @ c
        kept += [np.mean(right == 0), np.mean(wrong == 0)]
        reads = values
    return [*grads, readout(layer(1, layer(0, X)))], by_matrix, kept


def test_two_layers_by_hand():
    state, _ = called(PAIRS)
    weights = jax.tree.map(lambda w: 4 * w, state.predictions.weights)
    state = state._replace(predictions=state.predictions._replace(weights=weights))
    _, credit = called(PAIRS, state=state)
    matrices = {n: np.asarray(w["prediction"]) for n, w in weights.items()}
    expected, by_matrix, kept = by_hand(matrices)
    assert 0 < np.mean(kept) < 1  # some margins are satisfied, and some are not
    assert_close(credit.grads, expected)
    for name, matrix in matrices.items():
        moved = credit.state.predictions.weights[name]["prediction"]
        assert_close(moved, matrix - 0.5 * by_matrix[name])
        other, _, _ = by_hand({**matrices, name: -matrix})
        assert distance(other[int(name)], expected[int(name)]) > 0.5
    assert_close(credit.value, loss_fn(PARAMS, *DATA))


def test_other_weights_above_leave_an_update_the_same_bit_for_bit():
    assert_first_layer_ignores_the_layers_above(PAIRS)


def test_the_default_negative_is_the_positive_of_another_example():
    """In a batch of two there is one other example."""
    pair = tuple(jnp.asarray(part[:2]) for part in DATA)
    by_default = called(CLAPP(following), data=pair)[1].grads
    swapped = CLAPP(following, lambda key, x, y: (x[::-1] + 0.3, y))
    assert_close(by_default, called(swapped, data=pair)[1].grads)
    same = CLAPP(following, lambda key, x, y: (x + 0.3, y))
    assert distance(called(same, data=pair)[1].grads[0], by_default[0]) > 0.1


def test_pairs_may_be_drawn_anew_at_every_call():
    def noisy(key, x, y):
        return x + jax.random.normal(key, x.shape), y

    rule = CLAPP(noisy, elsewhere)
    state, first = called(rule)
    _, again = called(rule, state=state._replace(key=first.state.key))
    assert distance(again.grads[0], first.grads[0]) > 0.01
    assert_close(again.grads[2], first.grads[2])


def test_with_a_summed_loss_updates_are_larger_and_predictions_the_same():
    def total(params, x, y):
        return len(x) * loss_fn(params, x, y)

    state, mean = called(PAIRS)
    _, whole = called(PAIRS, loss_fn=total, state=state, reduction="sum")
    assert_close(whole.grads, jax.tree.map(lambda g: 4 * g, mean.grads))
    assert_close(whole.state.predictions, mean.state.predictions)


def nearly(key, *args):
    """Every array of rank two or more a little larger, but the last argument."""
    del key
    grow = lambda x: 1.1 * x if getattr(x, "ndim", 0) > 1 else x  # noqa: E731
    return (*jax.tree.map(grow, args[:-1]), args[-1])


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", ZOO)
def test_no_gradient_crosses_a_layer_on_other_models(name):
    assert_no_gradient_from_above(name, CLAPP(nearly))


def test_it_learns_to_separate_positive_from_negative_pairs():
    """Without a label, on groups of points: two views of one, and of another."""
    draw = np.random.default_rng(0)
    group = np.arange(48) % 6
    centres = draw.normal(size=(6, 5))
    views = [centres[group] + 0.3 * draw.normal(size=(48, 5)) for _ in range(2)]
    x, other = (jnp.asarray(v, float) for v in views)
    y = jnp.zeros((48, 2))
    away = jnp.roll(other, 1, axis=0)
    rule = CLAPP(lambda key, x, y: (other, y), lambda key, x, y: (away, y))
    step = apical.train_step(loss_fn, rule, optax.adam(0.01))
    carry = PARAMS, step.init(KEY, PARAMS, x, y)

    def update(carry, _):
        params, state, credit = step(*carry, x, y)
        return (params, state), jnp.stack(jax.tree.leaves(credit.info))

    objectives = jax.jit(lambda c: jax.lax.scan(update, c, length=150)[1])(carry)
    assert np.all(objectives[-1] < 0.4 * objectives[0])


# ---------------------------------------------------------------------------- refusals


def test_missing_requirements_are_named():
    def refuses(words, rule, data=DATA):
        with pytest.raises(ValueError, match=words):
            apical.value_and_grad(loss_fn, rule).init(KEY, PARAMS, *data)

    refuses("pass `positive`", CLAPP())
    refuses("there is only one", CLAPP(following), tuple(d[:1] for d in DATA))
    refuses("`positive` must return a tuple", CLAPP(lambda key, x, y: x))
    refuses("do not fit", CLAPP(following, lambda key, x, y: (x.T, y)))
    with pytest.raises(TypeError, match="`negative` must be a function"):
        CLAPP(following, 1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="`optimizer` must be an optax"):
        CLAPP(following, optimizer=0.1)  # pyright: ignore[reportArgumentType]


def test_the_rule_keeps_the_laws():
    """Three passes are not one local product."""
    given = {"loss_fn": loss_fn, "params": PARAMS, "args": DATA}
    check_on(PAIRS, **given, skip=("pull", "batch"))
