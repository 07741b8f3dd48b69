"""Precision, nudge and feedback written by a user work, and are checked."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import assert_close, batch, distance, layers, loss_fn
from support.predictive_coding_by_hand import (
    DATA,
    KEY,
    NAMES,
    PARAMS,
    credit_of,
    free,
)

import apical
from apical.rules import ActivationRelaxation, Nudge, PredictiveCoding
from apical.rules.tools import AbstractFeedback, AbstractNudge, AbstractPrecision

# ------------------------------------------------------------------------- precision


@dataclass(frozen=True)
class Falling(AbstractPrecision):
    """Known by node, and falling with every call."""

    highest: float = 2.0
    citation = "@misc{falling, title={An Example}}"
    needs = ("second network",)

    def init(self, circuit):
        return jnp.zeros(())

    def at(self, circuit, state):
        names = [n.name for n in circuit.nodes]
        found = {n: self.highest / (1 + i + state) for i, n in enumerate(names)}
        return lambda step: found

    def update(self, circuit, state, errors):
        return state + 1


def test_a_users_precision_is_that_of_its_state():
    rule = free(7, 0.2, precision=Falling())
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(KEY, PARAMS, *DATA)
    for precisions in ((2.0, 1.0), (1.0, 2 / 3)):
        credit = learner(PARAMS, state, *DATA)
        given = dict(zip(NAMES, precisions, strict=True))
        assert_close(credit.grads, credit_of(free(7, 0.2, precision=given)).grads)
        state = credit.state
    assert distance(credit.grads, learner(PARAMS, state, *DATA).grads) > 1e-3
    assert "@misc{falling," in rule.citation and "second network" in rule.needs


def test_what_a_users_precision_declares_is_kept():
    fixed = type("Mine", (Falling,), {"requires_prediction": "fixed"})()
    with pytest.raises(ValueError, match="`Mine` needs `prediction='fixed'`"):
        free(precision=fixed)
    PredictiveCoding(precision=fixed)


def test_a_users_precision_that_leaves_out_a_node_is_refused():
    def at(self, circuit, state):
        return lambda step: {NAMES[1]: 1.0}

    rule = free(precision=type("Mine", (Falling,), {"at": at})())
    with pytest.raises(ValueError, match=r"`Mine.at` .*'0' is missing"):
        apical.value_and_grad(loss_fn, rule).init(KEY, PARAMS, *DATA)


# ---------------------------------------------------------------- nudge and feedback


@dataclass(frozen=True)
class Extrapolated(AbstractNudge):
    """2 dE_b / b - dE_2b / 2b: what is left of order b cancels."""

    strength: float

    @property
    def pulls(self):
        return self.strength, 2 * self.strength

    @property
    def weights(self):
        return 2 / self.strength, -1 / (2 * self.strength)


@dataclass(frozen=True)
class OneSided(AbstractNudge):
    strength: float

    @property
    def pulls(self):
        return (self.strength,)


def test_a_users_nudge_weighs_its_settlings():
    def gradients(nudge):
        rule = free(400, 0.1, nudge=nudge)
        return credit_of(rule, params=params, data=data).grads

    with jax.enable_x64(True):
        params, data = layers(5, 7, 6, 3), batch(4, 5, 3)
        exact = jax.grad(loss_fn)(params, *data)
        one = gradients(OneSided(0.02))
        assert_close(one, gradients(Nudge(0.02, "positive")))
        apart = distance(one, exact)
        assert distance(gradients(Extrapolated(0.02)), exact) < apart / 5


@dataclass(frozen=True)
class Scaled(AbstractFeedback):
    """The forward weights of the start, times a number."""

    factor: float
    learns = True

    def init(self, circuit, key, params):
        return jax.tree.map(lambda w: self.factor * w, params)

    def carry(self, state):
        return state

    def update(self, state, grads):
        return jax.tree.map(lambda b, g: b - g, state, grads)


@pytest.mark.parametrize(
    "rule_of",
    [
        lambda part: free(5, 0.2, feedback=part),
        lambda part: PredictiveCoding(5, 0.2, feedback=part),
        lambda part: ActivationRelaxation(5, 0.2, feedback=part),
    ],
    ids=["free", "fixed", "activities"],
)
def test_a_users_feedback_carries_the_errors_back(rule_of):
    def credit(part):
        learner = apical.value_and_grad(loss_fn, rule_of(part))
        return learner(PARAMS, learner.init(KEY, PARAMS, *DATA), *DATA)

    same, other, plain = (credit(p) for p in (Scaled(1.0), Scaled(2.0), None))
    assert_close(same.grads, plain.grads)
    assert distance(other.grads[:2], plain.grads[:2]) > 0.05
    assert "second network" in rule_of(Scaled(1.0)).needs
    state = getattr(same.state, "feedback", same.state)
    np.testing.assert_allclose(
        state[2]["w"], PARAMS[2]["w"] - same.grads[2]["w"], rtol=1e-5, atol=1e-6
    )


# -------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"precision": object()}, "another `AbstractPrecision`"),
        ({"nudge": object()}, "an `AbstractNudge`"),
        ({"feedback": object()}, "an `AbstractFeedback`"),
        ({"precision": Falling([2.0])}, "A `Falling` has no hash"),
        ({"nudge": OneSided([0.1])}, "A `OneSided` has no hash"),
        ({"feedback": Scaled([1.0])}, "A `Scaled` has no hash"),
    ],
)
def test_what_is_no_part_is_refused(keywords, message):
    with pytest.raises(TypeError, match=message):
        free(**keywords)


def test_a_part_without_its_methods_cannot_be_made():
    for kind in (AbstractPrecision, AbstractNudge, AbstractFeedback):
        with pytest.raises(TypeError, match="abstract"):
            type("Empty", (kind,), {})()


def test_the_laws_hold_with_a_users_parts():
    rule = free(3, 0.1, precision=Falling(), nudge=OneSided(0.5))
    learner = apical.value_and_grad(loss_fn, rule)
    apical.testing.check_rule(learner, PARAMS, *DATA)
