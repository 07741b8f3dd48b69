"""The twins by which online rules are judged are the losses that they stand for.

Beside e-prop's stops every twin is also rewritten with none, where it must be the loss
itself in value and gradient, and with all, where it is one step of backpropagation.
"""

import jax
import numpy as np
import pytest
from support.by_hand import distance
from support.online_twins import (
    BACKPROPAGATION,
    CASES,
    EPROP,
    REFUSALS,
    SNAP,
    STREAMS,
    TIME,
    TRUNCATED,
    gradient,
    value_and_gradient,
)


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def everything(case):
    """Value and gradient of the loss, and of the twin by paths."""

    @jax.jit
    def compute(params, args):
        twins = [case.rewritten(p) for p in (BACKPROPAGATION, EPROP, TRUNCATED, SNAP)]
        losses = [case.loss_fn, *twins]
        return [value_and_gradient(loss, params, *args) for loss in losses]

    return zip(*compute(case.params, case.args), strict=True)


@pytest.mark.grid(keep=9)
@pytest.mark.parametrize("name", CASES)
def test_a_twin_is_the_loss_but_for_its_stops(name):
    case = CASES[name]()
    values, (true, same, eprop, truncated, snap) = everything(case)
    np.testing.assert_allclose(values, values[0], rtol=1e-13)
    assert distance(same, true) < 1e-12
    reference = {"backpropagation": true, "truncated": truncated, "snap": snap}
    for key, other in reference.items():
        apart = distance(eprop, other)
        assert apart < 1e-12 if key in case.same_as else apart > 0.003, (key, apart)


@pytest.mark.grid(keep=9)
@pytest.mark.parametrize("name", REFUSALS)
def test_a_loss_to_refuse_is_a_loss(name):
    case = REFUSALS[name]()
    found = jax.jit(lambda args: gradient(case.loss_fn, case.params, *args))(case.args)
    sizes = [float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(found)]
    assert all(np.isfinite(sizes))
    assert max(sizes) > 0


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", STREAMS)
def test_windows_that_forget_say_something_else_than_the_whole(name):
    found = STREAMS[name]()

    @jax.jit
    def compute(params, args):
        def loss(params, x, y):
            carry, total = found.start, 0.0
            for x, y in found.pieces(3, 1, 4):
                part, aux = found.window(params, carry, x, y)
                total += part * x.shape[1] / TIME
                carry = jax.lax.stop_gradient(aux["carry"])
            return total

        def by_steps(params, x, y):
            carry, total = found.start, 0.0
            for t in range(TIME):
                part, aux = found.single(params, carry, x[:, t], y[:, t])
                total, carry = total + part / TIME, aux["carry"]
            return total

        losses = [by_steps, loss]
        grads = [gradient(each, params, *args) for each in losses]
        return grads, found.whole(BACKPROPAGATION), found.whole(EPROP)

    (steps, windows), whole, eprop = compute(found.params, found.args)
    assert distance(steps, whole) < 1e-13
    assert distance(windows, whole) > 0.01
    assert distance(windows, eprop) > 0.01
    assert distance(eprop, whole) > 0.003
