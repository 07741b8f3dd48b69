"""The rows of predictive coding beside the three that are compared by default."""

import optax

from apical import rules
from apical.lab._entry import Entry


def _errors() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(
        8, prediction="free", inference=rules.ErrorRelaxation()
    )


def _zero_divergence() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(prediction="free", inference=rules.ZeroDivergence())


def _nudged() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(prediction="free", nudge=rules.Nudge(0.1, "centred"))


def _random_feedback() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(prediction="free", feedback=rules.RandomFeedback())


def _learned_feedback() -> rules.PredictiveCoding:
    feedback = rules.RandomFeedback(optax.sgd(0.1))
    return rules.PredictiveCoding(prediction="free", feedback=feedback)


def _learned_precision() -> rules.PredictiveCoding:
    # At 10 steps of inference outgrow two over the curvature before the last epoch.
    precision = rules.LearnedPrecision(highest=2.0)
    return rules.PredictiveCoding(prediction="free", precision=precision)


PREDICTIVE_CODING: dict[str, Entry] = {
    "predictive-coding-errors": Entry(_errors, cost=5.0, space={}),
    "predictive-coding-nudged": Entry(_nudged, cost=16.0),
    "coding-with-random-feedback": Entry(_random_feedback, cost=10.0),
    "coding-with-learned-feedback": Entry(_learned_feedback, cost=10.0),
    "coding-with-learned-precision": Entry(_learned_precision, cost=8.0),
    # Its steps are those of the levels: there is nothing to draw.
    "zero-divergence": Entry(_zero_divergence, cost=2.0, space={}),
    "incremental-predictive-coding": Entry(rules.IncrementalPredictiveCoding, cost=5.0),
}
