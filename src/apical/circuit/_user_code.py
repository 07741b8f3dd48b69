"""Which line of the user's code computes something: what messages point at.

A model is mostly made of the layers of other packages, and a line inside one of them
says little to who wrote the model. So of all lines that led to an operation the
innermost one in the user's own code is told; where there is none (a loss function of
a package), the innermost one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

# Where `pip` and distributions of Linux put packages.
_INSTALLED = ("site-packages", "dist-packages")
_APICAL = Path(__file__).parents[1]
_LINE = re.compile(r"(?P<file>.*?):\d+(:\d+)? \(")


def line_to_tell(lines: Iterable[str]) -> str:
    """The first line of the user's own, else the first; empty if there is none.

    Args:
      lines: as JAX writes them, `file:line:column (function)`, from the inside.
    """
    first = ""
    for line in lines:
        found = _LINE.match(line)
        if found is None:  # JAX remembers no line here
            continue
        if not is_installed(found["file"]):
            return line
        first = first or line
    return first


@cache
def is_installed(file: str) -> bool:
    """Whether a file belongs to an installed package, or to apical."""
    return any(
        folder == _APICAL
        or folder.name in _INSTALLED
        or any(folder.glob("*.dist-info"))  # as `pip install --target` leaves it
        for folder in Path(file).parents
    )
