"""The pages of the documentation, and the code on them."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def page(name):
    return (DOCS / f"{name}.md").read_text("utf-8")


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def names_after(text):
    """What there is once the code of a page has run, from its top to its end."""
    found = {}
    for block in blocks(text):
        exec(block, found)
    return found
