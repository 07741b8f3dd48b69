"""The rows of the rules that settle."""

from apical import rules
from apical.lab._registry import Entry

# Rectifiers of ordinary size settle where feedback is weaker than what it answers.
_GAIN = 0.3
_WEAK = {"gain": (0.03, 1.0, "log")}


def _equilibrium() -> rules.EquilibriumPropagation:
    return rules.EquilibriumPropagation(gain=_GAIN)


def _contrastive() -> rules.ContrastiveHebbian:
    return rules.ContrastiveHebbian(gain=_GAIN)


def _coupled() -> rules.CoupledLearning:
    return rules.CoupledLearning(gain=_GAIN)


def _generec() -> rules.GeneRec:
    return rules.GeneRec(gain=_GAIN)


ENERGY: dict[str, Entry] = {
    "equilibrium-propagation": Entry(
        _equilibrium, cost=20.0, space={"nudge": (0.01, 1.0, "log"), **_WEAK}
    ),
    "contrastive-hebbian": Entry(_contrastive, cost=15.0, space=_WEAK),
    "coupled-learning": Entry(
        _coupled, cost=15.0, space={"nudge": (0.01, 1.0, "log"), **_WEAK}
    ),
    "generec": Entry(_generec, cost=15.0, space=_WEAK),
    "activation-relaxation": Entry(rules.ActivationRelaxation, cost=1.5),
    "dual-propagation": Entry(rules.DualPropagation, cost=3.0),
}
