"""`input_argnums=` and `carry=`: their effects and refusals."""

import jax
import jax.numpy as jnp
import pytest

import apical
from apical.rules.tools import inputs_of, with_inputs

X, IDS, Y = jnp.ones((4, 3)), jnp.zeros((4, 2), int), jnp.zeros((4, 2))
PARAMS = {"a": jnp.ones((3, 5)), "b": jnp.ones((5, 2))}


def loss_fn(params, x, ids, y):
    hidden = jnp.tanh(x @ params["a"])
    return jnp.mean((hidden @ params["b"] - y - ids) ** 2)


def circuit(**keywords):
    rule = apical.rules.Backpropagation()
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    return learner.circuit(PARAMS, X, IDS, Y)


@pytest.mark.parametrize("inputs", [0, (0,), (0, 2)])
def test_the_inputs_are_the_arguments_at_these_positions(inputs):
    found = inputs_of(circuit(input_argnums=inputs), (X, IDS, Y), "This rule")
    assert [f is g for f, g in zip(found, (X, Y), strict=False)] == [True] * len(found)
    assert len(found) == (2 if inputs == (0, 2) else 1)


def test_other_inputs_stand_in_their_places():
    traced = circuit(input_argnums=(2, 0))
    assert with_inputs(traced, (X, IDS, Y), ("y", "x")) == ("x", IDS, "y")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (None, "pass `input_argnums=`"),
        (3, "names argument 3, and there are 3"),
        (1, "argument 1 .* is int32"),
    ],
)
def test_what_is_no_input_is_refused_by_name(inputs, words):
    with pytest.raises(ValueError, match=words):
        inputs_of(circuit(input_argnums=inputs), (X, IDS, Y), "This rule")


@pytest.mark.parametrize("inputs", ["x", (), (0, 0), (-1,), (True,), [0]])
def test_positions_that_are_none_are_refused(inputs):
    with pytest.raises(ValueError, match="`input_argnums` must hold the positions"):
        circuit(input_argnums=inputs)


@pytest.mark.parametrize("carry", [0, ("h", 0), (0,), (0, "h", 1), (-1, "h")])
def test_a_carry_that_is_no_pair_is_refused(carry):
    with pytest.raises(ValueError, match=r"`carry` must be a pair"):
        circuit(carry=carry)


def test_a_training_step_and_signals_take_them_too():
    keywords = {"input_argnums": 0, "carry": (0, "h")}
    rule = apical.rules.Backpropagation()
    apical.train_step(loss_fn, rule, apical.optim.batch_manhattan(0.1), **keywords)
    found = apical.value_and_grad(loss_fn, rule, **keywords).signals(
        PARAMS, (), X, IDS, Y
    )
    assert jax.tree.leaves(found)
