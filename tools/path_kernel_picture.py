"""Draw the picture of docs/path-kernel.md: the examples that pulled one prediction.

python tools/path_kernel_picture.py
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import apical
from apical import rules
from apical.lab.report.figures import _style as palette
from apical.lab.report.figures._style import figure_style, new_figure, render

PICTURE = (
    Path(__file__).parents[1] / "docs" / "images" / "path-kernel" / "contributions.svg"
)
EXAMPLES, TEST, RATE, STEPS, BATCH, WIDTHS = 300, 1509, 0.2, 400, 30, (64, 32, 32, 10)
RULES = {
    "backpropagation": rules.Backpropagation(),
    "feedback alignment": rules.FeedbackAlignment(),
    "direct feedback": rules.DirectFeedbackAlignment(),
}


def network(params: Any, x: jax.Array) -> jax.Array:
    """A tanh network."""
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The cross-entropy of the classes."""
    losses = optax.softmax_cross_entropy_with_integer_labels(network(params, x), y)
    return jnp.mean(losses)


def layers(draw: np.random.Generator) -> list[dict[str, jax.Array]]:
    """Weights, drawn by numpy."""
    return [
        {"w": jnp.asarray(draw.normal(size=(m, n)) / m**0.5), "b": jnp.zeros(n)}
        for m, n in pairwise(WIDTHS)
    ]


def main() -> None:
    """Train by each rule, draw, and print what was found."""
    digits = load_digits()
    images, labels = digits.images / 16, digits.target
    x, y = (
        jnp.asarray(images[:EXAMPLES].reshape(-1, 64)),
        jnp.asarray(labels[:EXAMPLES]),
    )
    test, true = jnp.asarray(images[TEST].reshape(1, 64)), int(labels[TEST])
    draw = np.random.default_rng(0)
    params = layers(draw)
    batches = [draw.permutation(EXAMPLES)[:BATCH] for _ in range(STEPS)]
    with figure_style():
        figure = new_figure(4.0, layout="constrained")
        panels = figure.subplots(1, 1 + len(RULES), width_ratios=(0.5, 1, 1, 1))
        panels[0].imshow(images[TEST], cmap="gray_r")
        panels[0].axis("off")
        panels[0].set_title(f"a test image\nof class {true}")
        for axes, (name, rule) in zip(panels[1:], RULES.items(), strict=True):
            learner = apical.value_and_grad(loss_fn, rule)
            measure = apical.measure.path_kernel(
                learner,
                lambda params: network(params, test)[0],
                optax.sgd(RATE),
                batches=batches,
                kernel=False,
            )
            state = learner.init(jax.random.key(0), params, x, y)
            found = measure(params, state, x, y)
            probability = float(jax.nn.softmax(found.final)[true])
            print(
                f"{name}: error {found.error:.1e}, loss {found.loss[-20:].mean():.3f}"
            )
            apical.measure.plot_contributions(
                found.change[true],
                count=10,
                labels=labels[:EXAMPLES],
                images=images[:EXAMPLES],
                colors=(palette.HUES[4].light, palette.HUES[2].light),
                ax=axes,
            )
            axes.set_title(f"{name}: p = {probability:.2f}")
            axes.set_xlabel(f"contribution to the logit of {true}")
            axes.set_ylabel("")
        drawn = render(figure)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(drawn.svg, "utf-8")


if __name__ == "__main__":
    main()
