"""Without the package that it needs, an interop says what to install."""

import importlib
import importlib.util

import pytest

EXAMPLES = {
    "torch": ("_marks", "_functional", "_model"),
    "keras": ("_functional", "_train_step"),
}


def is_there(name):
    needed = ("torch", "torchax") if name == "torch" else (name,)
    return all(map(importlib.util.find_spec, needed))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_error_names_the_extra(name):
    if is_there(name):
        pytest.skip(f"{name} is installed")
    with pytest.raises(ImportError, match=rf"install apical\[{name}\]"):
        importlib.import_module(f"apical.interop.{name}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "module"),
    [(name, module) for name, modules in EXAMPLES.items() for module in modules],
)
def test_the_examples_in_docstrings_run(name, module, monkeypatch):
    if not is_there(name):
        pytest.skip(f"needs {name}: pip install apical[{name}]")
    import doctest

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    found = importlib.import_module(f"apical.interop.{name}.{module}")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(found, optionflags=flags)
    assert result.attempted
    assert not result.failed
