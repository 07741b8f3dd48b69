"""In which regime predictive coding runs: measured before training and at its end."""

from typing import Any

import jax

import apical
from apical.lab.training._loss import Loss
from apical.measure import Regime
from apical.rules import PredictiveCoding, Rule

# The same for a terminal of 80 columns; to rest is to equilibrium.
_NARROW = (
    *("rule", "epoch", "residual", "rate x\ncurvature", "to\nbackprop", "to\nrest"),
    *("steps", "update"),
)


def has_regime(rule: Rule) -> bool:
    """Whether values of the rule descend an energy towards a rest of their own."""
    if not isinstance(rule, PredictiveCoding):
        return False
    return rule.prediction == "free" and rule.free is None and rule.settles


def regime_of(loss: Loss, rule: Any, learned: Any, batch: Any) -> Regime:
    """The regime of the first lane, on one batch of the training part."""
    params, statistics, state = jax.tree.map(lambda leaf: leaf[0], learned)
    learner = apical.value_and_grad(loss.training, rule, **loss.setting)
    return apical.measure.regime(learner)(params, state.rule, statistics, *batch)
