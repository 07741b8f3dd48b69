"""Kolen-Pollack: the difference of forward and feedback weights decays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import (
    assert_close,
    assert_same,
    backward,
    batch,
    distance,
    layers,
    loss_fn,
    weights,
)
from support.learning_angle import losses_and_cosines

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
    """The differences of weights and feedback, above the first layer."""
    pairs = zip(weights(params)[1:], weights(state.rule.feedback)[1:], strict=True)
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


def test_at_the_rate_0_nothing_decays_and_biases_have_no_feedback():
    step, state = start(KolenPollack(decay=0.5), optax.sgd(0.0))
    params, after, _ = step(PARAMS, state, *DATA)
    for now, before, copy in zip(params, PARAMS, after.rule.feedback, strict=True):
        np.testing.assert_array_equal(now["b"], before["b"])
        np.testing.assert_array_equal(now["w"], before["w"])
        assert copy["b"] is None


def test_two_layers_by_hand():
    """W <- (1 - decay) W - rate dW, and B likewise, with dW through B."""
    rate, decay = 0.1, 0.02
    step, state = start(KolenPollack(decay), optax.sgd(rate))
    params, w = PARAMS, jax.tree.map(np.asarray, PARAMS)
    copies = [w[0]["w"], np.asarray(state.rule.feedback[1]["w"])]
    for _ in range(5):
        params, state, credit = step(params, state, *DATA)
        grads, _ = backward(w, copies, *DATA)
        assert_close(credit.grads, grads)
        for i, (layer, grad) in enumerate(zip(w, grads, strict=True)):
            copies[i] = (1 - decay) * copies[i] - rate * grad["w"]
            kept = (1 - decay * i) * layer["w"]  # none in the layer that meets data
            w[i] = {"w": kept - rate * grad["w"], "b": layer["b"] - rate * grad["b"]}
    assert_close(params, w)
    assert state.rule.feedback[0]["w"] is None
    assert_close(state.rule.feedback[1]["w"], copies[1])
    exact, _ = backward(PARAMS, weights(PARAMS), *DATA)
    drawn = start(KolenPollack(), optax.sgd(rate))[1].rule.feedback[1]["w"]
    first, _ = backward(PARAMS, [PARAMS[0]["w"], drawn], *DATA)
    assert distance(first[0], exact[0]) > 0.3


def test_the_angle_to_backpropagation_falls_only_where_weights_decay():
    run = jax.jit(lambda decay: losses_and_cosines(KolenPollack(decay), 100))
    cosines = {}
    for decay in (0.02, 0.0):
        losses, (before, cosines[decay]) = run(decay)
        assert before < 0.5
        assert losses[-1] < 0.3 * losses[0]
    assert cosines[0.02] > 0.95
    assert cosines[0.0] < 0.7


def test_many_decays_at_once_equal_one_after_the_other():
    _, state = start(KolenPollack(), optax.sgd(0.1))

    def after(decay):
        trainer = apical.train_step(loss_fn, KolenPollack(decay), optax.sgd(0.1))
        return trainer(PARAMS, state, *DATA)[1].rule.feedback[1]["w"]

    decays = jnp.array([0.1, 0.3])
    together = jax.jit(jax.vmap(after))(decays)
    for one, decay in zip(together, decays, strict=True):
        assert_close(one, jax.jit(after)(decay))
    assert distance(together[0], together[1]) > 0.1


# ------------------------------------------- the decay belongs to the applied update

DEEP = layers(5, 7, 6, 3)


def frozen(learning):
    """`learning`, and the weight of the second layer frozen."""
    labels = [{"w": "still" if i == 1 else "on", "b": "on"} for i in range(3)]
    return optax.multi_transform({"on": learning, "still": optax.set_to_zero()}, labels)


def columns_frozen():
    """Plain steps, and half of the entries of each weight frozen."""
    masks = jax.tree.map(lambda p: jnp.arange(p.shape[-1]) % 2.0, DEEP)
    return optax.chain(
        optax.sgd(0.05),
        optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, masks)),
    )


def warm_up(count):
    return jnp.where(count < 3, 0.0, 0.05)


# The optimiser, and for each of six steps whether its update is applied.
ON, OFF = True, False
APPLIED = {
    "sgd": (optax.sgd(0.05), [ON] * 6),
    "adam": (optax.adam(0.01), [ON] * 6),
    "clipped": (optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(1.0)), [ON] * 6),
    "multi_steps": (optax.MultiSteps(optax.adam(0.01), 3), [OFF, OFF, ON] * 2),
    "apply_every": (
        optax.chain(optax.sgd(0.05), optax.apply_every(2)),
        [OFF, ON] * 3,
    ),
    "warm_up": (optax.sgd(warm_up), [OFF] * 3 + [ON] * 3),
    "warm_up of adam": (optax.adam(warm_up), [OFF] * 3 + [ON] * 3),
    "inject_hyperparams": (
        optax.inject_hyperparams(optax.sgd)(learning_rate=warm_up),
        [OFF] * 3 + [ON] * 3,
    ),
    "masked": (
        optax.chain(
            optax.sgd(0.05),
            optax.masked(
                optax.set_to_zero(), [{"w": i == 1, "b": True} for i in range(3)]
            ),
        ),
        [ON] * 6,
    ),
    "multi_transform": (frozen(optax.sgd(0.05)), [ON] * 6),
    "frozen under multi_steps": (
        optax.MultiSteps(frozen(optax.adam(0.01)), 2),
        [OFF, ON] * 3,
    ),
    "partition": (
        optax.partition(
            {"on": optax.sgd(0.05), "off": optax.set_to_zero()},
            [{"w": "off" if i == 1 else "on", "b": "off"} for i in range(3)],
        ),
        [ON] * 6,
    ),
    "columns": (columns_frozen(), [ON] * 6),
}
STILL = {"masked", "multi_transform", "frozen under multi_steps", "partition"}


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", APPLIED)
def test_the_difference_decays_with_applied_updates_and_not_where_frozen(name):
    optimizer, applied = APPLIED[name]
    decay = 0.1
    step, state = start(KolenPollack(decay), optimizer, DEEP)
    moves = np.ones(7) if name != "columns" else np.arange(7) % 2
    params, first, times = DEEP, gaps(DEEP, state), 0
    copies = weights(state.rule.feedback)
    for on in applied:
        before = params
        params, state, _ = step(params, state, *DATA)
        times += on
        for i, (gap, at_first) in enumerate(
            zip(gaps(params, state), first, strict=True)
        ):
            still = i == 0 and name in STILL
            there = moves[: gap.shape[1]] * (not still)
            left = np.where(there, (1 - decay) ** times, 1)
            np.testing.assert_allclose(gap, left * at_first, rtol=1e-4, atol=1e-5)
        if not on:
            assert_same(params, before)
    if name in STILL:
        np.testing.assert_array_equal(params[1]["w"], DEEP[1]["w"])
        np.testing.assert_array_equal(state.rule.feedback[1]["w"], copies[1])
    if name == "columns":
        for now, before in zip(weights(params), weights(DEEP), strict=True):
            np.testing.assert_array_equal(now[:, ::2], before[:, ::2])
    assert distance(params[2]["w"], DEEP[2]["w"]) > 0.1


def test_a_step_that_is_not_finite_changes_nothing():
    step, state = start(KolenPollack(0.1), optax.apply_if_finite(optax.sgd(0.1), 9))
    wrong = DATA[0].at[0, 0].set(jnp.nan), DATA[1]
    params, after, _ = step(PARAMS, state, *wrong)
    assert_same((params, after.rule), (PARAMS, state.rule))
    params, after, _ = step(params, after, *DATA)
    for now, before in zip(gaps(params, after), gaps(PARAMS, state), strict=True):
        assert_close(now, 0.9 * before)


def test_weights_of_inactive_units_decay_like_the_others():
    """A gradient that happens to be 0 is an update like any other."""

    def silent(params, x, y):
        h = jax.nn.relu(x @ params["a"] - 100 * (jnp.arange(6) < 3))
        return jnp.mean((h @ params["b"] - y) ** 2)

    params = {"a": layers(5, 6)[0]["w"], "b": layers(6, 3)[0]["w"]}
    trainer = apical.train_step(silent, KolenPollack(0.1), optax.sgd(0.1))
    state = trainer.init(KEY, params, *DATA)
    after, later, credit = trainer(params, state, *DATA)
    assert not np.any(credit.grads["b"][:3]) and np.any(credit.grads["b"][3:])
    before, now = (
        p["b"] - s.rule.feedback["b"] for p, s in ((params, state), (after, later))
    )
    assert_close(now, 0.9 * before)


def test_unused_weights_and_weights_of_the_input_do_not_decay():
    def part(params, x, y):
        h = jnp.tanh(x @ params["a"])
        _ = h @ params["unused"]
        return jnp.mean((h @ params["b"] - y) ** 2)

    params = {"a": jnp.ones((5, 6)), "b": jnp.ones((6, 3)), "unused": jnp.ones((6, 2))}
    trainer = apical.train_step(part, KolenPollack(0.5), optax.sgd(1e-6))
    state = trainer.init(KEY, params, *DATA)
    after, _, _ = trainer(params, state, *DATA)
    assert state.rule.feedback["a"] is state.rule.feedback["unused"] is None
    np.testing.assert_allclose(after["a"], 1, atol=1e-3)
    np.testing.assert_array_equal(after["unused"], 1)
    np.testing.assert_allclose(after["b"], 0.5, atol=1e-3)


def test_a_network_without_hidden_layers_has_nothing_to_decay():
    params = layers(5, 3)
    step, state = start(KolenPollack(0.5), optax.sgd(0.1), params)
    params, _, credit = step(params, state, *DATA)
    assert_close(credit.grads, jax.grad(loss_fn)(layers(5, 3), *DATA))
    assert distance(params[0]["w"], layers(5, 3)[0]["w"]) < 0.3


# -------------------------------------------------------------------- the refusals


def test_gradients_alone_are_refused():
    with pytest.raises(ValueError, match=r"KolenPollack .* `apical.train_step\("):
        apical.value_and_grad(loss_fn, KolenPollack())(PARAMS, (), *DATA)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adamw(0.01, weight_decay=0.1),
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)),
        apical.optim.batch_manhattan(0.1, weight_decay=0.1),
    ],
    ids=["adamw", "add_decayed_weights", "batch_manhattan"],
)
def test_an_optimizer_with_weight_decay_is_refused(optimizer):
    trainer = apical.train_step(loss_fn, KolenPollack(), optimizer)
    with pytest.raises(ValueError, match=r"`optimizer` without weight decay"):
        trainer.init(KEY, PARAMS, *DATA)


def test_a_traced_step_size_is_refused_in_init_and_taken_by_the_step():
    def begun(rate):
        return apical.train_step(loss_fn, KolenPollack(), optax.sgd(rate)).init(
            KEY, PARAMS, *DATA
        )

    def moved(rate):
        step = apical.train_step(loss_fn, KolenPollack(), optax.sgd(rate))
        return step(PARAMS, begun(0.1), *DATA)[0]

    with pytest.raises(ValueError, match="number of the optimiser is traced"):
        jax.jit(begun)(0.1)
    rates = jnp.array([0.1, 0.2])
    for i, leaf in enumerate(jax.tree.leaves(jax.vmap(moved)(rates))):
        expected = [jax.tree.leaves(moved(rate))[i] for rate in (0.1, 0.2)]
        np.testing.assert_allclose(leaf, expected, rtol=1e-5)


def test_a_decay_outside_0_and_1_is_refused():
    with pytest.raises(ValueError, match="`decay` is a fraction between 0 and 1"):
        KolenPollack(decay=-0.1)
