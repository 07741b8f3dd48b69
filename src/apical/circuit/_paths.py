"""Names of leaves from their paths, no two alike.

Two paths may print alike: `{"h.b": ...}` beside `{"h": {"b": ...}}`, an attribute
beside a key. Then each is printed with its brackets and quotes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from jax.tree_util import keystr


def texts_of(path: Sequence[Any]) -> tuple[str, ...]:
    """The keys of a path as texts; quoted where nothing would be seen."""
    return tuple(map(_text, path))


def _text(key: Any) -> str:
    text = keystr((key,), simple=True)
    return text if text.strip() and text.isprintable() else repr(text)


def paths_of(paths: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """A name for each path, in their order."""
    plain = [".".join(texts_of(path)) or "params" for path in paths]
    often = Counter(plain)
    told = [
        keystr(tuple(path)) if often[name] > 1 else name
        for path, name in zip(paths, plain, strict=True)
    ]
    taken: set[str] = set()
    for i, name in enumerate(told):
        told[i] = unlike(name, taken.__contains__)
        taken.add(told[i])
    return tuple(told)


def unlike(name: str, taken: Callable[[str], bool]) -> str:
    """The name, or the first of `name#2`, `name#3`, ... that is not taken."""
    found, count = name, 1
    while taken(found):
        count += 1
        found = f"{name}#{count}"
    return found
