"""The examples run, and what they show holds."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
MODELS = [path for path in EXAMPLES if path.stem != "delayed_reward"]
LINE = re.compile(r"(\w+) +loss (\d+\.\d+) -> (\d+\.\d+)")


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_an_example_trains_by_backpropagation_and_two_other_rules(path, capsys):
    runpy.run_path(str(path))["main"](updates=12)
    lines = [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines()]
    rules, before, after = zip(*(line.groups() for line in lines), strict=True)
    assert rules[0] == "Backpropagation"
    assert len(set(rules)) == 3
    assert len(set(before)) == 1
    assert all(float(last) < 0.97 * float(before[0]) for last in after)


def test_there_is_an_example_for_each_way_to_write_a_model():
    assert {path.stem for path in MODELS} == {
        *("bare_jax", "equinox_model", "flax_model", "haiku_model")
    }
    assert all(path.read_text("utf-8").count("\n") <= 60 for path in MODELS)


def test_a_delayed_reward_is_learned_with_traces_of_gradients_alone(capsys):
    (path,) = set(EXAMPLES) - set(MODELS)
    runpy.run_path(str(path))["main"](episodes=150)
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[1]: float(line.split()[-1]) for line in lines}
    assert found["traces"] > 0.6
    assert abs(found["no"]) < 0.3
