"""Centred kernel alignment, against its definition."""

import itertools

import jax
import numpy as np
import pytest

import apical

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(9, 4)), RNG.normal(size=(9, 6)) + 3


def test_the_biased_form_by_centring_matrices():
    h = np.eye(9) - 1 / 9
    k, ell = h @ X @ X.T @ h, h @ Y @ Y.T @ h
    wanted = np.sum(k * ell) / np.linalg.norm(k) / np.linalg.norm(ell)
    found = apical.measure.cka(X, Y, debiased=False)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_the_debiased_form_by_the_sum_over_different_examples():
    """HSIC = mean of k_ij (l_ij + l_qr - 2 l_iq) over different i, j, q, r."""
    x, y = X[:7], Y[:7]
    k, ell = x @ x.T, y @ y.T

    def hsic(k, ell):
        each = itertools.permutations(range(7), 4)
        return np.mean(
            [k[i, j] * (ell[i, j] + ell[q, r] - 2 * ell[i, q]) for i, j, q, r in each]
        )

    wanted = hsic(k, ell) / np.sqrt(hsic(k, k) * hsic(ell, ell))
    np.testing.assert_allclose(apical.measure.cka(x, y), wanted, rtol=1e-3)


def test_unrelated_noise_looks_alike_only_to_the_biased_form():
    x, y = RNG.normal(size=(2, 30, 400))
    assert apical.measure.cka(x, y, debiased=False) > 0.8
    assert abs(apical.measure.cka(x, y)) < 0.1


def test_rotation_and_scale_do_not_count():
    turn = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
    np.testing.assert_allclose(apical.measure.cka(X, 7 * X @ turn + 2), 1, rtol=1e-4)
    stretched = X * [1, 1, 1, 30]  # the control: no rotation
    assert apical.measure.cka(X, stretched) < 0.9


def test_the_matrix_names_what_does_not_fit():
    found = apical.measure.similarity_matrix({"a": X, "b": Y})
    np.testing.assert_allclose(found, found.T, rtol=1e-5)
    np.testing.assert_allclose(np.diag(found), 1, rtol=1e-4)
    with pytest.raises(ValueError, match=r"'a' \(x\) and 'b' \(y\): .*9 examples"):
        apical.measure.similarity_matrix({"a": X}, {"b": Y[:5]})
    with pytest.raises(ValueError, match="4 examples are needed"):
        apical.measure.cka(X[:3], Y[:3])


def test_it_is_differentiable_and_compiles():
    slope = jax.jit(jax.grad(lambda x: apical.measure.cka(x, Y)))(X)
    assert np.all(np.isfinite(slope)) and np.any(slope)
