"""The notebooks run from top to bottom, and their pages show the outputs."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))
tool = importlib.import_module("notebooks")
NOTEBOOKS = tool.notebooks()
AGAIN = "run: python tools/notebooks.py"


def marked(path):
    """One that needs more than `apical[lab]` runs where that is: in `make bench`."""
    tier = pytest.mark.slow if "requires" in tool.read(path)["metadata"] else ()
    return pytest.param(path, marks=tier, id=path.stem)


@pytest.mark.sweep
@pytest.mark.parametrize("path", [marked(path) for path in NOTEBOOKS])
def test_a_notebook_runs_from_top_to_bottom(path):
    names, notebook = {"__name__": "__main__"}, tool.read(path)
    if absent := tool.missing(notebook):
        pytest.skip(f"pip install {' '.join(absent)}")
    for number, cell in enumerate(tool.code_cells(notebook)):
        place = f"{path.name}, code cell {number}"
        outputs = tool.run_cell("".join(cell["source"]), place, names)
        kinds = [output["output_type"] for output in outputs]
        # What is printed differs from one JAX to the next; that it is does not.
        assert kinds == [output["output_type"] for output in cell["outputs"]], AGAIN


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_outputs_are_those_of_the_code(path):
    notebook = tool.read(path)
    assert notebook["metadata"]["outputs_of_code"] == tool.fingerprint(notebook), AGAIN
    assert any(cell["outputs"] for cell in tool.code_cells(notebook))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_page_is_that_of_the_notebook(path):
    text, pictures = tool.page(path)
    assert path.with_suffix(".md").read_text("utf-8") == text, AGAIN
    for name, drawn in pictures.items():
        shown = ROOT / "docs" / "images" / "notebooks" / name
        assert shown.read_text("utf-8") == drawn, AGAIN


def test_what_is_printed_drawn_and_last_is_kept():
    names: dict = {}
    assert tool.run_cell("x = 1\nNone", "here", names) == []
    (printed, last) = tool.run_cell("print('a')\n[x]", "here", names)
    assert printed["text"] == ["a\n"] and last["data"] == {"text/plain": ["[1]"]}


def test_other_code_has_another_fingerprint():
    notebook = tool.read(NOTEBOOKS[0])
    before = tool.fingerprint(notebook)
    tool.code_cells(notebook)[0]["source"].append("\nx = 1")
    assert tool.fingerprint(notebook) != before


def test_there_are_six():
    assert {path.stem for path in NOTEBOOKS} == {
        *("predictive-coding", "which-feedback-is-enough", "a-rule-of-your-own"),
        *("a-torch-model-under-feedback-alignment", "an-online-spiking-network"),
        "which-rules-learn-without-weight-transport",
    }


def test_what_a_notebook_requires_and_is_not_there_is_named():
    found = tool.missing({"metadata": {"requires": ["jax", "no_such_package"]}})
    assert found == ["no_such_package"]
