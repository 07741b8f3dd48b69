"""A reconstruction written by a user trains the inverses."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import assert_close, distance
from support.target_propagation import SGD, STEP, credit_of, drawn

from apical.rules import DifferenceTargetPropagation, NoiseReconstruction, rule
from apical.rules.tools import AbstractReconstruction, static


@rule
class PlainReconstruction(AbstractReconstruction):
    """weight | G(F(s)) - s |^2 / 2, without noise."""

    weight: float = 1.0
    steps: int = static(default=1)

    citation = "@misc{plain}"

    def losses(self, inverse, weights, forward, key):
        values = forward.values
        again = inverse.back(weights, forward(values))
        return {
            n: self.weight * jnp.sum((g - values[n]) ** 2) / 2 for n, g in again.items()
        }


def trained_by(part):
    teach = DifferenceTargetPropagation(STEP, part, optimizer=SGD)
    return teach, drawn(teach)


def test_a_users_reconstruction_trains_the_inverses():
    teach, state = trained_by(PlainReconstruction())
    found = credit_of(teach, state).state.weights
    silent, _ = trained_by(NoiseReconstruction(0.0))  # the same loss without noise
    expected = credit_of(silent, state).state.weights
    assert_close(found, expected)
    moved = jax.tree.map(lambda a, b: a - b, found.shift, state.weights.shift)
    assert max(float(jnp.abs(m).max()) for m in moved.values()) > 1e-4


def test_its_numbers_are_leaves_of_the_rule_and_its_steps_are_taken():
    teach, state = trained_by(PlainReconstruction(0.5, steps=3))
    assert 0.5 in jax.tree.leaves(teach)
    once, _ = trained_by(PlainReconstruction(0.5))
    again = state
    for _ in range(3):
        again = credit_of(once, again).state
    found = credit_of(teach, state)
    assert_close(found.state.weights, again.weights)
    double = credit_of(trained_by(PlainReconstruction(1.0, steps=3))[0], state)
    assert distance(double.state.weights, found.state.weights) > 1e-4
    first = credit_of(once, state).info.loss
    larger = credit_of(trained_by(PlainReconstruction(1.0))[0], state).info.loss
    for name, loss in first.items():
        np.testing.assert_allclose(larger[name], 2 * loss, rtol=1e-5)


def test_the_source_of_a_users_reconstruction_is_that_of_the_rule():
    assert trained_by(PlainReconstruction())[0].citation == "@misc{plain}"
    bare = type("Bare", (PlainReconstruction,), {"citation": ""})
    assert "lee2015" in DifferenceTargetPropagation(training=bare()).citation
    assert "lee2015" in DifferenceTargetPropagation().citation


@dataclass(frozen=True)
class NoPytree(AbstractReconstruction):
    steps: int = 1

    losses = PlainReconstruction.losses


@rule
class NoSteps(AbstractReconstruction):
    losses = PlainReconstruction.losses


@pytest.mark.parametrize(
    ("part", "kind", "message"),
    [
        (NoPytree(), TypeError, "`NoPytree` is no pytree: write `@apical.rules.rule`"),
        (NoSteps(), ValueError, r"`NoSteps\.steps` must be a whole number above 0"),
        (object(), TypeError, "another `AbstractReconstruction`"),
    ],
)
def test_what_is_no_reconstruction_is_refused(part, kind, message):
    with pytest.raises(kind, match=message):
        drawn(DifferenceTargetPropagation(training=part))


def test_a_reconstruction_without_losses_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        type("Empty", (AbstractReconstruction,), {})()
    assert credit_of(*trained_by(PlainReconstruction())).value > 0  # the control
