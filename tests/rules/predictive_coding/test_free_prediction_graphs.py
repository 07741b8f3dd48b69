"""Free predictions on every kind of graph: values and errors at equilibrium."""

import functools
from typing import NamedTuple

import jax
import numpy as np
import pytest
from support.laws import distance
from support.zoo import MODELS, backpropagation, learned

import apical
from apical.rules import ErrorRelaxation, Nudge, PredictiveCoding

GRAPHS = ["mlp_residual", "rnn", "gru", "lstm", "attention", "scanned_stack"]
KEY = jax.random.key(0)


def double(x):
    return x.astype(np.float64) if getattr(x, "dtype", None) == np.float32 else x


class End(NamedTuple):
    """The gradients by path, and how far the values still were from rest."""

    grads: dict[str, np.ndarray]
    residual: float


def ends(name, *rules):
    """Where each rule ends in double precision, and backpropagation's gradients."""
    model, found = MODELS[name], []
    with jax.enable_x64(True):
        loss_fn, params, args = model.make(KEY)
        params, args = jax.tree.map(double, (params, args))
        keywords = {"has_aux": model.has_aux, "batch_axes": model.batch_axes}
        for rule in rules:
            learner = apical.value_and_grad(loss_fn, rule, **keywords)
            credit = jax.jit(learner)(params, (), *args)
            grads = jax.tree.map(np.asarray, learned(credit.grads)[0])
            found.append(End(grads, float(credit.info.residual)))
        true = backpropagation(loss_fn, params, *args, has_aux=model.has_aux)[1]
        return found, jax.tree.map(np.asarray, true)


def apart(one, other):
    """The largest distance of two gradients by path."""
    return max(distance(one[path], other[path]) for path in other)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", GRAPHS)
def test_values_and_errors_rest_at_one_place_and_backpropagation_is_its_limit(name):
    settled = functools.partial(PredictiveCoding, prediction="free", tolerance=1e-6)
    errors = settled(300, inference=ErrorRelaxation())
    nudged = settled(300, inference=ErrorRelaxation(), nudge=Nudge(1e-4, "centred"))
    (weak, one, other), true = ends(name, nudged, errors, settled(4000, 0.1))
    assert max(each.residual for each in (weak, one, other)) <= 1e-6
    assert apart(one.grads, other.grads) < 1e-4
    assert apart(weak.grads, true) < 1e-4 < 1e-2 < apart(one.grads, true)
