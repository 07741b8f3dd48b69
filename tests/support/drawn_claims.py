"""The pictures of claims."""

from apical.lab.report.figures._style import figure_style, render


def assert_drawn(claim, lines):
    """These lines of a claim make a picture, and so do none."""
    with figure_style():
        for each in (lines, []):
            assert len(render(claim.draw(each)).png) > 10_000
