"""Players that oppose each other, and derivatives that a unit's response ignores."""

import jax
import jax.numpy as jnp
import optax
import pytest
from support.by_hand import cosine

import apical
from apical.rules import (
    ContrastiveHebbian,
    DualPropagation,
    EquilibriumPropagation,
    FeedbackAlignment,
    PredictiveCoding,
)

KEYS = jax.random.split(jax.random.key(0), 8)
SHAPES = {
    "generator": {"a": (3, 6), "b": (6, 4)},
    "discriminator": {"a": (4, 5), "b": (5, 1)},
}
PARAMS = {
    player: {
        name: jax.random.normal(jax.random.fold_in(KEYS[i], j), shape) / shape[0] ** 0.5
        for j, (name, shape) in enumerate(shapes.items())
    }
    for i, (player, shapes) in enumerate(SHAPES.items())
}
REAL = jax.random.normal(KEYS[4], (7, 4))
NOISE = jax.random.normal(KEYS[5], (7, 3))
ARGS = REAL, NOISE
WEAK = EquilibriumPropagation(0.01, gain=0.01)


@jax.custom_vjp
def reverse(x):
    return x


reverse.defvjp(lambda x: (x, None), lambda _, g: (-g,))


@jax.custom_jvp
def step(z):
    return (z > 0).astype(z.dtype)


step.defjvp(lambda z, dz: (step(z[0]), dz[0] / (1 + z[0] ** 2)))


@jax.custom_jvp
def written_tanh(z):
    return jnp.tanh(z)


written_tanh.defjvp(lambda z, dz: (jnp.tanh(z[0]), (1 - jnp.tanh(z[0]) ** 2) * dz[0]))


def generated(p, z):
    return jnp.tanh(jnp.tanh(z @ p["a"]) @ p["b"])


def judged(p, real, fake):
    """The loss of the discriminator."""

    def logits(x):
        return (jnp.tanh(x @ p["a"]) @ p["b"])[:, 0]

    bce = optax.sigmoid_binary_cross_entropy
    return jnp.mean(bce(logits(real), jnp.ones(7)) + bce(logits(fake), jnp.zeros(7)))


def reversed_game(p, real, z):
    """One term; the generator ascends it by a reversed gradient."""
    fake = reverse(generated(p["generator"], z))
    return judged(p["discriminator"], real, fake)


def game_of_two_terms(p, real, z):
    """One term for each player, with the other's parameters and values held."""
    stop, fake = jax.lax.stop_gradient, generated(p["generator"], z)
    descends = judged(p["discriminator"], real, stop(fake))
    return descends - judged(stop(p["discriminator"]), real, fake)


@pytest.mark.parametrize("rule", [WEAK, DualPropagation()])
def test_a_reversed_gradient_within_a_unit_is_refused(rule):
    learner = apical.value_and_grad(reversed_game, rule)
    words = r"`custom_vjp.*would have no effect at the unit .*stop_gradient"
    with pytest.raises(ValueError, match=words):
        learner.init(KEYS[6], PARAMS, *ARGS)
    with pytest.raises(ValueError, match=words):  # numbers are traced
        jax.jit(lambda p: learner.init(KEYS[6], p, *ARGS))(PARAMS)


@pytest.mark.parametrize("rule", [WEAK, DualPropagation()])
def test_players_in_two_terms_oppose_each_other_as_by_backpropagation(rule):
    def one_for_all(p, real, z):
        return judged(p["discriminator"], real, generated(p["generator"], z))

    learner = apical.value_and_grad(game_of_two_terms, rule)
    with jax.enable_x64(True):
        params, args = jax.tree.map(lambda v: v.astype(float), (PARAMS, ARGS))
        state = learner.init(KEYS[6], params, *args)
        credit = jax.jit(learner)(params, state, *args)
        true = jax.grad(game_of_two_terms)(params, *args)
        same, together = (
            jax.grad(f)(params, *args) for f in (reversed_game, one_for_all)
        )
        # What one player gains the other loses.
        assert abs(float(credit.value)) < 1e-6
        for player in SHAPES:
            assert cosine(credit.grads[player], true[player]) > 0.999
            assert cosine(same[player], true[player]) > 0.999
        assert cosine(together["generator"], true["generator"]) < -0.999


def with_units(unit):
    def loss_fn(p, x):
        return jnp.mean((unit(x @ p["a"]) @ p["b"] - x[:, :1]) ** 2)

    return loss_fn


@pytest.mark.parametrize(
    "unit", [lambda z: jnp.tanh(reverse(z)), lambda z: reverse(jnp.tanh(z))]
)
def test_a_reversal_before_or_after_the_nonlinearity_is_refused(unit):
    given = PARAMS["discriminator"], REAL
    for rule in (WEAK, ContrastiveHebbian()):
        learner = apical.value_and_grad(
            with_units(unit), rule, target=lambda x: x[:, :1]
        )
        with pytest.raises(ValueError, match="takes no derivative of a unit"):
            learner.init(KEYS[6], *given)
    for rule in (FeedbackAlignment(), PredictiveCoding()):
        apical.value_and_grad(with_units(unit), rule).init(KEYS[6], *given)


@pytest.mark.parametrize("unit", [jax.nn.relu, step, written_tanh])
def test_a_derivative_that_is_written_but_not_reversed_is_accepted(unit):
    learner = apical.value_and_grad(with_units(unit), WEAK)
    learner.init(KEYS[6], PARAMS["discriminator"], REAL)


def test_a_layer_that_no_signal_passes_is_reported():
    """Large weights: generator and discriminator drive each other into saturation."""
    learner = apical.value_and_grad(game_of_two_terms, EquilibriumPropagation())
    call = jax.jit(learner)

    def at(scale):
        params = jax.tree.map(lambda w: scale * w, PARAMS)
        credit = call(params, (), *ARGS)
        true = jax.grad(game_of_two_terms)(params, *ARGS)
        sizes = [jnp.linalg.norm(g["generator"]["b"]) for g in (credit.grads, true)]
        return credit.info, float(sizes[0] / sizes[1])

    info, share = at(20.0)
    assert jnp.all(info.settled) and share < 1e-3
    assert all(0.7 < each <= 1 for each in info.unresponsive.values())
    info, share = at(0.5)
    assert share > 0.1
    assert all(each == 0 for each in info.unresponsive.values())
