"""Coefficients of Plasticity: how they are printed, and which are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apical
from apical.rules import (
    EProp,
    EvolutionStrategy,
    FeedbackAlignment,
    KolenPollack,
    Plasticity,
)

TAUGHT = {(1, 0, 0, 1): 1.0}
OJA = {(1, 1, 0, 0): 1.0, (0, 2, 1, 0): -1.0}
PARAMS = {"a": jnp.eye(3), "b": jnp.ones((3, 2)), "c": jnp.ones((2, 1))}


def loss_fn(w, x):
    return jnp.mean((jnp.tanh(jnp.tanh(x @ w["a"]) @ w["b"]) @ w["c"]) ** 2)


def start(rule):
    learner = apical.value_and_grad(loss_fn, rule)
    learner.init(jax.random.key(0), PARAMS, jnp.ones((4, 3)))


# ------------------------------------------------------------ the print-out


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({(1, 0, 0, 1): 0.9, (0, 2, 1, 0): -0.1}, "dw = 0.9 x δ - 0.1 y² w"),
        ({(0, 2, 1, 0): -1.0, (1, 1, 0, 0): 1.0}, "dw = -y² w + x y"),
        ({(0, 0, 0, 0): 1.0, (2, 12, 3, 2): -2.5}, "dw = -2.5 x² y¹² δ² w³ + 1"),
        ({(1, 0, 0, 0): 0.0}, "dw = 0"),
        ({(1, 0, 0, 0): np.nan}, "dw = nan x"),
        ({(1, 1, 0, 0): 0.123456, (0, 0, 1, 0): 1e-4}, "dw = 0.123 x y + 0.0001 w"),
    ],
)
def test_a_rule_is_printed_as_an_equation(terms, text):
    assert Plasticity(terms).formula() == text
    shape = [1 + max(key[i] for key in terms) for i in range(4)]
    dense = np.zeros(shape)
    for key, number in terms.items():
        dense[key] = number
    assert Plasticity(dense).formula() == text


def test_small_terms_may_be_left_out():
    terms = {(1, 1, 0, 0): 0.123456, (0, 0, 1, 0): 1e-4}
    rule = Plasticity({"a": terms, "b": OJA})
    assert rule.formula(2, 1e-3) == "a: dw = 0.12 x y\nb: dw = x y - y² w"


def test_a_traced_rule_and_a_population_are_not_printed():
    for wrong in (np.ones(3), jnp.ones(3)):
        with pytest.raises(ValueError, match="prints one number for each term"):
            Plasticity({(1, 1, 0, 0): wrong}).formula()

    def inside(a):
        return len(Plasticity({(1, 1, 0, 0): a}).formula())

    with pytest.raises(ValueError, match=r"outside of `jax.jit`"):
        jax.jit(inside)(1.0)


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        (Plasticity(TAUGHT), "pass `teacher=`"),
        (Plasticity(jnp.ones((2, 1, 1, 2))), "pass `teacher=`"),
        (Plasticity({"d": OJA}), "names 'd'; the synapses are 'a', 'b', 'c'"),
        (Plasticity(jnp.ones((2, 2))), r"not an array of shape \(2, 2\)"),
        (Plasticity(jnp.ones((2, 2, 2, 1), int)), "dtype int32"),
        (Plasticity(TAUGHT, EProp()), "no teaching signals"),
        (Plasticity(TAUGHT, EvolutionStrategy()), "no teaching signals"),
        (Plasticity(TAUGHT, KolenPollack()), "moves its state together"),
        (Plasticity({}), "no terms"),
        (Plasticity({"a": {}}), "no terms"),
    ],
)
def test_what_cannot_be_told_is_refused(rule, match):
    with pytest.raises(ValueError, match=match):
        start(rule)


@pytest.mark.parametrize("key", [(1, 0, 0), (1, 0, 0, -1), (1, 0, 0.5, 0), 3])
def test_exponents_are_four_whole_numbers(key):
    for given in ({key: 1.0}, {"a": {key: 1.0}}):
        with pytest.raises(ValueError, match="not four whole numbers"):
            Plasticity(given)


def test_a_teacher_is_a_rule_and_y_is_known():
    with pytest.raises(TypeError, match="`teacher` must be a rule"):
        Plasticity(TAUGHT, FeedbackAlignment)
    with pytest.raises(ValueError, match="`post` must be one of"):
        Plasticity(TAUGHT, post="after")
