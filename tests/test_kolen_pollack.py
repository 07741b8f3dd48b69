"""Kolen-Pollack: what the forward weights and their feedback differ by decays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from by_hand import (
    assert_close,
    backward,
    batch,
    distance,
    layers,
    loss_fn,
    network,
    weights,
)

import apical
from apical.rules import KolenPollack

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 3), batch(4, 5, 3)
OPTIMIZERS = {
    "sgd": optax.sgd(0.05),
    "momentum": optax.sgd(0.02, momentum=0.9),
    "adam": optax.adam(0.01),
}


def start(rule, optimizer, params=PARAMS, data=DATA):
    trainer = apical.train_step(loss_fn, rule, optimizer)
    return jax.jit(trainer), jax.jit(trainer.init)(KEY, params, *data)


def gaps(params, state):
    pairs = zip(weights(params), weights(state.rule), strict=True)
    return [np.asarray(w) - np.asarray(b) for w, b in pairs]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_difference_to_the_feedback_decays_at_every_update(name):
    step, state = start(KolenPollack(decay=0.05), OPTIMIZERS[name])
    params, first = PARAMS, gaps(PARAMS, state)
    for t in range(1, 31):
        params, state, _ = step(params, state, *DATA)
        for now, before in zip(gaps(params, state), first, strict=True):
            np.testing.assert_allclose(now, 0.95**t * before, rtol=1e-3, atol=1e-5)
    moved = [
        distance(a, b) for a, b in zip(weights(params), weights(PARAMS), strict=True)
    ]
    assert min(moved) > 0.2
    assert min(np.linalg.norm(each) for each in first) > 1


def test_biases_do_not_decay_and_have_no_feedback():
    step, state = start(KolenPollack(decay=0.5), optax.sgd(0.0))
    params, after, _ = step(PARAMS, state, *DATA)
    for now, before, copy in zip(params, PARAMS, after.rule, strict=True):
        np.testing.assert_array_equal(now["b"], before["b"])
        np.testing.assert_allclose(now["w"], 0.5 * before["w"], rtol=1e-6)
        assert copy["b"] is None


def test_two_layers_by_hand():
    """W <- (1 - decay) W - rate dW, and B likewise, with dW through B."""
    rate, decay = 0.1, 0.02
    step, state = start(KolenPollack(decay), optax.sgd(rate))
    params, w = PARAMS, jax.tree.map(np.asarray, PARAMS)
    copies = [np.asarray(b) for b in weights(state.rule)]
    for _ in range(5):
        params, state, credit = step(params, state, *DATA)
        grads, _ = backward(w, copies, *DATA)
        assert_close(credit.grads, grads)
        for i, (layer, grad) in enumerate(zip(w, grads, strict=True)):
            copies[i] = (1 - decay) * copies[i] - rate * grad["w"]
            kept = (1 - decay) * layer["w"]
            w[i] = {"w": kept - rate * grad["w"], "b": layer["b"] - rate * grad["b"]}
    assert_close(params, w)
    assert_close(weights(state.rule), copies)
    exact, _ = backward(PARAMS, weights(PARAMS), *DATA)
    first, _ = backward(
        PARAMS, weights(start(KolenPollack(), optax.sgd(rate))[1].rule), *DATA
    )
    assert distance(first[0], exact[0]) > 0.3


def test_the_angle_to_backpropagation_falls_only_where_weights_decay():
    params, (x, _) = layers(6, 12, 8, 3), batch(30, 6, 3)
    data = x, 3 * network(layers(6, 12, 8, 3, seed=5), x)

    @jax.jit
    def run(decay):
        rule = KolenPollack(decay)
        trainer = apical.train_step(loss_fn, rule, optax.sgd(0.05))
        measure = apical.measure.alignment(loss_fn, rule)

        def step(carry, _):
            params, state, credit = trainer(*carry, *data)
            return (params, state), credit.value

        start = params, trainer.init(KEY, params, *data)
        end, losses = jax.lax.scan(step, start, length=100)
        cosines = [measure(*each, *data).leaves["0.w"].cosine for each in (start, end)]
        return losses, cosines

    cosines = {}
    for decay in (0.02, 0.0):
        losses, (before, cosines[decay]) = run(decay)
        assert before < 0.5
        assert losses[-1] < 0.3 * losses[0]
    assert cosines[0.02] > 0.97
    assert cosines[0.0] < 0.7


def test_many_decays_at_once_equal_one_after_the_other():
    _, state = start(KolenPollack(), optax.sgd(0.1))

    def after(decay):
        trainer = apical.train_step(loss_fn, KolenPollack(decay), optax.sgd(0.1))
        return trainer(PARAMS, state, *DATA)[1].rule[0]["w"]

    decays = jnp.array([0.1, 0.3])
    together = jax.jit(jax.vmap(after))(decays)
    for one, decay in zip(together, decays, strict=True):
        assert_close(one, jax.jit(after)(decay))
    assert distance(together[0], together[1]) > 0.1


# -------------------------------------------------------------------- the refusals


def test_gradients_alone_are_refused():
    with pytest.raises(ValueError, match=r"KolenPollack .* `apical.train_step\("):
        apical.value_and_grad(loss_fn, KolenPollack())


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adamw(0.01, weight_decay=0.1),
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)),
        apical.optim.batch_manhattan(0.1, weight_decay=0.1),
    ],
    ids=["adamw", "add_decayed_weights", "batch_manhattan"],
)
def test_an_optimizer_with_a_decay_of_its_own_is_refused(optimizer):
    trainer = apical.train_step(loss_fn, KolenPollack(), optimizer)
    with pytest.raises(ValueError, match=r"`optimizer` without weight decay"):
        trainer.init(KEY, PARAMS, *DATA)


def test_a_decay_outside_0_and_1_is_refused():
    with pytest.raises(ValueError, match="`decay` is a fraction between 0 and 1"):
        KolenPollack(decay=-0.1)
