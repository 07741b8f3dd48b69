"""Rules that take few steps, for tests of every dtype."""

import jax

from apical import rules

KEYS = jax.random.split(jax.random.key(0), 6)


def target(x, y):
    del x
    return y


FREE = {"prediction": "free", "steps": 3}
RULES = [
    *(rules.Backpropagation(), rules.FeedbackAlignment(), rules.SignConcordance()),
    *(rules.WeightMirror(), rules.DirectFeedbackAlignment()),
    *(rules.DirectRandomTargetProjection(), rules.PredictiveCoding()),
    rules.PredictiveCoding(**FREE),
    rules.PredictiveCoding(**FREE, inference=rules.ConjugateGradients()),
    rules.PredictiveCoding(**FREE, inference=rules.ErrorRelaxation()),
    *(rules.NodePerturbation(), rules.ForwardGradient()),
    *(rules.ForwardGradient("activities"), rules.WeightPerturbation()),
    *(rules.EvolutionStrategy(), rules.LocalLosses(objective="both")),
    rules.EquilibriumPropagation(free_steps=3, nudged_steps=3),
    *(rules.DualPropagation(), rules.ActivationRelaxation()),
    rules.ContrastiveHebbian(free_steps=3, clamped_steps=3),
    rules.GeneRec(free_steps=3, clamped_steps=3),
    *(rules.TargetPropagation(), rules.DifferenceTargetPropagation()),
    *(rules.SyntheticGradients(), rules.PEPITA(), rules.ForwardForward()),
]
