"""Every inference scheme of predictive coding has the same equilibrium."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, batch, distance, layers, loss_fn
from support.predictive_coding_by_hand import (
    DATA,
    NAMES,
    PARAMS,
    ByHand,
    credit_of,
    free,
    linear_equilibrium,
    linear_loss,
)

import apical
from apical.rules import (
    ConjugateGradients,
    DifferentialEquation,
    ErrorRelaxation,
    Sweep,
    _iteration,
)


def test_the_network_by_hand_is_that_of_the_other_tests():
    assert_close(credit_of(free(7, 0.2)).grads, ByHand().after(7, 0.2))


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1], None, "even/odd"])
def test_visits_equal_visits_by_hand(order):
    hand = ByHand()
    values = hand.start()
    # The level above the first hidden layer is odd: one node from the loss.
    which = (0, 1) if order in (NAMES, "even/odd") else (1, 0)
    for _ in range(3):
        for i in which:
            values[i] = values[i] - 0.3 * hand.slope(values)[i]
    rule = free(rate=0.3, inference=Sweep(3, order))
    assert_close(credit_of(rule).grads, hand.grads(values))
    other = ByHand().after(3, 0.3)
    assert distance(credit_of(rule).grads, other) > 1e-3


# ------------------------------------------------------------------ ways to the rest

WAYS = {
    "values": free(2000, 0.2),
    "momentum": free(600, inference=optax.sgd(0.05, momentum=0.9)),
    "sweeps": free(rate=0.4, inference=Sweep(400)),
    "even/odd": free(rate=0.4, inference=Sweep(400, "even/odd")),
    "errors": free(60, 0.1, inference=ErrorRelaxation()),
    "errors, steps of a rate": free(900, inference=ErrorRelaxation(optax.sgd(0.05))),
    "conjugate gradients": free(4, inference=ConjugateGradients(1)),
    "differential equation": free(
        1000,
        inference=DifferentialEquation(150.0, diffrax.Tsit5(), 1e-6, 1e-8),
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_way_ends_at_the_solution_of_the_linear_system(name):
    with jax.enable_x64(True):
        params, data = layers(5, 7, 6, 3), batch(4, 5, 3)
        _, expected = linear_equilibrium(params, *data)
        credit = credit_of(WAYS[name], linear_loss, params, data)
        assert_close(credit.grads, expected, rtol=1e-5, atol=1e-7)
        assert credit.info.settled
        assert distance(expected, jax.grad(linear_loss)(params, *data)) > 0.1


def test_conjugate_gradients_need_one_iteration_more_than_the_output_has_numbers():
    with jax.enable_x64(True):
        params, data = layers(5, 7, 6, 3), batch(4, 5, 3)
        _, expected = linear_equilibrium(params, *data)

        def apart(iterations):
            rule = free(iterations, inference=ConjugateGradients(1))
            return distance(credit_of(rule, linear_loss, params, data).grads, expected)

        assert apart(4) < 1e-10
        assert apart(1) > 1e-2


@pytest.mark.parametrize("name", ["errors", "conjugate gradients"])
def test_a_solver_of_errors_comes_to_the_equilibrium_of_the_values(name):
    settled = credit_of(free(3000, 0.1)).grads
    way = free(12, 0.1, inference=ErrorRelaxation())
    if name == "conjugate gradients":
        way = free(2, inference=ConjugateGradients(6))
    few = credit_of(way).grads
    assert distance(few, settled) < 1e-4
    # As many steps of the values are not there yet.
    assert distance(credit_of(free(12, 0.1)).grads, settled) > 0.05


def test_the_steps_of_an_example_do_not_depend_on_the_others():
    rule = free(4, 0.2, inference=ErrorRelaxation())
    signals = apical.value_and_grad(loss_fn, rule).signals
    together = signals(PARAMS, (), *DATA)
    x, y = DATA
    alone = signals(PARAMS, (), x[1:2], y[1:2])
    for name, signal in together.items():
        np.testing.assert_allclose(signal.value[1:2], alone[name].value, rtol=1e-5)
    wild = signals(PARAMS, (), x.at[0].mul(30.0), y.at[0].mul(30.0))
    for name, signal in together.items():
        np.testing.assert_allclose(wild[name].value[1:], signal.value[1:], rtol=1e-5)
        assert not np.allclose(wild[name].value[0], signal.value[0])


@pytest.mark.parametrize("inference", [None, optax.adam(0.05), ErrorRelaxation()])
def test_inference_ends_where_the_residual_is_small_enough(inference):
    rule = free(500, 0.2, inference=inference, tolerance=1e-2)
    info = credit_of(rule).info
    assert 1 < info.steps < 200
    assert info.residual <= 1e-2
    whole = free(int(info.steps), 0.2, inference=inference)
    assert_close(credit_of(rule).grads, credit_of(whole).grads)
    never = free(9, 0.2, inference=inference, tolerance=1e-9)
    assert credit_of(never).info.steps == 9


def convolved(params, x, y):
    h = jnp.tanh(jax.lax.conv(x, params["kernel"], (1, 1), "SAME"))
    return jnp.mean((h.reshape(len(x), -1) @ params["out"] - y) ** 2)


def pictures():
    draw = np.random.default_rng(0)
    params = {
        "kernel": jnp.asarray(draw.normal(size=(2, 1, 3, 3)), jnp.float32) / 3,
        "out": jnp.asarray(draw.normal(size=(32, 3)), jnp.float32) / 6,
    }
    x = jnp.asarray(draw.normal(size=(4, 1, 4, 4)), jnp.float32)
    return params, (x, jnp.asarray(draw.normal(size=(4, 3)), jnp.float32))


def test_inference_ends_early_in_loops_that_are_written_out_too():
    params, data = pictures()
    early = free(30, 0.2, tolerance=0.3)
    info = credit_of(early, convolved, params, data).info
    assert 1 < info.steps < 30 and info.residual <= 0.3
    exact = free(int(info.steps), 0.2)
    assert_close(
        credit_of(early, convolved, params, data).grads,
        credit_of(exact, convolved, params, data).grads,
    )


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("tolerance", [0.0, 1e-9])
@pytest.mark.parametrize("inference", [None, ErrorRelaxation()])
def test_many_steps_are_a_loop_also_where_few_are_written_out(inference, tolerance):
    """What is compiled does not grow with their number, and is the same."""
    params, data = pictures()

    def size(steps):
        rule = free(steps, 0.2, inference=inference, tolerance=tolerance)
        learner = apical.value_and_grad(convolved, rule)
        return str(jax.make_jaxpr(learner)(params, (), *data)).count("\n")

    assert size(400) == size(200) < 2 * size(64)
    steps, early = 66, free(66, 0.2, inference=inference, tolerance=tolerance)
    looped = credit_of(early, convolved, params, data).grads
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_iteration, "_WRITTEN_OUT", steps)
        written = credit_of(early, convolved, params, data).grads
    assert_close(looped, written)
