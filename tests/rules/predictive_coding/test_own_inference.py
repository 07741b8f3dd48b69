"""An inference scheme written by a user works, with its declarations."""

import functools
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import optax
import pytest
from support.by_hand import assert_close, batch, distance, layers, loss_fn
from support.predictive_coding_by_hand import (
    DATA,
    KEY,
    NAMES,
    PARAMS,
    credit_of,
    free,
    linear_equilibrium,
    linear_loss,
)

import apical
from apical.rules import AmortisedStart, PredictiveCoding, RandomFeedback
from apical.rules.tools import AbstractEnergy, AbstractInference, Reach, repeat

# ------------------------------------------------------------------------- inference


@dataclass(frozen=True)
class Newton(AbstractInference):
    """v <- v - H^-1 dE/dv, H = d2E/dv2."""

    needs = ("global error", "weight transport")
    citation = "@misc{newton}"
    default_rate = 0.7
    reaches_all_nodes = True

    def settle(self, energy, budget):
        def step(point):
            slope, hessian = jax.linearize(energy.slope, point)
            change, _ = jax.scipy.sparse.linalg.cg(hessian, slope, maxiter=60)
            return jax.tree.map(jnp.subtract, point, change)

        point = repeat(energy.circuit, step, energy.start, budget.steps)
        return energy.settled(point, energy.residual(point), budget.steps)


@dataclass(frozen=True)
class HeavyBall(AbstractInference):
    """u <- momentum u + dE/dv,  v <- v - rate u."""

    momentum: float = 0.5
    supports_free_arguments = True

    def settle(self, energy, budget):
        def step(state):
            point, velocity, t = state
            slope = energy.slope(point, t)
            velocity = jax.tree.map(lambda u, g: self.momentum * u + g, velocity, slope)
            move = functools.partial(jax.tree.map, lambda v, u: v - budget.rate * u)
            return move(point, velocity), velocity, t + 1

        still = jax.tree.map(jnp.zeros_like, energy.start)
        begin = (energy.start, still, jnp.zeros((), int))
        point, *_ = repeat(energy.circuit, step, begin, budget.steps)
        return energy.settled(point, energy.residual(point), budget.steps)


def test_a_users_inference_ends_at_the_solution_of_the_linear_system():
    with jax.enable_x64(True):
        params, data = layers(5, 7, 6, 3), batch(4, 5, 3)
        _, expected = linear_equilibrium(params, *data)
        credit = credit_of(free(1, inference=Newton()), linear_loss, params, data)
        assert_close(credit.grads, expected, rtol=1e-5, atol=1e-6)
        assert credit.info.settled and credit.info.steps == 1
        plain = credit_of(free(2, 0.1), linear_loss, params, data)
        assert distance(plain.grads, expected) > 0.1


@pytest.mark.parametrize("prediction", ["fixed", "free"])
def test_a_users_momentum_equals_that_of_optax(prediction):
    rule = PredictiveCoding(9, 0.2, prediction, inference=HeavyBall())
    other = PredictiveCoding(9, prediction=prediction, inference=optax.sgd(0.2, 0.5))
    assert_close(credit_of(rule).grads, credit_of(other).grads)
    slower = PredictiveCoding(9, 0.2, prediction, inference=HeavyBall(0.1))
    assert distance(credit_of(slower).grads, credit_of(other).grads) > 1e-3


def test_a_users_inference_moves_free_arguments_where_it_says_so():
    def filled(inference):
        rule = free(9, 0.2, inference=inference, free=(True, False))
        learner = apical.value_and_grad(loss_fn, rule)
        return learner.predict(PARAMS, learner.init(KEY, PARAMS, *DATA), *DATA)[0]

    found, expected = filled(HeavyBall()), filled(optax.sgd(0.2, 0.5))
    assert_close(found, expected)
    assert distance(found, DATA[0]) > 1e-3


def test_the_steps_of_a_users_inference_reach_a_precision():
    precision = apical.rules.DecayingPrecision(first=3.0, time=2.0)
    rule = free(5, 0.1, inference=HeavyBall(), precision=precision)
    other = free(5, inference=optax.sgd(0.1, 0.5), precision=precision)
    assert_close(credit_of(rule).grads, credit_of(other).grads)
    plain = credit_of(free(5, 0.1, inference=HeavyBall())).grads
    assert distance(credit_of(rule).grads, plain) > 1e-3


def test_the_rate_the_steps_the_needs_and_the_source_of_a_part_are_the_rules():
    rule, other = free(inference=Newton()), free(inference=HeavyBall())
    assert (rule.step_size, other.step_size) == (0.7, 0.1)
    deep = apical.trace(loss_fn)(layers(5, *[4] * 15, 3), *DATA)
    assert (rule.steps_in(deep), other.steps_in(deep)) == (20, 2 * deep.depth)
    assert "@misc{newton}" in rule.citation
    assert "global error" in rule.needs and "global error" not in other.needs
    assert rule.needs.count("weight transport") == 1


def test_the_laws_hold_with_a_users_inference():
    rule = free(3, 0.1, inference=HeavyBall())
    learner = apical.value_and_grad(loss_fn, rule)
    apical.testing.check_rule(learner, PARAMS, *DATA)


# ---------------------------------------------------------------------- declarations


def declaring(**declared):
    """A momentum that declares this."""
    return type("Mine", (HeavyBall,), declared)()


class Guess:
    def init(self, key, x, y):
        return jnp.zeros_like(x)

    def apply(self, weights, x, y):
        return weights


REFUSED = {
    "free alone": (
        {"requires_prediction": "free"},
        {"prediction": "fixed"},
        "`Mine` needs `prediction='free'`",
    ),
    "fixed alone": (
        {"requires_prediction": "fixed"},
        {"prediction": "free"},
        "`Mine` needs `prediction='fixed'`",
    ),
    "the derivative": (
        {"requires_derivative": True},
        {"derivative": False},
        "`Mine` .* needs `derivative=True`",
    ),
    "no precision": (
        {"supports_precision": False},
        {"precision": 2.0},
        "`Mine` .* leave `precision` at None",
    ),
    "no feedback": (
        {"supports_feedback": False},
        {"feedback": RandomFeedback()},
        "`Mine` .* leave `feedback` at None",
    ),
    "no tolerance": (
        {"supports_tolerance": False},
        {"tolerance": 0.1},
        "`Mine` .* leave `tolerance` at 0",
    ),
    "no free arguments": (
        {"supports_free_arguments": False},
        {"free": (True, False)},
        "`Mine` moves the values of nodes alone",
    ),
}
ALLOWING = {
    "requires_prediction": None,
    "requires_derivative": False,
    "supports_precision": True,
    "supports_feedback": True,
    "supports_tolerance": True,
    "supports_free_arguments": True,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_users_inference_declares_is_kept(name):
    declared, chosen, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        PredictiveCoding(
            **{"prediction": "free", "inference": declaring(**declared), **chosen}
        )
    given = {"prediction": "free", "inference": declaring(**ALLOWING), **chosen}
    PredictiveCoding(**given)  # the control: it is the declaration that refuses


def test_a_users_inference_refuses_a_circuit_in_init():
    def check(self, circuit):
        raise ValueError(f"{len(circuit.nodes)} nodes are too many for `Mine`.")

    learner = apical.value_and_grad(loss_fn, free(inference=declaring(check=check)))
    with pytest.raises(ValueError, match="2 nodes are too many"):
        learner.init(KEY, PARAMS, *DATA)


def test_a_users_inference_says_which_nodes_a_signal_does_not_reach():
    def reach(self, circuit, free, steps):
        return Reach(3, {NAMES[0]: 4, NAMES[1]: 3}, "rounds")

    learner = apical.value_and_grad(loss_fn, free(inference=declaring(reach=reach)))
    with pytest.warns(UserWarning, match="`rounds=3` of PredictiveCoding .*'0'"):
        learner.init(KEY, PARAMS, *DATA)


@dataclass(frozen=True)
class WithoutHash(HeavyBall):
    numbers: list = field(default_factory=list)  # a list has no hash


@pytest.mark.parametrize(
    ("inference", "message"),
    [
        (WithoutHash(), "A `WithoutHash` has no hash"),
        (HeavyBall, "`inference` must be an optax transformation"),
        (object(), "another `AbstractInference`"),
    ],
)
def test_what_is_no_inference_is_refused(inference, message):
    with pytest.raises(TypeError, match=message):
        free(inference=inference)


def test_an_inference_without_settle_cannot_be_made():
    with pytest.raises(TypeError, match=r"abstract .*settle"):
        type("Empty", (AbstractInference,), {})()


def test_every_energy_has_a_form_in_the_errors():
    filled = free(free=(True, False), amortised=AmortisedStart(Guess(), optax.sgd(0.1)))
    for rule in (filled, free(), PredictiveCoding()):
        learner = apical.value_and_grad(loss_fn, rule)
        state = learner.init(KEY, PARAMS, *DATA)
        circuit = learner.circuit(PARAMS, *DATA)
        energy = rule.energy(circuit, PARAMS, state, DATA)
        errors = energy.in_error_space
        assert errors.in_error_space is errors
        apart = {n: v for n, v in jax.tree.leaves_with_path(errors.start)}
        assert len(apart) == len(NAMES) + (rule is filled)


def test_an_energy_without_a_form_in_the_errors_is_refused():
    class Mine(AbstractEnergy):
        start = slope = settled = None

    with pytest.raises(ValueError, match="`Mine` has no form in the errors"):
        _ = Mine(None).in_error_space
