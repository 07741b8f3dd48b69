"""Figure of the alignment of each layer over the epochs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from apical.lab.report._summary import by_run
from apical.lab.report.figures._axes import small_multiples
from apical.lab.report.figures._style import DEPTHS, shorten, write_in_panel
from apical.lab.storage._jsonl import Lines

_NAMED = 6  # layers in the legend of a model
_ROUNDING = 0.005  # of two decimals
_DASHES = (0, (3, 2))  # of the readout


class Layer(NamedTuple):
    """A layer of one run: its place, and its mean alignment over seeds."""

    name: str
    place: int
    hidden: bool
    epochs: np.ndarray
    alignment: np.ndarray


def draw_layers(records: Lines) -> Figure:
    """One panel for each model and rule, one line for each layer."""
    runs = {key: layers(lines) for key, lines in by_run(records).items()}
    blocks: dict[str, list[str]] = {}
    for model, rule in runs:
        blocks.setdefault(model, []).append(rule)
    title = "alignment of each layer (cosine to backprop's gradient)"
    panels = small_multiples(blocks, title, heading=0.46, unit="epoch")
    low = min((_lowest(run) for run in runs.values()), default=0.0)
    for (model, rule), axes in panels.by_run.items():
        _draw(axes, runs[model, rule], records[0]["epochs"])
        axes.set_ylim(low - 0.04, 1.06)
    for model, axes in panels.headings.items():
        _legend(axes, [layer for rule in blocks[model] for layer in runs[model, rule]])
    return panels.figure


def layers(records: Lines) -> list[Layer]:
    """The layers of one run, in the order of the forward computation."""
    placed = sorted((ln for ln in records if ln["layer"]), key=lambda ln: ln["place"])
    names = list(dict.fromkeys(line["layer"] for line in placed))
    return [
        _layer(place, [line for line in placed if line["layer"] == name])
        for place, name in enumerate(names)
    ]


def _layer(place: int, lines: Lines) -> Layer:
    # Every parameter of a layer has the alignment of the layer.
    own = [line for line in lines if line["parameter"] == lines[0]["parameter"]]
    epochs: dict[int, list[float]] = {}
    for line in own:
        seeds = epochs.setdefault(line["epoch"], [])
        if line["layer_alignment"] is not None:
            seeds.append(line["layer_alignment"])
    means = [np.mean(epochs[n]) if epochs[n] else np.nan for n in sorted(epochs)]
    name, hidden = own[0]["layer"], own[0]["hidden"]
    return Layer(name, place, hidden, np.array(sorted(epochs)), np.array(means))


def _draw(axes: Axes, run: list[Layer], epochs: int) -> None:
    depth = max((layer.place for layer in run), default=0)
    axes.add_collection(
        LineCollection(
            [np.column_stack((layer.epochs, layer.alignment)) for layer in run],
            colors=[_colour(layer.place, depth) for layer in run],
            linestyles=["-" if layer.hidden else _DASHES for layer in run],
            linewidths=1.5,
        ),
        autolim=False,
    )
    for layer in run:
        if np.isfinite(layer.alignment).sum() == 1:  # a line needs two
            dot = {"color": _colour(layer.place, depth), "markersize": 3}
            axes.plot(layer.epochs, layer.alignment, marker="o", **dot)
    known = _known(run)
    axes.set_xlim(-0.02 * epochs, 1.02 * epochs)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_yticks([0.0, 0.5, 1.0])
    if not known.size:
        write_in_panel(axes, "no alignment: diverged")
    elif np.all(abs(known - 1) < _ROUNDING):
        write_in_panel(axes, "1.00 in every layer")


def _known(run: list[Layer]) -> np.ndarray:
    values = np.concatenate([np.zeros(0), *(layer.alignment for layer in run)])
    return values[np.isfinite(values)]


def _lowest(run: list[Layer]) -> float:
    return float(min([0.0, *_known(run)]))


def _colour(place: int, depth: int) -> str:
    return DEPTHS[round(place / max(depth, 1) * (len(DEPTHS) - 1))].light


def _legend(axes: Axes, run: Sequence[Layer]) -> None:
    """A legend with some of the layers."""
    named = {layer.place: layer for layer in run}
    ordered = [named[place] for place in sorted(named)]
    places = np.linspace(0, len(ordered) - 1, min(_NAMED, len(ordered)))
    for column, i in enumerate(places.round().astype(int)):
        layer, x = ordered[i], column / _NAMED
        axes.plot(
            [x, x + 0.018],
            [0.12, 0.12],
            color=_colour(layer.place, ordered[-1].place),
            linestyle="-" if layer.hidden else _DASHES,
            linewidth=2.5,
        )
        name = shorten(layer.name, 24)
        axes.text(x + 0.023, 0.12, name, fontsize=8, va="center_baseline")
