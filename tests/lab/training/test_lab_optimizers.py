"""Optimisers by name and arguments, and their refusals."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from apical import optim
from apical.lab import LabError
from apical.lab.training._optimizers import RATES, find_optimizer

WEIGHTS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.1, -0.1])}
GRADS = {"w": jnp.array([[0.3, -0.1], [2.0, 0.0]]), "b": jnp.array([-1.0, 0.2])}


def steps(optimizer, number=3):
    """The weights after steps along the same gradient."""
    weights, state = WEIGHTS, optimizer.init(WEIGHTS)
    for _ in range(number):
        updates, state = optimizer.update(GRADS, state, weights)
        weights = optax.apply_updates(weights, updates)
    return weights


def same(a, b) -> bool:
    close = jax.tree.map(lambda x, y: bool(jnp.allclose(x, y, rtol=1e-6)), a, b)
    return all(jax.tree.leaves(close))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("adam", optax.adam(0.01)),
        ("lion", optax.lion(0.01)),
        ("momentum", optax.sgd(0.01, momentum=0.9)),
        ("momentum(momentum=0.5)", optax.sgd(0.01, momentum=0.5)),
        (
            "sgd(momentum=0.9, nesterov=True)",
            optax.sgd(0.01, momentum=0.9, nesterov=True),
        ),
        (" adam( b1 = 0.5 ) ", optax.adam(0.01, b1=0.5)),
        ("adamw(weight_decay=-1e-1)", optax.adamw(0.01, weight_decay=-0.1)),
        ("batch_manhattan", optim.batch_manhattan(0.01)),
        (
            "batch_manhattan(momentum=0.9, weight_decay=0.1)",
            optim.batch_manhattan(0.01, momentum=0.9, weight_decay=0.1),
        ),
    ],
)
def test_a_text_makes_the_optimiser_that_it_names(text, expected):
    make, rate, _ = find_optimizer(text, 0.01)
    assert rate == 0.01
    assert same(steps(make(rate)), steps(expected))
    assert not same(steps(make(rate)), steps(optax.sgd(0.01)))


@pytest.mark.parametrize("name", ["adam", "lion", "momentum", "adafactor", "rprop"])
def test_an_optimiser_takes_a_rate_for_each_lane(name):
    make, _, _ = find_optimizer(name, 0.01)
    rates = jnp.array([0.01, 0.1])
    both = jax.jit(jax.vmap(lambda rate: steps(make(rate))))(rates)
    alone = [steps(make(float(rate))) for rate in rates]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    assert jax.tree.all(
        jax.tree.map(lambda a, b: jnp.allclose(a, b, atol=1e-5), both, stacked)
    )
    assert not same(*alone)


@pytest.mark.parametrize("name", RATES)
def test_a_known_optimiser_has_a_rate_and_a_span_around_it(name):
    _, rate, (low, high) = find_optimizer(name, None)
    assert rate == RATES[name]
    np.testing.assert_allclose((low, high), (rate / 30, rate * 30))
    assert find_optimizer(f"{name}()", 0.5)[1:] == (0.5, (low, high))


def test_an_unknown_optimiser_needs_a_rate_unless_one_is_swept():
    with pytest.raises(LabError, match=r"lion has no default step size .* --rate"):
        find_optimizer("lion", None)
    _, rate, span = find_optimizer("lion", None, swept=True)
    assert span == (1e-5, 1.0) and math.isclose(rate, 10**-2.5)
    assert find_optimizer("lion", 0.1)[1:] == (0.1, (1e-5, 1.0))


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_no_step_size_is_refused(rate):
    with pytest.raises(LabError, match=f"--rate {rate}: .* above 0, and finite"):
        find_optimizer("adam", rate)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adan2", "no optimizer is called 'adan2'. Did you mean .*'adan'"),
        ("scale_by_learning_rate", "no optimizer is called"),
        ("apply_updates", "no optimizer is called"),
        ("sgd(momentun=0.9)", "no argument of sgd is called 'momentun'.*'momentum'"),
        ("sgd(learning_rate=1.0)", "the step size is given with --rate"),
        ("sgd(0.9)", "every argument needs its name"),
        ("sgd(**{'momentum': 0.9})", "every argument needs its name"),
        ("sgd(momentum=", "cannot be read .* Write a name"),
        ("sgd(momentum=print())", "cannot be read"),
        ("sgd(momentum={[]: 1})", "cannot be read"),
        ("optax.sgd(momentum=0.9)", "no optimizer is called 'optax.sgd'.*'sgd'"),
        ("sgd + adam", "neither a name nor a name with arguments"),
        ("", "cannot be read"),
        ("sgd(momentum='much')", "cannot make a step from gradients alone"),
        ("lbfgs", "cannot make a step from gradients alone"),
    ],
)
def test_what_is_no_optimiser_is_refused_with_the_reason(text, message):
    with pytest.raises(LabError, match=message):
        find_optimizer(text, 0.1)


def test_nothing_in_the_arguments_is_run(tmp_path):
    trap = tmp_path / "trap"
    text = f"sgd(momentum=open({str(trap)!r}, 'w'))"
    with pytest.raises(LabError, match="cannot be read"):
        find_optimizer(text, 0.1)
    assert not trap.exists()
