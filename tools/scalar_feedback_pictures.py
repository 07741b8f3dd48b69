"""Draw the picture of docs/scalar-feedback.md, and print its tables.

python tools/scalar_feedback_pictures.py
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import apical
from apical import rules
from apical.lab.report.figures import _style as palette
from apical.lab.report.figures._style import (
    figure_style,
    line_styles,
    new_figure,
    render,
)

PICTURE = (
    Path(__file__).parents[1] / "docs" / "images" / "scalar-feedback" / "variance.svg"
)
WIDTHS, EXAMPLES, DRAWS = (4, 8, 16, 32, 64, 128), 8, 400
RULES = {
    "weight perturbation": rules.WeightPerturbation(),
    "node perturbation": rules.NodePerturbation(),
}


def layers(*sizes: int) -> list[jax.Array]:
    """Weights, drawn by numpy."""
    draw = np.random.default_rng(0)
    pairs = itertools.pairwise(sizes)
    return [jnp.asarray(draw.normal(size=(m, n)) / m**0.5) for m, n in pairs]


def batch(examples: int, inputs: int, outputs: int) -> tuple[jax.Array, jax.Array]:
    """Inputs and targets."""
    draw = np.random.default_rng(1)
    numbers = [draw.normal(size=(examples, n)) for n in (inputs, outputs)]
    return jnp.asarray(numbers[0]), jnp.asarray(numbers[1])


def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The squared error of a tanh network."""
    for w in params[:-1]:
        x = jnp.tanh(x @ w)
    return jnp.mean(jnp.sum((x @ params[-1] - y) ** 2, axis=-1)) / 2


def flat(tree: Any) -> jax.Array:
    """All numbers of a tree, in one row."""
    return jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(tree)])


def estimates(rule: Any, loss: Any, params: Any, args: Any, count: int) -> jax.Array:
    """Independent estimates of the gradient, one in each row."""
    learner = apical.value_and_grad(loss, rule)
    keys = jax.random.split(jax.random.key(0), count)
    return jax.jit(
        lambda keys: jax.lax.map(lambda k: flat(learner(params, k, *args).grads), keys)
    )(keys)


def variance(rule: Any, width: int) -> float:
    """E|g - true|^2 / |true|^2, on two hidden layers of this width."""
    params, args = layers(8, width, width, 4), batch(EXAMPLES, 8, 4)
    true = flat(jax.grad(loss_fn)(params, *args))
    found = estimates(rule, loss_fn, params, args, DRAWS)
    off = jnp.sum((found - true) ** 2, axis=1)
    return float(jnp.mean(off) / jnp.sum(true**2))


def draw(found: dict[str, list[float]]) -> Figure:
    """Variance against width."""
    figure = new_figure(3.4, layout="constrained")
    axes = figure.subplots()
    for name, look in line_styles(found).items():
        style = {"color": look.colour, "linestyle": look.dashes}
        axes.plot(WIDTHS, found[name], label=name, **style)
    counts = [flat(layers(8, w, w, 4)).size for w in WIDTHS]
    units = [2 * w + 4 for w in WIDTHS]
    ink = {"color": palette.INK.light, "linestyle": "none", "markersize": 4}
    axes.plot(WIDTHS, counts, marker="o", label="number of weights", **ink)
    axes.plot(WIDTHS, units, marker="^", label="number of nodes and outputs", **ink)
    axes.set(xscale="log", yscale="log", xlabel="units in each hidden layer")
    axes.set(title="squared error of one estimate, over the squared true gradient")
    axes.set_xticks(WIDTHS, [str(w) for w in WIDTHS])
    axes.xaxis.set_minor_formatter("")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend()
    return figure


# ------------------------------------------------------- spikes: bias and variance


def spiking(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Two layers of spikes, 3 and 2, and a readout."""
    for w in params[:-1]:
        x = apical.bernoulli(jax.nn.sigmoid(x @ w))
    return jnp.mean(jnp.sum((x @ params[-1] - y) ** 2, axis=-1)) / 2


def expected(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The expectation of its loss: the sum over all 32 states."""

    def term(state: jax.Array) -> jax.Array:
        one, two = state[:3], state[3:]
        ps = jax.nn.sigmoid(x @ params[0]), jax.nn.sigmoid(one @ params[1])
        chance = jnp.ones(len(x))
        for p, s in zip(ps, (one, two), strict=True):
            chance *= jnp.prod(jnp.where(s > 0, p, 1 - p), axis=-1)
        return jnp.mean(chance * jnp.sum((two @ params[2] - y) ** 2, axis=-1)) / 2

    states = jnp.array(list(itertools.product((0.0, 1.0), repeat=5)))
    return jnp.sum(jax.vmap(term)(states))


SPIKING = {
    "`ScoreFunction(baseline='none')`": rules.ScoreFunction(baseline="none"),
    "`ScoreFunction()`": rules.ScoreFunction(),
    "`ScoreFunction(draws=16, baseline='draws')`": rules.ScoreFunction(16, "draws"),
    "`StraightThrough()`": rules.StraightThrough(),
    "`Concrete(temperature=1.0)`": rules.Concrete(1.0),
    "`Concrete(temperature=0.5)`": rules.Concrete(0.5),
    "`Concrete(temperature=0.1)`": rules.Concrete(0.1),
    "`Concrete(0.5, hard=True)`": rules.Concrete(0.5, hard=True),
    "`NodePerturbation()` (of the rates)": rules.NodePerturbation(),
    "`Backpropagation()` (of the rates)": rules.Backpropagation(),
}


def table(count: int = 100_000) -> list[str]:
    """Bias and variance of every estimator, against the sum over all states."""
    params, args = [3 * w for w in layers(4, 3, 2, 2)], batch(4, 4, 2)
    true = flat(jax.grad(expected)(params, *args))
    size, rows = jnp.sum(true**2), []
    for name, rule in SPIKING.items():
        found = estimates(rule, spiking, params, args, count)
        mean = jnp.mean(found, axis=0)
        spread = jnp.sum(jnp.var(found, axis=0)) / size
        # Subtract the part of the distance that is due to the finite number of draws.
        off = jnp.sum((mean - true) ** 2) / size - spread / count
        bias = float(jnp.sqrt(jnp.maximum(off, 0)))
        rows.append(f"| {name} | {100 * bias:.0f} % | {float(spread):.2g} |")
    return rows


def main() -> None:
    """Print the tables and write the picture."""
    with jax.enable_x64(True):
        print("\n".join(table()))
        found = {n: [variance(r, w) for w in WIDTHS] for n, r in RULES.items()}
    for name, numbers in found.items():
        print(f"| {name} | {' | '.join(f'{x:.3g}' for x in numbers)} |")
    with figure_style():
        drawn = render(draw(found))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(drawn.svg, "utf-8")


if __name__ == "__main__":
    main()
