"""Free predictions converge without a given rate, on every kind of model."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apical
from apical.lab.data._labels import Classes
from apical.lab.models import find_model
from apical.lab.training._loss import Loss
from apical.rules import PredictiveCoding

KEY, CLASSES = jax.random.key(0), 10
PICTURES = (jax.random.normal(KEY, (8, 1, 8, 8)), jnp.arange(8))
TEXT = (jax.random.randint(KEY, (4, 8), 0, CLASSES), jnp.arange(32).reshape(4, 8) % 10)
MODELS = {
    "mlp": ("pictures", PICTURES),
    "cnn": ("pictures", PICTURES),
    "lstm": ("characters", TEXT),
    "transformer": ("characters", TEXT),
}


def built(name):
    kind, (x, y) = MODELS[name]
    model = find_model(name, kind).build(KEY, x.shape[1:], CLASSES)
    model, statistics = model if type(model) is tuple else (model, None)
    params, static = eqx.partition(model, eqx.is_array)
    return Loss(static, Classes(CLASSES)), params, (statistics, x, y)


@functools.cache
def residual(name, rate, size):
    """How much slope is left, with all weights so many times as large."""
    loss, params, args = built(name)
    rule = PredictiveCoding(rate=rate, prediction="free")
    learner = apical.value_and_grad(loss.training, rule, **loss.setting)
    scaled = jax.tree.map(lambda w: size * w, params)
    credit = jax.jit(learner)(scaled, (), *args)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(credit.grads))
    return float(credit.info.residual)


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [1.0, 2.0])
def test_the_slope_falls_at_the_default_rate(name, size):
    assert residual(name, None, size) < 0.9


@pytest.mark.sweep
def test_no_one_rate_does_for_all():
    """The control: what settles one model slowly drives another away."""
    assert residual("mlp", 0.1, 1.0) < 0.9
    assert residual("transformer", 0.1, 2.0) > 10
