"""Raster plots: a tick for every spike, at its time and neuron."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from apical import spiking

SPIKES = np.zeros((10, 3))
SPIKES[[2, 7, 9], [0, 2, 1]] = 1


def ticks(ax):
    """The time and the row of each tick."""
    segments = [s for c in ax.collections for s in c.get_segments()]
    return {(round(s[0][0], 6), s[:, 1].mean()) for s in segments}


def test_a_tick_stands_for_each_spike():
    ax = spiking.raster(SPIKES, dt=0.5, ax=Figure().subplots())
    assert ticks(ax) == {(1.0, 0), (3.5, 2), (4.5, 1)}
    assert ax.get_xlim() == (-0.25, 4.75)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time", "neuron")


def test_groups_are_drawn_above_each_other():
    groups = {"input": SPIKES, "hidden": SPIKES[:, :2]}
    ax = spiking.raster(groups, ax=Figure().subplots(), colors="red")
    assert ticks(ax) == {(2, 0), (7, 2), (9, 1), (2, 3), (9, 4)}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["input", "hidden"]
    assert list(ax.get_yticks()) == [1, 3.5]


@pytest.mark.parametrize(
    ("spikes", "message"),
    [
        (np.zeros((10, 2, 3)), r"shape \[T, N\], not \[10, 2, 3\].*spikes\[:, 0\]"),
        ({"a": SPIKES, "b": SPIKES[:5]}, "one number of steps, not"),
        ({"a": np.full((2, 2), np.nan)}, "The spikes 'a' have entries that are NaN"),
        ({}, "at least one"),
    ],
)
def test_what_cannot_be_drawn_is_refused(spikes, message):
    with pytest.raises(ValueError, match=message):
        spiking.raster(spikes, ax=Figure().subplots())


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"apical\[lab\]"):
        spiking.raster(SPIKES)
