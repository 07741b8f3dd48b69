"""Digests of the source files of a user's models and rules, to detect changes.

A comparison that is resumed after a change would mix the results of two versions.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType

from apical.lab._call_syntax import parse_call_or_name


def digests(named: Iterable[str]) -> dict[str, str]:
    """A digest of the source of each module in `module:attribute`, by file.

    Modules that these import from their own folder are included, recursively.

    Args:
        named: models and rules; names that are not `module:attribute` are skipped.
    """
    names = (parse_call_or_name(name).name.partition(":") for name in named)
    todo = [module for module, colon, _ in names if colon]
    found: dict[str, str] = {}
    while todo:
        path = _path(name := todo.pop())
        if path is None or (file := _relative(name, path)) in found:
            continue
        source = path.read_bytes()
        found[file] = hashlib.sha256(source).hexdigest()[:16]
        imported = _imported(sys.modules[name], source)
        todo += [other for other in imported if _folder(other) == path.parent]
    return dict(sorted(found.items()))


def changed(before: str | None, now: str | None) -> str:
    """The files that have changed.

    Args:
        before: the recorded digests, as JSON.
        now: the present digests, as JSON.
    """
    one, other = (json.loads(digests) if digests else {} for digests in (before, now))
    names = dict.fromkeys([*one, *other])
    return ", ".join(name for name in names if one.get(name) != other.get(name))


def _path(name: str) -> Path | None:
    """The file of an imported module; None if it has none."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file) if file and Path(file).is_file() else None


def _folder(name: str) -> Path | None:
    path = _path(name)
    return path and path.parent


def _relative(name: str, path: Path) -> str:
    """The path relative to the folder of the package: the same on every machine."""
    return "/".join(path.parts[-len(name.split(".")) - (path.stem == "__init__") :])


def _imported(module: ModuleType, source: bytes) -> Iterator[str]:
    """The names in import statements that may be modules."""
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
