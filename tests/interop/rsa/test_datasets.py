"""Dissimilarities by rsatoolbox of what `datasets` returns, against numpy."""

import numpy as np
import pytest
import rsatoolbox

from apical.interop import rsa

X = np.random.default_rng(0).normal(size=(6, 2, 5))


def test_dissimilarities_of_examples_by_hand():
    (data,) = rsa.datasets({"layer": X})
    found = rsatoolbox.rdm.calc_rdm(data, method="euclidean", descriptor="condition")
    rows = X.reshape(6, 10).astype(np.float32)
    wanted = [np.mean((rows[i] - rows[j]) ** 2) for i in range(6) for j in range(i)]
    np.testing.assert_allclose(sorted(found.dissimilarities[0]), sorted(wanted), 1e-4)
    assert data.descriptors["name"] == "layer"


def test_examples_of_one_condition_are_averaged():
    (data,) = rsa.datasets({"layer": X}, conditions=[0, 0, 1, 1, 2, 2])
    found = rsatoolbox.rdm.calc_rdm(data, descriptor="condition")
    means = X.reshape(3, 2, 10).mean(axis=1)
    wanted = np.mean((means[0] - means[1]) ** 2)
    np.testing.assert_allclose(found.dissimilarities[0, 0], wanted, 1e-4)


def test_other_numbers_of_examples_are_named():
    with pytest.raises(ValueError, match="'a' has 6, 'b' has 5"):
        rsa.datasets({"a": X, "b": X[:5]})
