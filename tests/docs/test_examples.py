"""The examples run, and every rule in them lowers the loss."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
LINE = re.compile(r"(\w+) +loss (\d+\.\d+) -> (\d+\.\d+)")


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_trains_by_backpropagation_and_two_other_rules(path, capsys):
    runpy.run_path(str(path))["main"](updates=12)
    lines = [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines()]
    rules, before, after = zip(*(line.groups() for line in lines), strict=True)
    assert rules[0] == "Backpropagation"
    assert len(set(rules)) == 3
    assert len(set(before)) == 1
    assert all(float(last) < 0.97 * float(before[0]) for last in after)


def test_there_is_an_example_for_each_way_to_write_a_model():
    assert {path.stem for path in EXAMPLES} == {
        *("bare_jax", "equinox_model", "flax_model", "haiku_model")
    }
    assert all(path.read_text("utf-8").count("\n") <= 60 for path in EXAMPLES)
