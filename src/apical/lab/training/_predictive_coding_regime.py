"""The regime of predictive coding: measured before training and at its end."""

from typing import Any

import jax

import apical
from apical.lab.training._loss import Loss
from apical.measure import Regime
from apical.rules import PredictiveCoding, Rule


def has_regime(rule: Rule) -> bool:
    """Whether the rule's values descend an energy towards an equilibrium."""
    if not isinstance(rule, PredictiveCoding):
        return False
    # With `settles` False weights move meanwhile: there is no equilibrium.
    return rule.prediction == "free" and rule.free is None and rule.settles


def regime_of(loss: Loss, rule: Any, learned: Any, batch: Any) -> Regime:
    """The regime of the first run, on one batch of the training set."""
    params, statistics, state = jax.tree.map(lambda leaf: leaf[0], learned)
    learner = apical.value_and_grad(loss.training, rule, **loss.setting)
    return apical.measure.regime(learner)(params, state.rule, statistics, *batch)
