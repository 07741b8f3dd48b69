"""Draw the picture of docs/locality.md: the measured needs of rules, and their costs.

python tools/locality_picture.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locality_networks import LAYERS, after_updates

import apical
from apical import rules
from apical.lab.report.figures._style import figure_style, new_figure, render

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "locality" / "needs.svg"
FREE = rules.PredictiveCoding(8, prediction="free")
RULES: dict[str, rules.Rule] = {
    "backpropagation": rules.Backpropagation(),
    "feedback alignment": rules.FeedbackAlignment(),
    "sign concordance": rules.SignConcordance(),
    "Kolen-Pollack": rules.KolenPollack(),
    "weight mirror": rules.WeightMirror(),
    "direct feedback alignment": rules.DirectFeedbackAlignment(),
    "direct random target projection": rules.DirectRandomTargetProjection(),
    "predictive coding, free": FREE,
    "predictive coding, by errors": rules.PredictiveCoding(
        8, prediction="free", inference=rules.ErrorRelaxation()
    ),
    "equilibrium propagation": rules.EquilibriumPropagation(gain=0.5),
    "difference target propagation": rules.DifferenceTargetPropagation(),
    "synthetic gradients": rules.SyntheticGradients(),
    "local losses": rules.LocalLosses(),
    "forward-forward": rules.ForwardForward(),
    "PEPITA": rules.PEPITA(),
    "weight perturbation": rules.WeightPerturbation(),
    "node perturbation": rules.NodePerturbation(),
    "forward gradient": rules.ForwardGradient(),
}


def measured(rule: rules.Rule) -> tuple[Any, Any]:
    """The locality of a rule after some updates, and its cost."""
    learner, params, state = after_updates(rule, LAYERS)
    cost = apical.measure.cost(learner)(params, state, *LAYERS.args)
    return apical.measure.locality(learner, params, state, *LAYERS.args), cost


def main() -> None:
    """Measure the rules and draw their strips."""
    found, costs = zip(*map(measured, RULES.values()), strict=True)
    with figure_style():
        figure = new_figure(7.0, layout="constrained")
        axes = figure.subplots()
        apical.measure.plot_needs(found, labels=list(RULES), costs=costs, ax=axes)
        drawn = render(figure)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(drawn.svg, "utf-8")


if __name__ == "__main__":
    main()
