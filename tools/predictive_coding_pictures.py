"""Draw the figure of docs/predictive-coding.md: errors during inference.

python tools/predictive_coding_pictures.py
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import apical
from apical.lab.report.figures import _style as palette
from apical.lab.report.figures._style import (
    figure_style,
    line_styles,
    new_figure,
    render,
)

PICTURE = (
    Path(__file__).parents[1] / "docs" / "images" / "predictive-coding"
) / "travelling.svg"
LAYERS, WIDTH, EXAMPLES = 8, 64, 64
RATE = 0.1
STEPS = tuple(np.unique(np.geomspace(1, 3000, 40).round().astype(int)).tolist())


def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The squared error of a tanh network."""
    for w in params[:-1]:
        x = jnp.tanh(x @ w)
    return jnp.mean(jnp.sum((x @ params[-1] - y) ** 2, axis=-1)) / 2


def problem() -> tuple[Any, tuple[jax.Array, jax.Array]]:
    """Weights and a batch."""
    keys = jax.random.split(jax.random.key(0), LAYERS + 2)
    sizes = [WIDTH] * LAYERS + [10]
    params = [
        jax.random.normal(keys[i], (sizes[i], sizes[i + 1])) / sizes[i] ** 0.5
        for i in range(LAYERS)
    ]
    x = jax.random.normal(keys[-1], (EXAMPLES, WIDTH))
    y = jax.nn.one_hot(jax.random.randint(keys[-2], (EXAMPLES,), 0, 10), 10)
    return params, (x, 2 * y)


def course() -> tuple[np.ndarray, list[apical.measure.Regime]]:
    """Energies by layer and step, and the regime at each."""
    params, args = problem()
    found = []
    for steps in STEPS:
        rule = apical.rules.PredictiveCoding(steps, RATE, prediction="free")
        learner = apical.value_and_grad(loss_fn, rule)
        found.append(apical.measure.regime(learner)(params, (), *args))
    return np.array([list(one.energy.values()) for one in found]).T, found


def draw() -> Figure:
    """Energies, residual, and closeness, against steps."""
    energies, regimes = course()
    figure = new_figure(3.2, layout="constrained")
    first, second, third = figure.subplots(1, 3)
    image = first.pcolormesh(
        STEPS, np.arange(1, LAYERS), np.log10(energies + 1e-12), shading="nearest"
    )
    image.set_clim(vmin=-8)
    figure.colorbar(image, ax=first, label="log10 of the energy")
    first.set(title="energy of each layer", ylabel="layer")
    first.grid(visible=False)
    second.plot(STEPS, [one.residual for one in regimes], color=palette.INK.light)
    second.set(title="residual", yscale="log")
    _plain(second.yaxis)
    cosines = {
        "to backpropagation's": [one.to_backpropagation for one in regimes],
        "to the equilibrium's": [one.to_equilibrium for one in regimes],
    }
    for name, look in line_styles(cosines).items():
        style = {"color": look.colour, "linestyle": look.dashes}
        third.plot(STEPS, cosines[name], label=name, **style)
    third.set(title="cosine of the update", ylim=(0, 1.02))
    third.legend()
    for axes in (first, second, third):
        axes.set(xlabel="steps of inference", xscale="log")
        _plain(axes.xaxis)
    return figure


def _plain(axis: Any) -> None:
    """Powers of ten as numbers."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


if __name__ == "__main__":
    with figure_style():
        drawn = render(draw())
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(drawn.svg, "utf-8")
