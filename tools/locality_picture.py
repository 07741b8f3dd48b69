"""Draw the picture of docs/locality.md: the measured needs of rules.

python tools/locality_picture.py
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

import apical
from apical import rules
from apical.lab.report.figures._style import figure_style, new_figure, render

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "locality" / "needs.svg"
WIDTHS, EXAMPLES = (5, 7, 6, 8, 3), 4
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


def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The squared error of a tanh network."""
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer)
    return jnp.mean(jnp.sum((x @ params[-1] - y) ** 2, axis=-1))


def measured(rule: rules.Rule) -> Any:
    """The locality of a rule after some updates, by which its own networks move."""
    keys = jax.random.split(jax.random.key(0), len(WIDTHS) + 1)
    pairs = zip(keys, pairwise(WIDTHS), strict=False)
    params = [jax.random.normal(key, (m, n)) / m**0.5 for key, (m, n) in pairs]
    x = jax.random.normal(keys[-2], (EXAMPLES, WIDTHS[0]))
    y = jax.nn.one_hot(jnp.arange(EXAMPLES) % WIDTHS[-1], WIDTHS[-1])
    learner = apical.value_and_grad(
        loss_fn, rule, target=lambda x, y: y, input_argnums=0
    )
    step = apical.train_step(learner, optax.sgd(0.05))
    state = step.init(keys[-1], params, x, y)
    for _ in range(3):
        params, state, _ = jax.jit(step)(params, state, x, y)
    return apical.measure.locality(learner, params, state.rule, x, y)


def main() -> None:
    """Measure the rules and draw their strips."""
    found = [measured(rule) for rule in RULES.values()]
    with figure_style():
        figure = new_figure(7.0, layout="constrained")
        axes = figure.subplots()
        apical.measure.plot_needs(found, labels=list(RULES), ax=axes)
        drawn = render(figure)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(drawn.svg, "utf-8")


if __name__ == "__main__":
    main()
