"""The effective rank, against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apical

RANK = apical.measure.effective_rank


@pytest.mark.parametrize("kind", ["participation", "entropy"])
def test_equal_variances_count_one_each(kind):
    basis = jax.random.orthogonal(jax.random.key(0), 9)[:4]
    x = jnp.concatenate([basis, -basis])
    np.testing.assert_allclose(RANK(x, kind=kind), 4, rtol=1e-4)


def test_both_kinds_by_their_definitions():
    x = np.random.default_rng(0).normal(size=(12, 5)) * [5, 3, 1, 0.5, 0.1] + 7
    v = np.linalg.eigvalsh(np.cov(x.T))
    s = np.sqrt(v) / np.sqrt(v).sum()
    np.testing.assert_allclose(RANK(x), v.sum() ** 2 / (v**2).sum(), rtol=1e-4)
    wanted = np.exp(-(s * np.log(s)).sum())
    np.testing.assert_allclose(RANK(x, kind="entropy"), wanted, rtol=1e-4)
    assert RANK(x, centered=False) < RANK(x)  # the mean is the largest direction


def test_a_scalar_signal_has_rank_1_wherever_its_examples_are():
    x = jnp.ones((3, 1)) * jnp.arange(8.0)  # [units, examples]
    np.testing.assert_allclose(RANK(x, example_axis=1), 1, rtol=1e-5)
    assert np.isnan(RANK(jnp.ones((4, 3))))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`kind` must be"):
        RANK(jnp.eye(3), kind="trace")
    with pytest.raises(ValueError, match="at least two examples"):
        RANK(jnp.ones((1, 3)))
    with pytest.raises(ValueError, match=r"\[4, 5\] examples"):
        RANK({"a": jnp.ones((4, 2)), "b": jnp.ones((5, 2))})
