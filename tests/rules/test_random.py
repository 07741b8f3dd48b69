"""Random arrays of many shapes: slices of one draw."""

import jax
import jax.numpy as jnp
import numpy as np

from apical.rules._random import draw_arrays, draw_matrices

KEY = jax.random.key(3)
SHAPES = [(2, 3), (), (4,)]


def test_arrays_are_consecutive_slices_of_one_draw():
    numbers = np.asarray(jax.random.normal(KEY, (11,)))
    found = draw_arrays(KEY, SHAPES, jax.random.normal)
    expected = [numbers[:6].reshape(2, 3), numbers[6], numbers[7:]]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_with_a_count_each_row_of_the_draw_is_split():
    numbers = np.asarray(jax.random.uniform(KEY, (5, 11)))
    found = draw_arrays(KEY, SHAPES, jax.random.uniform, count=5)
    assert [x.shape for x in found] == [(5, 2, 3), (5,), (5, 4)]
    np.testing.assert_array_equal(found[0][4], numbers[4, :6].reshape(2, 3))
    np.testing.assert_array_equal(found[2][1], numbers[1, 7:])


def test_without_shapes_nothing_is_drawn():
    assert draw_arrays(KEY, [], jax.random.normal) == []


def test_matrices_are_uniform_within_the_root_of_their_rows():
    small, large = draw_matrices(KEY, [(4, 900), (900, 4)], [jnp.float32, jnp.bfloat16])
    assert (small.dtype, large.dtype) == (jnp.float32, jnp.bfloat16)
    for matrix, rows in ((small, 4), (large, 900)):
        scaled = np.asarray(matrix, float) * rows**0.5
        assert 0.98 < np.max(np.abs(scaled)) < 1.01
        np.testing.assert_allclose(np.var(scaled), 1 / 3, rtol=0.1)
