"""The examples run, and what they show holds."""

import re
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
MODELS = ("bare_jax", "equinox_model", "flax_model", "haiku_model")
EXAMPLES = [FOLDER / f"{name}.py" for name in MODELS]
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


def test_an_example_of_a_way_to_write_a_model_is_short():
    assert all(path.read_text("utf-8").count("\n") <= 60 for path in EXAMPLES)


WAY = re.compile(r"(\w+) +lives +(\d+)  loss (\d\.\d+)  accuracy (0\.\d+)")


@pytest.mark.slow
def test_the_example_that_finds_rules_runs_and_finds_better_ones(capsys):
    example = runpy.run_path(str(FOLDER / "learned_rules.py"))
    few = {"updates": 12, "generations": 4, "candidates": 256, "tests": 100}
    example["main"](**few, skip=("rate",))
    lines = capsys.readouterr().out.splitlines()
    found = [WAY.fullmatch(line).groups() for line in lines[::2]]
    names, lives, losses, _ = zip(*found, strict=True)
    assert names == ("start", "gradient", "evolution", "search")
    assert lives == ("0", "96", "1024", "2048")
    start, by_gradient, _, by_search = map(float, losses)  # evolution takes longer
    assert max(by_gradient, by_search) < 0.95 * start
    assert all(line.startswith("  dw = ") and "δ" in line for line in lines[1::2])


def test_a_delayed_reward_is_learned_with_traces_of_gradients_alone(capsys):
    runpy.run_path(str(FOLDER / "delayed_reward.py"))["main"](episodes=150)
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[1]: float(line.split()[-1]) for line in lines}
    assert found["traces"] > 0.6
    assert abs(found["no"]) < 0.3
