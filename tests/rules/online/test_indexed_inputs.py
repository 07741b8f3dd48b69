"""A step that picks `x[t]` by a counter learns as one that takes x as an input."""

import warnings

import jax
import jax.numpy as jnp
import pytest
from support.by_hand import assert_close, distance
from support.synapses_in_time import numbers

import apical
from apical.rules import RTRL, DirectFeedbackAlignment, EfficientTraces, EProp, SnAp

T, B, N, H = 5, 3, 2, 4
KEY = jax.random.key(0)
X, Y = numbers(1, T, B, N), numbers(2, B, H)
PARAMS = {
    "in": 0.5 * numbers(3, N, H),
    "up": 0.5 * numbers(5, H, H),
    "rec": 0.5 * numbers(6, H, H),
    "out": numbers(7, H, H),
}
STILL = jnp.zeros((B, H))


def cell(params, h, drive):
    return 0.6 * h + 0.4 * jnp.tanh(drive + h @ params["rec"])


def below(params, x):
    """Two layers at all steps, which drive the units of the loop above."""
    return jnp.tanh(x @ params["in"]) @ params["up"]


def error(params, h, y):
    return jnp.mean((h @ params["out"] - y) ** 2)


def as_xs(params, x, y, reverse=False):
    def step(h, x):
        return cell(params, h, x), None

    h, _ = jax.lax.scan(step, STILL, below(params, x), reverse=reverse)
    return error(params, h, y)


def by_counter(params, x, y):
    seen = below(params, x)

    def step(state, _):
        t, h = state
        return (t + 1, cell(params, h, seen[t])), None

    return error(params, jax.lax.scan(step, (0, STILL), length=T)[0][1], y)


def by_fori(params, x, y):
    seen = below(params, x)

    def step(t, h):
        return cell(params, h, seen[t])

    return error(params, jax.lax.fori_loop(0, T, step, STILL), y)


def by_numbers(params, x, y):
    """The steps as inputs, in a checkpoint, and the array in the carry."""
    seen = below(params, x)

    @jax.checkpoint
    def step(state, t):
        h, seen = state
        return (cell(params, h, seen[t]), seen), None

    return error(params, jax.lax.scan(step, (STILL, seen), jnp.arange(T))[0][0], y)


def backwards(params, x, y):
    """Two counters: from the last step on."""
    seen = below(params, x)

    def step(state, _):
        t, left, h = state
        h = cell(params, h, seen[left - t])
        return (t + 1, left, h), None

    return error(params, jax.lax.scan(step, (0, T - 1, STILL), length=T)[0][2], y)


def reversed_xs(params, x, y):
    return as_xs(params, x, y, reverse=True)


def update(rule, loss_fn):
    learner = apical.value_and_grad(loss_fn, rule, batch_axes=(1, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", ".* keeps no eligibility trace")
        state = learner.init(KEY, PARAMS, X, Y)
    return jax.jit(learner)(PARAMS, state, X, Y).grads


RULES = {
    "e-prop": EProp(),
    "direct": EProp(DirectFeedbackAlignment()),
    "chunks": EProp(chunk=2),
    "snap": SnAp(),
    "efficient": EfficientTraces(),
}
SPELLINGS = [by_counter, by_fori, by_numbers]


@pytest.mark.grid(keep=6)
@pytest.mark.parametrize("loss_fn", SPELLINGS)
@pytest.mark.parametrize("name", RULES)
def test_picking_by_a_counter_is_taking_an_input(name, loss_fn):
    assert_close(update(RULES[name], loss_fn), update(RULES[name], as_xs), rtol=1e-4)


def test_e_prop_by_a_counter_has_the_traces_of_the_layer_below():
    found = update(EProp(), by_counter)
    assert_close(found, update(EProp(), as_xs), rtol=1e-4)
    exact = jax.grad(by_counter)(PARAMS, X, Y)
    assert_close(update(RTRL(), by_counter), exact, rtol=1e-4)
    for name in ("in", "up", "rec"):  # the control: it is no backpropagation
        assert distance(found[name], exact[name]) > 0.02


def test_counters_that_run_backwards_are_reversed_loops():
    found = update(EProp(), backwards)
    assert_close(found, update(EProp(), reversed_xs), rtol=1e-4)
    assert distance(found["in"], update(EProp(), as_xs)["in"]) > 0.1


@pytest.mark.sweep
def test_loops_in_series_learn_the_same_by_a_counter():
    def lower(params, x):
        def step(h, x):
            h = 0.5 * h + jnp.tanh(x + h @ params["rec"])
            return h, h

        return jax.lax.scan(step, STILL, x @ params["in"])[1]

    def inputs(params, x, y):
        def step(h, x):
            return cell(params, h, x @ params["up"]), None

        return error(params, jax.lax.scan(step, STILL, lower(params, x))[0], y)

    def counted(params, x, y):
        seen = lower(params, x)

        def step(t, h):
            return cell(params, h, seen[t] @ params["up"])

        return error(params, jax.lax.fori_loop(0, T, step, STILL), y)

    assert_close(update(EProp(), counted), update(EProp(), inputs), rtol=1e-4)


def test_what_the_units_choose_is_picked_within_the_step():
    """The place depends on the units: no input, and the warning stays."""

    def loss_fn(params, x, y):
        drives = x @ params["in"]

        def step(h, _):
            t = jnp.argmax(jnp.sum(jax.lax.stop_gradient(h), 0))
            return cell(params, h, drives[t]), None

        return error(params, jax.lax.scan(step, STILL, length=T)[0], y)

    learner = apical.value_and_grad(loss_fn, EProp(), batch_axes=(1, 0))
    with pytest.warns(UserWarning, match="no eligibility trace for 'in'"):
        learner.init(KEY, PARAMS, X, Y)


def test_a_stream_cannot_pick_from_a_layer_outside_of_the_loop():
    def loss_fn(params, h, x, y):
        drives = x @ params["in"]

        def step(state, _):
            t, h = state
            return (t + 1, cell(params, h, drives[t])), None

        h = jax.lax.scan(step, (0, h), length=T)[0][1]
        return error(params, h, y), {"h": h}

    told = {"has_aux": True, "batch_axes": (0, 1, 0), "carry": (0, "h")}
    learner = apical.value_and_grad(loss_fn, EProp(), **told)
    with pytest.raises(ValueError, match="'in' drive the units of the loop"):
        learner.init(KEY, PARAMS, STILL, X, Y)
