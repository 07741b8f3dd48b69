"""The rows of scalar feedback."""

from apical import rules
from apical.lab._entry import Entry


def _activities() -> rules.ForwardGradient:
    return rules.ForwardGradient("activities")


SCALAR_FEEDBACK: dict[str, Entry] = {
    "weight-perturbation": Entry(rules.WeightPerturbation, cost=1.5),
    "node-perturbation": Entry(rules.NodePerturbation, cost=1.5),
    "forward-gradient": Entry(rules.ForwardGradient, cost=2.0),
    "forward-gradient-activities": Entry(_activities, cost=1.5),
    "evolution-strategy": Entry(rules.EvolutionStrategy, cost=40.0),
}
