"""Labels of sequences: about the last step, or about parts; which outputs are read."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from apical.lab import Data, LabError
from apical.lab.data._dataset import check
from apical.lab.data._labels import Classes, Numbers, PartClasses, labels_of
from apical.lab.training._loss import LOSSES, Loss

X = np.random.default_rng(0).normal(size=(4, 6, 2)).astype(np.float32)
PARTS = np.array([[-1, 2], [0, -1], [1, 1], [2, 0]])


def data(y, x=X, classes=3):
    return Data("mine", "sequences", x, y, x, y, classes=classes)


OUTPUTS = jax.random.normal(jax.random.key(0), (4, 6, 3))


def loss_of(labels, y, outputs=OUTPUTS, name="cross-entropy"):
    """The loss of a model with these outputs, whatever its input is."""
    model = jax.tree_util.Partial(lambda outputs, x: outputs, outputs)
    params, static = eqx.partition(model, eqx.is_array)
    loss = Loss(static, labels, name)
    return loss.training(params, None, jnp.asarray(X), jnp.asarray(y))[0]


def log_probability(outputs, y):
    return -float(optax.softmax_cross_entropy_with_integer_labels(outputs, y))


def test_one_label_is_about_the_last_step():
    y = np.array([0, 1, 2, 0])
    labels = labels_of(check(data(y)))
    assert labels == Classes(3, last=True)
    expected = -np.mean([log_probability(OUTPUTS[i, -1], y[i]) for i in range(4)])
    assert float(loss_of(labels, y)) == pytest.approx(expected, rel=1e-5)
    grad = jax.grad(lambda outputs: loss_of(labels, y, outputs))(OUTPUTS)
    assert not grad[:, :-1].any() and grad[:, -1].all()


def test_numbers_are_about_the_last_step():
    y = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    labels = labels_of(check(data(y)))
    assert isinstance(labels, Numbers) and labels.last
    found = loss_of(labels, y, name="squared-error")
    expected = 0.5 * np.mean(np.sum((np.asarray(OUTPUTS[:, -1]) - y) ** 2, -1))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_parts_is_the_mean_over_the_steps_that_have_a_label():
    labels = labels_of(check(data(PARTS)))
    assert labels == PartClasses(3, steps=3)
    expected = []
    for outputs, (first, second) in zip(OUTPUTS, PARTS, strict=True):
        asked = [(t, first) for t in range(3)] + [(t, second) for t in range(3, 6)]
        losses = [-log_probability(outputs[t], y) for t, y in asked if y >= 0]
        expected.append(np.mean(losses))
    assert float(loss_of(labels, PARTS)) == pytest.approx(np.mean(expected), rel=1e-5)
    grad = jax.grad(lambda outputs: loss_of(labels, PARTS, outputs))(OUTPUTS)
    asked = np.repeat(PARTS >= 0, 3, axis=1)
    np.testing.assert_array_equal((grad != 0).any(-1), asked)


def test_squared_errors_of_parts_count_labelled_steps_alone():
    labels = PartClasses(3, steps=3)
    found = loss_of(labels, PARTS, name="squared-error")
    hot = np.eye(3)[np.repeat(np.maximum(PARTS, 0), 3, axis=1)]
    asked = np.repeat(PARTS >= 0, 3, axis=1)
    errors = 0.5 * ((np.asarray(OUTPUTS) - hot) ** 2).sum(-1) * asked
    assert float(found) == pytest.approx(
        (errors.sum(1) / asked.sum(1)).mean(), rel=1e-5
    )
    # What rules clamp: where there is no label, output and target are the same.
    y = jnp.asarray(PARTS)
    read, target = labels.read(OUTPUTS, y), labels.target(y)
    np.testing.assert_array_equal(read[~asked], target[~asked])
    np.testing.assert_array_equal(target[asked], hot[asked])


def test_the_answer_of_a_part_is_that_of_its_mean_output():
    labels = PartClasses(3, steps=3)
    outputs = np.zeros((2, 6, 3), np.float32)
    outputs[0, 0:2, 1], outputs[0, 2, 0] = 1, 3  # two steps say 1, their mean says 0
    outputs[0, 3:, 2] = 1
    outputs[1, 3:, 1] = 1
    y = jnp.array([[0, 1], [-1, 1]])
    read = labels.read(jnp.asarray(outputs), y)
    np.testing.assert_allclose(labels.score_of_each(read, y), [0.5, 1.0])


@pytest.mark.parametrize("name", ["cross-entropy", "squared-error"])
def test_a_part_for_each_step_is_a_label_for_each_step(name):
    y = np.random.default_rng(2).integers(0, 3, (4, 6))
    labels = PartClasses(3, steps=1)
    every = LOSSES[name](OUTPUTS, jnp.asarray(y), Classes(3)).mean()
    np.testing.assert_allclose(loss_of(labels, y, name=name), every, rtol=1e-6)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((4, 4), int), "the 6 steps of mine: train_x cannot be cut into 4"),
        (
            np.where(PARTS == 0, -2, PARTS),
            r"train_y\[1, 0\] is -2: .* or -1 for no label",
        ),
        (
            np.array([[0, 1], [-1, -1], [0, 0], [1, 1]]),
            r"train_y\[1\] is -1 everywhere",
        ),
        (np.array([[0, 3], [0, 1], [0, 0], [1, 1]]), r"\[0, 1\] is 3: it should be 0"),
        (np.array([0, -1, 0, 1]), r"train_y\[1\] is -1: it should be 0 to 2, as there"),
        (np.zeros((4, 2, 3), int), "there must be one label for each example"),
        (np.zeros((4, 6, 3), np.float32), "labels that are numbers must be"),
    ],
)
def test_labels_that_do_not_fit_are_refused(y, message):
    with pytest.raises(LabError, match=message):
        check(data(y))


def test_sequences_have_three_axes():
    with pytest.raises(LabError, match=r"sequences must be \(examples, time, channels"):
        check(data(np.array([0, 1, 2, 0]), X[..., 0]))


def test_classes_without_examples_are_noted_and_missing_labels_are_not():
    assert check(data(PARTS)).note == ""
    noted = check(data(np.where(PARTS == 2, 1, PARTS)))
    assert noted.note == "no example has the label 2"
