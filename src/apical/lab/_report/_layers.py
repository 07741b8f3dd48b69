"""Alignment of each parameter over training, a panel for each model and rule."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from apical.lab._report._canvas import say, shortened
from apical.lab._report._palette import DEPTHS
from apical.lab._report._panels import small_multiples
from apical.lab._report._runs import by_run
from apical.lab._summary import Records

_NAMED = 6  # weights that the heading names
_EVERYWHERE = 0.005  # what two decimals do not show
# The shape is not in the records: these are what the last part of the path is called.
_BIAS = re.compile(r"(?i)(^|[._/\['])(b|bias|biases|offset|beta|scale|gamma|gain)\W*$")


class Layer(NamedTuple):
    """A parameter of one run: its place, and its alignment, the mean over seeds."""

    parameter: str
    place: int
    epochs: np.ndarray
    alignment: np.ndarray


def draw_layers(records: Records) -> Figure:
    """One panel for each model and rule, one line for each parameter."""
    runs = {key: layers(lines) for key, lines in by_run(records).items()}
    blocks: dict[str, list[str]] = {}
    for model, rule in runs:
        blocks.setdefault(model, []).append(rule)
    title = "alignment of each parameter (cosine to backprop's gradient)"
    panels = small_multiples(blocks, title, heading=0.46, unit="epoch")
    low = min((_lowest(run) for run in runs.values()), default=0.0)
    for (model, rule), axes in panels.by_run.items():
        _draw(axes, runs[model, rule], records[0]["epochs"])
        axes.set_ylim(low - 0.04, 1.06)
    for model, axes in panels.headings.items():
        _legend(axes, [layer for rule in blocks[model] for layer in runs[model, rule]])
    return panels.figure


def layers(records: Records) -> list[Layer]:
    """The parameters of one run, in the model's order."""
    found: dict[str, dict[int, list[float]]] = {}
    places: dict[str, int] = {}
    for line in records:
        name, value = line["parameter"], line["alignment"]
        places[name] = line["place"]
        seeds = found.setdefault(name, {}).setdefault(line["epoch"], [])
        if value is not None:
            seeds.append(value)
    return [
        Layer(name, places[name], np.array(sorted(epochs)), _means(epochs))
        for name, epochs in sorted(found.items(), key=lambda item: places[item[0]])
    ]


def is_bias(parameter: str) -> bool:
    """Whether a parameter is called what biases and gains are called.

    Example:
        >>> is_bias("hidden.0.bias"), is_bias("['b']"), is_bias("blocks.0.weight")
        (True, True, False)
    """
    return _BIAS.search(parameter) is not None


def _means(epochs: dict[int, list[float]]) -> np.ndarray:
    seeds = [epochs[epoch] for epoch in sorted(epochs)]
    return np.array([np.mean(values) if values else np.nan for values in seeds])


def _draw(axes: Axes, run: list[Layer], epochs: int) -> None:
    depth = max(layer.place for layer in run)
    biases = [layer for layer in run if is_bias(layer.parameter)]
    weights = [layer for layer in run if not is_bias(layer.parameter)]
    for group, width, opacity in ((biases, 0.7, 0.35), (weights, 1.5, 1.0)):
        axes.add_collection(
            LineCollection(
                [np.column_stack((layer.epochs, layer.alignment)) for layer in group],
                colors=[_colour(layer.place, depth) for layer in group],
                linewidths=width,
                alpha=opacity,
            ),
            autolim=False,
        )
    for layer in (*biases, *weights):
        if np.isfinite(layer.alignment).sum() == 1:  # a line needs two
            dot = {"color": _colour(layer.place, depth), "markersize": 3}
            axes.plot(layer.epochs, layer.alignment, marker="o", **dot)
    known = _known(run)
    axes.set_xlim(-0.02 * epochs, 1.02 * epochs)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_yticks([0.0, 0.5, 1.0])
    if not known.size:
        say(axes, "no alignment: diverged")
    elif np.all(abs(known - 1) < _EVERYWHERE):
        say(axes, "1.00 in every parameter")


def _known(run: list[Layer]) -> np.ndarray:
    values = np.concatenate([layer.alignment for layer in run])
    return values[np.isfinite(values)]


def _lowest(run: list[Layer]) -> float:
    return float(min([0.0, *_known(run)]))


def _colour(place: int, depth: int) -> str:
    return DEPTHS[round(place / max(depth, 1) * (len(DEPTHS) - 1))].light


def _legend(axes: Axes, run: Sequence[Layer]) -> None:
    """Some of the weights by name, in the colours of their depth."""
    depth = max(layer.place for layer in run)
    weights = dict.fromkeys(
        (layer.place, layer.parameter) for layer in run if not is_bias(layer.parameter)
    )
    ordered = sorted(weights) or sorted({(e.place, e.parameter) for e in run})
    places = np.linspace(0, len(ordered) - 1, min(_NAMED, len(ordered)))
    for column, i in enumerate(places.round().astype(int)):
        place, name = ordered[i]
        x = column / _NAMED
        axes.plot(
            [x, x + 0.018], [0.12, 0.12], color=_colour(place, depth), linewidth=2.5
        )
        axes.text(
            x + 0.023, 0.12, shortened(name, 24), fontsize=8, va="center_baseline"
        )
