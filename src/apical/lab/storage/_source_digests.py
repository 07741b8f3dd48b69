"""The source files of a user's own models and rules, so that a changed one is seen.

A comparison that goes on with another model or rule than it was begun with would put
the numbers of both into one table.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType

from apical.lab._names import spelled_or_bare


def digests(named: Iterable[str]) -> dict[str, str]:
    """A digest of the source of each module in `module:attribute`, by file.

    Modules that these import from their own folder are among them, and so on.

    Args:
        named: models and rules; those that are not `module:attribute` have no file.
    """
    names = (spelled_or_bare(name).name.partition(":") for name in named)
    todo = [module for module, colon, _ in names if colon]
    found: dict[str, str] = {}
    while todo:
        path = _path(name := todo.pop())
        if path is None or (told := _told(name, path)) in found:
            continue
        source = path.read_bytes()
        found[told] = hashlib.sha256(source).hexdigest()[:16]
        imported = _imported(sys.modules[name], source)
        todo += [other for other in imported if _folder(other) == path.parent]
    return dict(sorted(found.items()))


def changed(before: str | None, now: str | None) -> str:
    """The files that are not as they were.

    Args:
        before: their digests, as they are written down.
        now: the same.
    """
    one, other = (json.loads(digests) if digests else {} for digests in (before, now))
    names = dict.fromkeys([*one, *other])
    return ", ".join(name for name in names if one.get(name) != other.get(name))


def _path(name: str) -> Path | None:
    """The file of a module that was imported; None where it has none."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file) if file and Path(file).is_file() else None


def _folder(name: str) -> Path | None:
    path = _path(name)
    return path and path.parent


def _told(name: str, path: Path) -> str:
    """The file from where its package is: the same wherever that lies."""
    return "/".join(path.parts[-len(name.split(".")) - (path.stem == "__init__") :])


def _imported(module: ModuleType, source: bytes) -> Iterator[str]:
    """What may be the name of a module, of all that a source imports."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # compiled, so that its imports are not known
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            base = resolve_name(relative, module.__package__ or "")
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
