"""The notebooks run from top to bottom, and hold no outputs to go out of date."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


def cells(path):
    notebook = json.loads(path.read_text("utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path, capsys):
    names = {"__name__": "__main__"}
    for number, cell in enumerate(cells(path)):
        place = f"{path.name}, code cell {number}"
        exec(compile("".join(cell["source"]), place, "exec"), names)
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_outputs(path):
    for cell in cells(path):
        assert not cell["outputs"] and not cell["execution_count"]


def test_there_are_two():
    assert {path.stem for path in NOTEBOOKS} == {
        *("predictive-coding", "which-feedback-is-enough")
    }
