"""Conventions of the source code; each check has a positive control."""

import ast
import graphlib
import inspect
import re
from collections.abc import Iterator, Mapping
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
    *("circuit", "optim", "spiking", "rules", "measure", "testing"),
    "apical",
    *("interop", "lab", "claims", "report", "cli", "__main__"),
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


# ---------------------------------------------------------------- rooms


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


# The private modules of these rooms are imported by the room itself alone.
CLOSED = ("circuit", "optim", "measure", "testing")


def private_modules_used(source: str, package: tuple[str, ...]) -> set[str]:
    """The private modules of other, closed rooms that a module imports from."""
    names = imported(ast.parse(source), package)
    others = [n for n in names if n[0] == "apical" and n[1:2] != package[1:2]]
    return {
        ".".join(name)
        for name in others
        if len(name) > 2 and name[1] in CLOSED and any(map(is_private, name[2:]))
    }


@pytest.mark.parametrize("path", SOURCES, ids=by_path)
def test_a_closed_room_is_imported_by_its_public_names(path):
    _, package = room_and_package(path)
    assert private_modules_used(path.read_text("utf-8"), package) == set()


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("from ..circuit._jaxpr import Op", {"apical.circuit._jaxpr.Op"}),
        ("import apical.circuit._jaxpr", {"apical.circuit._jaxpr"}),
        ("from ..circuit import Op, Program", set()),
        ("from ._numerics import fold_in_name", set()),
    ],
)
def test_a_private_module_of_a_closed_room_would_be_seen(source, used):
    assert private_modules_used(source, ("apical", "rules")) == used


# ---------------------------------------------------------------- private names

# Methods of named tuples that Python itself spells with an underscore.
NAMED_TUPLE = {"_replace", "_asdict", "_fields", "_make"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined(tree: ast.AST) -> set[str]:
    """The private names that a file defines: functions, classes and attributes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(
            node.ctx, ast.Store
        ):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return found


def private_access(source: str, package: tuple[str, ...]) -> set[str]:
    """The private names of other files that a module of `package` uses."""
    tree = ast.parse(source)
    own = defined(tree) | NAMED_TUPLE
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if node.attr not in own and not is_self(node.value):
                found.add(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            names = imported(node, package)
            found |= {".".join(n) for n in names if is_private(n[-1])}
    return found - {".".join(name) for name in MODULES}


def is_self(node: ast.AST) -> bool:
    """Whether an expression is `self`, `cls` or `super()`."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def dotted(path: Path) -> tuple[str, ...]:
    """The name of a module, as parts: that of a package for its `__init__`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


MODULES = {dotted(path): path for path in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=by_path)
def test_private_names_are_used_in_their_own_file_alone(path):
    _, package = room_and_package(path)
    assert private_access(path.read_text("utf-8"), package) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(circuit):\n    return circuit._flow", {"circuit._flow"}),
        ("def f(c):\n    c.inner._flow.kind", {"c.inner._flow"}),
        ("from ._marks import _text", {"apical.circuit._marks._text"}),
        ("from . import _marks", set()),
        ("def f(x):\n    return x._replace(y=x.__class__)", set()),
        ("class A:\n    def f(self):\n        return self._x, super()._y", set()),
        (
            "class A:\n    def __eq__(self, other):\n        return other._x\n"
            "    def __init__(self):\n        self._x = 1",
            set(),
        ),
    ],
)
def test_a_private_name_of_another_file_would_be_seen(source, found):
    assert private_access(source, ("apical", "circuit")) == found


# ---------------------------------------------------------------- import cycles


def dependencies(
    sources: Mapping[tuple[str, ...], tuple[str, bool]],
) -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """The modules that each module imports, inside functions and for types too.

    `sources` holds, by a module's name, its text and whether it is a package. A package
    that a module is in itself does not count.
    """
    found = {}
    for module, (text, is_package) in sources.items():
        package = module if is_package else module[:-1]
        names = imported(ast.parse(text), package)
        targets = {name if name in sources else name[:-1] for name in names}
        around = {module[:i] for i in range(len(module) + 1)}
        found[module] = {t for t in targets if t in sources} - around
    return found


def cycle(graph: Mapping[tuple[str, ...], set[tuple[str, ...]]]) -> list[str]:
    """The modules of one cycle, if there is any."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [".".join(module) for module in error.args[1]]
    return []


def test_no_modules_import_each_other():
    sources = {
        module: (path.read_text("utf-8"), path.name == "__init__.py")
        for module, path in MODULES.items()
    }
    graph = dependencies(sources)
    assert sum(map(len, graph.values())) > len(graph)
    assert cycle(graph) == []


FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ._a import A"


@pytest.mark.parametrize(
    ("texts", "modules"),
    [
        ({"_a": "from ._b import B", "_b": "from ._a import A"}, {"_a", "_b"}),
        ({"_a": "from . import _b", "_b": FOR_TYPES}, {"_a", "_b"}),
        ({"_a": "from ._b import B", "_b": "def f():\n    from ._a import A"}, {"_a"}),
        ({"_a": "import p._b", "_b": "import p._c", "_c": "import p._a"}, {"_c"}),
        ({"_a": "from ._b import B", "_b": "import p\nimport jax"}, set()),
    ],
)
def test_a_cycle_would_be_seen(texts, modules):
    sources = {("p", name): (text, False) for name, text in texts.items()}
    sources["p",] = ("from ._a import A", True)
    found = {name.removeprefix("p.") for name in cycle(dependencies(sources))}
    assert modules <= found
    assert bool(modules) == bool(found)


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
    """The classes, functions and modules of apical that a module exports, by name."""
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
    """Whether a class, function or module has a docstring that somebody wrote."""
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
