"""Every rule runs under `jax_debug_nans`: no NaN where the result is finite.

Eagerly, where every operation is looked at.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import apical
from apical.rules import IncrementalPredictiveCoding, PredictiveCoding

sys.path.append(str(Path(__file__).parents[2] / "tools"))
FAMILIES = importlib.import_module("rules_and_models_columns").FAMILIES
RULES = {name: rule for rules in FAMILIES.values() for name, rule in rules.items()}
THROUGH_TIME = {name: rule for name, rule in RULES.items() if rule.through_time}
RULES = {name: rule for name, rule in RULES.items() if name not in THROUGH_TIME}
RULES["streaming"] = IncrementalPredictiveCoding(2, streaming=True)

KEYS = jax.random.split(jax.random.key(0), 4)
PARAMS = {"a": (4, 6), "b": (6, 5), "c": (5, 3)}
PARAMS = {
    n: jax.random.normal(k, PARAMS[n]) / 2 for n, k in zip("abc", KEYS[:3], strict=True)
}
# One example is all zeros: its norm is none to divide by.
X = jax.random.normal(KEYS[3], (5, 4)).at[0].set(0)
Y = jnp.arange(5) % 3


def loss_fn(params, x, y):
    h = jnp.tanh(jnp.tanh(x @ params["a"]) @ params["b"])
    losses = optax.softmax_cross_entropy_with_integer_labels(h @ params["c"], y)
    return jnp.mean(losses)


def recurrent_loss_fn(params, x, y):
    """Three steps of leaky units below the same readout, all with the same input."""

    def step(h, x):
        h = 0.9 * h + x @ params["a"]
        return h, jnp.tanh(jnp.tanh(h) @ params["b"]) @ params["c"]

    start = jnp.zeros((len(x), params["a"].shape[1]))
    _, out = jax.lax.scan(step, start, jnp.stack([x, x, x]))
    return jnp.mean(
        optax.softmax_cross_entropy_with_integer_labels(out, jnp.stack([y, y, y]))
    )


@pytest.fixture(autouse=True)
def debug_nans():
    with jax.debug_nans(True):
        yield


@pytest.mark.grid(keep=5)
@pytest.mark.parametrize("name", THROUGH_TIME)
def test_nor_does_a_rule_through_time(name):
    step = apical.train_step(recurrent_loss_fn, THROUGH_TIME[name], optax.sgd(0.05))
    state = step.init(KEYS[0], PARAMS, X, Y)
    params, _, credit = step(PARAMS, state, X, Y)
    assert np.isfinite(credit.value)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(params))


@pytest.mark.grid(keep=7)
@pytest.mark.parametrize("name", RULES)
def test_no_rule_makes_a_nan_on_the_way(name):
    if "Holomorphic" in name:
        pytest.skip("a cross-entropy by labels is not holomorphic")
    told = {"target": lambda x, y: jax.nn.one_hot(y, 3), "input_argnums": 0}
    step = apical.train_step(loss_fn, RULES[name], optax.sgd(0.05), **told)
    state = step.init(KEYS[0], PARAMS, X, Y)
    params, _, credit = step(PARAMS, state, X, Y)
    assert np.isfinite(credit.value)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(params))


def test_what_is_unknown_of_a_regime_is_said_without_a_nan_on_the_way():
    rule = PredictiveCoding(2, 0.2, "free")
    learner = apical.value_and_grad(loss_fn, rule)
    found = apical.measure.regime(learner)(PARAMS, (), X, Y)
    assert np.isfinite(found.stiffness)


def test_the_package_is_imported():
    told = {**os.environ, "JAX_DEBUG_NANS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "import apical"], env=told, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_nan_on_the_way_would_be_seen():
    with pytest.raises(FloatingPointError):
        jnp.where(jnp.isnan(jnp.log(-(X[1, 0] ** 2))), 0.0, 1.0)
