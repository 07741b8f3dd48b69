"""Axes of nodes: rows, loops and units, and the layout of arrays by them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apical
from apical.rules import DirectFeedbackAlignment, LocalLosses
from apical.rules._axis_maps import axis_maps, example_axis_maps


def recurrent(params, x, y):
    """A loop of six steps, each with an output: `[steps, examples, units]`."""

    def step(h, x):
        h = jnp.tanh(x @ params["in"] + h @ params["u"])
        return h, h

    _, h = jax.lax.scan(step, jnp.zeros((x.shape[1], 5)), x)
    return jnp.mean((h @ params["out"] - y) ** 2)


def last_step(params, x, y):
    """The same loop, with one output after the last step."""

    def step(h, x):
        return jnp.tanh(x @ params["in"] + h @ params["u"]), None

    h, _ = jax.lax.scan(step, jnp.zeros((x.shape[1], 5)), x)
    return jnp.mean((h @ params["out"] - y) ** 2)


PARAMS = {"in": jnp.ones((3, 5)), "u": jnp.ones((5, 5)), "out": jnp.ones((5, 2))}
X = jnp.ones((6, 4, 3))
EVERY = recurrent, (X, jnp.ones((6, 4, 2))), 1
LAST = last_step, (X, jnp.ones((4, 2))), (1, 0)


def maps(loss_fn, args, batch_axes, of=axis_maps):
    circuit = apical.trace(loss_fn, batch_axes=batch_axes)(PARAMS, *args)
    (axes,) = of(circuit).values()
    return axes


def numbers(*shape):
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def test_steps_of_the_output_are_rows():
    axes = maps(*EVERY)
    assert (axes.rows, axes.loops, axes.units) == ((1, 0), (), (2,))
    assert (axes.output_rows, axes.columns) == ((1, 0), (2,))
    assert (axes.row_count, axes.unit_count, axes.column_count) == (24, 5, 2)


def test_a_loop_that_the_output_does_not_have_is_no_row():
    axes = maps(*LAST)
    assert (axes.rows, axes.loops, axes.units) == ((1,), (0,), (2,))
    assert (axes.output_rows, axes.columns) == ((0,), (1,))


def test_without_the_output_the_examples_alone_are_rows():
    axes = maps(*EVERY, of=example_axis_maps)
    assert (axes.rows, axes.loops, axes.units) == ((1,), (0,), (2,))
    assert (axes.output_rows, axes.columns) == ((), ())


@pytest.mark.parametrize(
    ("model", "equation"),
    [(EVERY, "tbo,uo->tbu"), (LAST, "bo,uo->bu")],
    ids=["every step", "last step"],
)
def test_a_projection_multiplies_each_row_by_the_matrix(model, equation):
    axes, (_, y) = maps(*model), model[1]
    matrix, error = numbers(5, 2), numbers(*y.shape)
    found = axes.project(jnp.asarray(matrix), jnp.asarray(error))
    expected = np.einsum(equation, error, matrix)
    np.testing.assert_allclose(found, np.broadcast_to(expected, (6, 4, 5)), rtol=1e-5)
    assert np.std(expected) > 0.1


def test_tables_have_loops_rows_and_units():
    value = numbers(6, 4, 5)
    rows = maps(*EVERY).table(jnp.asarray(value))
    np.testing.assert_array_equal(rows, value.swapaxes(0, 1).reshape(1, 24, 5))
    loops = maps(*LAST).table(jnp.asarray(value))
    np.testing.assert_array_equal(loops, value)


def test_tables_of_the_output_become_outputs_again():
    axes, output = maps(*EVERY), numbers(6, 4, 2)
    table = axes.output_table(jnp.asarray(output))
    np.testing.assert_array_equal(table, output.swapaxes(0, 1).reshape(24, 2))
    again = axes.as_outputs(table[None], output.shape)
    np.testing.assert_array_equal(again, output[None])


@pytest.mark.parametrize("rule", [DirectFeedbackAlignment, LocalLosses])
def test_steps_that_are_reversed_before_the_output_are_refused(rule):
    def turned(reverse):
        def loss_fn(w, x, y):
            def step(h, x):
                h = jnp.tanh(x @ w["a"] + h @ w["u"])
                return h, h @ w["c"]

            start = jnp.zeros((5, 4))
            given = x if reverse else x[::-1]
            _, out = jax.lax.scan(step, start, given, reverse=reverse)
            return jnp.mean(((out if reverse else out[::-1]) - y) ** 2)

        return loss_fn

    w = {"a": jnp.ones((3, 4)), "u": jnp.eye(4), "c": jnp.ones((4, 2))}
    args = w, jnp.ones((6, 5, 3)), jnp.ones((6, 5, 2))
    for reverse in (True, False):
        learner = apical.value_and_grad(turned(reverse), rule(), batch_axes=1)
        if reverse:
            learner.init(jax.random.key(0), *args)
            continue
        with pytest.raises(ValueError, match="an axis is reversed"):
            learner.init(jax.random.key(0), *args)
