"""The rows of the rules that settle."""

from apical import rules
from apical.lab._entry import Entry

_GAIN = {"gain": (0.03, 1.0, "log")}
_NUDGE_AND_GAIN = {"nudge": (0.01, 1.0, "log"), **_GAIN}


def _equilibrium() -> rules.EquilibriumPropagation:
    # Rectifiers settle where feedback is weaker than what it answers.
    return rules.EquilibriumPropagation(gain=0.3)


def _relaxation() -> rules.ActivationRelaxation:
    # What is left of the start after 50 steps is below 1 % at each rate of the sweep.
    return rules.ActivationRelaxation(steps=50)


# Costs are those of 50 steps of settling on a perceptron.
ENERGY: dict[str, Entry] = {
    "equilibrium-propagation": Entry(_equilibrium, cost=15.0, space=_NUDGE_AND_GAIN),
    "contrastive-hebbian": Entry(rules.ContrastiveHebbian, cost=15.0, space=_GAIN),
    "coupled-learning": Entry(rules.CoupledLearning, cost=15.0, space=_NUDGE_AND_GAIN),
    "generec": Entry(rules.GeneRec, cost=15.0, space=_GAIN),
    "activation-relaxation": Entry(_relaxation, cost=10.0),
    "dual-propagation": Entry(rules.DualPropagation, cost=3.0),
}
