"""A figure as a part of the page: without what only a file of its own needs."""

import re
from xml.sax.saxutils import quoteattr

from apical.lab._report import _palette as palette

_COLOURS = {colour.light: name for name, colour in palette.NAMED.items()}


def inline(svg: str, name: str, label: str) -> str:
    """The figure as an element of HTML, in the colours of the page.

    Args:
        svg: the whole file, as matplotlib writes it.
        name: of the figure, put before each of its ids: the page has several figures.
        label: what a reader hears who does not see it.
    """
    size = re.search(r'viewBox="([^"]+)"', svg)
    if size is None:
        raise ValueError("svg: it has no viewBox; pass what `picture` returns")
    body = svg[svg.index("<defs>") : svg.rindex("</svg>")]
    body = re.sub(r'<style type="text/css">.*?</style>', "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'\bd="[^"]*"', _rounded, body)
    body = re.sub(r'style="[^"]*"', _named, body)
    return (
        f'<svg class="drawing" role="img" viewBox="{size[1]}" '
        f"aria-label={quoteattr(label)}>\n{body}</svg>"
    )


def _rounded(path: re.Match[str]) -> str:
    """A hundredth of a point is seen by nobody, and half of the bytes."""
    return re.sub(r"(\.\d\d)\d+", r"\1", path[0])


def _named(style: re.Match[str]) -> str:
    return re.sub(r"#[0-9a-f]{6}\b", _variable, style[0])


def _variable(colour: re.Match[str]) -> str:
    name = _COLOURS.get(colour[0])
    return colour[0] if name is None else f"var(--{name})"
