"""The plot of contributions: bars, names and images."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox

from apical.measure import plot_contributions

CHANGE = np.array([0.5, -2.0, 0.25, 1.0, -0.125])


def drawn(change=CHANGE, **options):
    figure = Figure()
    axes = plot_contributions(change, ax=figure.subplots(), **options)
    figure.canvas.draw()
    return axes


def test_the_bars_are_the_largest_contributions_and_the_sum_of_the_others():
    axes = drawn(count=2)
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == [-2.0, 1.0, 0.625]
    np.testing.assert_allclose(sum(widths), CHANGE.sum())
    assert [t.get_text() for t in axes.get_yticklabels()] == ["1", "3", "3 others"]
    assert axes.yaxis_inverted()  # the largest on top
    lowered, raised = axes.patches[0], axes.patches[1]
    assert lowered.get_facecolor() != raised.get_facecolor()


def test_all_examples_leave_no_others():
    assert len(drawn(count=9).patches) == 5
    names = [t.get_text() for t in drawn(count=4).get_yticklabels()]
    assert names[-1] == "1 other"


def test_examples_have_labels_and_images():
    images = np.random.default_rng(0).random((5, 4, 4))
    axes = drawn(count=2, labels="abcde", images=images)
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        *("1: b", "3: d", "3 others")
    ]
    boxes = [a for a in axes.artists if isinstance(a, AnnotationBbox)]
    shown = [np.asarray(box.offsetbox.get_data()) for box in boxes]
    np.testing.assert_array_equal(shown, images[[1, 3]])


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        (np.ones((2, 3)), {}, "contributions to one prediction"),
        (np.array([1.0, np.nan]), {}, "a finite number"),
        (CHANGE, {"count": 0}, "`count` must be"),
        (CHANGE, {"labels": "ab"}, "one entry for each of the 5 examples"),
        (CHANGE, {"images": np.ones((2, 4, 4))}, "`images` must have one entry"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change, options, reason):
    with pytest.raises(ValueError, match=reason):
        drawn(change, **options)
