"""The rules of the house that a machine can check; each check is itself checked."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import apical

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "apical"
SOURCES = sorted(PACKAGE.rglob("*.py"))
DOOR = PACKAGE / "circuit" / "_jaxpr.py"

# Each room imports only from those before it. "apical" is the namespace of the whole:
# what imports it imports everything that it exports.
ROOMS = (
    *("circuit", "optim", "rules", "measure", "testing"),
    "apical",
    *("lab", "claims", "cli", "__main__"),
)


def by_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


# ---------------------------------------------------------------- the door to JAX


def unstable_names(source: str) -> set[str]:
    """The parts of JAX without a promise of stability that a source mentions."""
    names = set(re.findall(r"\bjax\.(core|extend|_src)\b", source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "jax":
            names |= {alias.name for alias in node.names}
    return names & {"core", "extend", "_src"}


@pytest.mark.parametrize("path", SOURCES, ids=by_path)
def test_only_one_file_opens_the_door_to_jax_internals(path):
    allowed = {"core", "extend"} if path == DOOR else set()
    assert unstable_names(path.read_text("utf-8")) <= allowed


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import jax.extend.core as jex", "extend"),
        ("from jax import lax, core", "core"),
        ("import jax\nx = jax._src.api", "_src"),
        ("import importlib\nimportlib.import_module('jax._src.core')", "_src"),
    ],
)
def test_a_second_door_would_be_seen(source, name):
    assert name in unstable_names(source)


def test_the_door_exists():
    assert DOOR in SOURCES


# ---------------------------------------------------------------- rooms and storeys


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The dotted names imported anywhere in a module of `package`, made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = tuple(node.module.split(".")) if node.module else ()
            yield from ((*start, *module, alias.name) for alias in node.names)


def rooms_used(source: str, package: tuple[str, ...]) -> set[str]:
    """The rooms of apical that a module of `package` imports from."""
    names = imported(ast.parse(source), package)
    inside = [name for name in names if name[0] == "apical"]
    return {
        name[1] if len(name) > 1 and name[1] in ROOMS else "apical" for name in inside
    }


def room_and_package(path: Path) -> tuple[str, tuple[str, ...]]:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    room = "apical" if parts == ("__init__",) else parts[0]
    return room, ("apical", *parts[:-1])


@pytest.mark.parametrize("path", SOURCES, ids=by_path)
def test_a_room_imports_only_from_the_rooms_before_it(path):
    room, package = room_and_package(path)
    assert room in ROOMS, f"give {room} a place in ROOMS"
    before = ROOMS[: ROOMS.index(room) + 1]
    assert rooms_used(path.read_text("utf-8"), package) <= set(before)


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("from apical.lab.data._load import digits", {"lab"}),
        ("from apical import measure, trace", {"measure", "apical"}),
        ("import apical", {"apical"}),
        ("def late():\n    from ..rules import Rule", {"rules"}),
        ("from ._trace import trace\nfrom .. import optim", {"circuit", "optim"}),
        ("import jax\nfrom optax import adam", set()),
    ],
)
def test_every_way_to_import_a_room_is_seen(source, used):
    assert rooms_used(source, ("apical", "circuit")) == used


# ---------------------------------------------------------------- size and words


WRITTEN = [
    path
    for folder in ("src", "tests", "benchmarks", "examples")
    for path in sorted(ROOT.glob(f"{folder}/**/*.py"))
]


@pytest.mark.parametrize("path", WRITTEN, ids=by_path)
def test_no_file_is_longer_than_400_lines(path):
    lines = path.read_text("utf-8").count("\n")
    assert lines <= 400


def exports(module: ModuleType) -> dict[str, object]:
    """The classes, functions and modules of apical that a module holds out, by name."""
    found = {}
    for name, value in vars(module).items():
        home = value if inspect.ismodule(value) else inspect.getmodule(value)
        ours = home is not None and home.__name__.startswith("apical.")
        if name.startswith("_") or not ours:
            continue
        found[f"{module.__name__}.{name}"] = value
        if inspect.ismodule(value):
            found |= exports(value)
    return found


def documented(value: object) -> bool:
    """Whether a class, function or module says in words of its own what it is."""
    if not inspect.isclass(value):
        return bool(value.__doc__)
    doc = vars(value).get("__doc__") or ""
    made_up = doc.startswith(f"{value.__name__}(")  # by dataclass or NamedTuple
    return bool(doc) and not made_up


def test_every_public_name_has_a_docstring():
    names = exports(apical)
    assert {"apical.value_and_grad", "apical.rules.PredictiveCoding"} <= set(names)
    assert [name for name, value in names.items() if not documented(value)] == []


def test_a_missing_docstring_would_be_seen():
    class Bare(NamedTuple):
        x: int

    class Told(NamedTuple):
        """It says what it is."""

        x: int

    assert not documented(Bare)
    assert not documented(dataclass(type("Plain", (), {})))
    assert not documented(lambda: None)
    assert documented(Told)


def test_what_is_tested_is_this_checkout():
    assert Path(inspect.getfile(apical)).parent == PACKAGE
