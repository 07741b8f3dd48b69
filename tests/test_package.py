"""The package as it is installed: what it holds, what it needs, and that it works."""

import email
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest

import apical

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CORE = {"jax", "numpy", "optax"}
SMOKE = """
import jax, jax.numpy as jnp, optax, apical

def loss_fn(w, x, y):
    return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"] - y) ** 2)

w, x = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 1))}, jnp.eye(3)
step = apical.train_step(loss_fn, apical.rules.FeedbackAlignment(), optax.sgd(0.1))
state = step.init(jax.random.key(0), w, x, x[:, :1])
_, _, first = step(w, state, x, x[:, :1])
circuit = apical.trace(loss_fn)(w, x, x[:, :1])
assert [node.name for node in circuit.nodes] == ["a"] and first.value > 0
print("works", apical.__version__)
"""


def test_the_version_is_that_of_the_changelog():
    newest = re.search(
        r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M
    )
    assert newest and newest[1] == apical.__version__ == "0.2.0"


def test_the_metadata_are_complete():
    names = {re.split(r"[<>=!~\[ ]", need)[0] for need in PROJECT["dependencies"]}
    assert names == CORE
    needed = {"description", "readme", "license", "authors", "keywords", "classifiers"}
    assert needed <= set(PROJECT)
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert (ROOT / "src" / "apical" / "py.typed").exists()


# ----------------------------------------------------------- the core by itself

# Nothing is found but the standard library and `allowed`.
ALONE = """
import sys

class Core:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *rest):
        top = name.partition(".")[0]
        known = top in allowed or top in sys.stdlib_module_names or top[0] == "_"
        return self.finder.find_spec(name, *rest) if known else None

sys.meta_path[:] = map(Core, sys.meta_path)
"""


def needed_by(names: set[str]) -> set[str]:
    """The packages that some packages bring, themselves included."""
    found, rest = set(), [*names]
    while rest:
        name = rest.pop().lower().replace("_", "-")
        if name not in found:
            found.add(name)
            needs = (n for n in requires(name) or [] if "extra ==" not in n)
            rest += [re.split(r"[^\w.-]", n)[0] for n in needs if "platform" not in n]
    return found


def alone(code: str) -> subprocess.CompletedProcess[str]:
    modules = {name.replace("-", "_") for name in needed_by(CORE)}
    allowed = {*modules, "absl", "google", "_distutils_hack", "apical"}
    return subprocess.run(
        [sys.executable, "-c", f"allowed = {allowed!r}\n{ALONE}\n{code}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )


def test_the_core_works_with_jax_numpy_and_optax_alone():
    found = alone(SMOKE)
    assert found.stdout == f"works {apical.__version__}\n", found.stderr


def test_what_needs_another_package_is_found():
    found = alone("import apical; apical.lab.compare")
    assert found.returncode == 1
    assert "ModuleNotFoundError" in found.stderr or "apical[lab]" in found.stderr


# --------------------------------------------------- the wheel and the source archive


def run(*command: object, **keywords) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, **keywords
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "venv", folder / "tools")
    python = folder / "tools" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "build")
    run(python, "-m", "build", "--outdir", folder / "dist", ROOT)
    return folder / "dist"


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_types(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        (metadata,) = (n for n in held if n.endswith(".dist-info/METADATA"))
        message = email.message_from_bytes(archive.read(metadata))
    source = ROOT / "src"
    ours = {str(p.relative_to(source)) for p in (source / "apical").rglob("*.py")}
    assert {*ours, "apical/py.typed"} <= held
    assert not any(name.startswith(("tests", "benchmarks")) for name in held)
    assert message["Version"] == apical.__version__
    needs = [n for n in message.get_all("Requires-Dist", []) if "extra ==" not in n]
    assert {re.split(r"[<>=!~ ]", n)[0] for n in needs} == CORE


@pytest.mark.slow
def test_the_source_archive_holds_the_tests_and_the_license(built):
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "CHANGELOG.md"} <= held
    assert "tests/test_package.py" in held


@pytest.mark.slow
@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_both_archives_work_in_an_empty_environment(which, built, tmp_path):
    base = run("sh", ROOT / "tools" / "pythons.sh", which).strip()
    run(run("sh", ROOT / "tools" / "pythons.sh", base).strip(), "-m", "venv", tmp_path)
    python = tmp_path / "bin" / "python"
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    for archive, how in ((wheel, []), (source, ["--no-deps", "--force-reinstall"])):
        run(python, "-m", "pip", "install", "-q", *how, archive)
        found = run(python, "-c", SMOKE, cwd=tmp_path)
        assert found == f"works {apical.__version__}\n"
    installed = run(python, "-m", "pip", "list", "--format", "freeze").lower()
    assert not re.search("^(torch|equinox|flax|typer|matplotlib)=", installed, re.M)
