"""A comparison whose rules are trained elsewhere: same numbers, whatever happens."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from support.inline_engine import InlineEngine
from support.interruption import Killed, no_cost
from support.lab_runs import compared, untimed

from apical import lab, rules

__all__ = ["no_cost"]
ASKED = {"rules": ["backpropagation", "kolen-pollack"], "sweep": 2, "epochs": 1}
TABLES = ("records", "layers", "trials", "costs", "stages")


@rules.rule
class Breaks(rules.Backpropagation):
    def credit(self, circuit, params, state, args):
        raise TypeError("a mistake of the user")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    compared(out=folder, **ASKED)
    return contents(folder)


def contents(folder):
    """The lines of all files in their order, without times and checksums."""
    found = {}
    for table in TABLES:
        file = folder / f"{table}.jsonl"
        texts = file.read_text().splitlines() if file.exists() else []
        lines = untimed(map(json.loads, texts))
        dropped = {"checksum", "digest"}  # of lines with times
        found[table] = [
            {k: v for k, v in line.items() if k not in dropped} for line in lines
        ]
    return found


def test_the_files_are_those_of_a_local_run(tmp_path, local):
    compared(out=tmp_path, engine=InlineEngine(), **ASKED)
    assert contents(tmp_path) == local
    assert {len(lines) for lines in local.values()} > {2, 6}
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("after", [0, 2])
def test_a_lost_worker_is_replaced_and_what_had_ended_is_kept(tmp_path, local, after):
    engine = InlineEngine(lost=[after, after])
    compared(out=tmp_path, engine=engine, **ASKED)
    assert contents(tmp_path) == local
    rules_given = [task.rule for task in engine.given]
    assert sorted(rules_given) == [*["backpropagation"] * 2, *["kolen-pollack"] * 2]
    assert [len(task.ended) for task in engine.given] == [0, 0, after, after]


def test_a_worker_that_is_always_lost_is_given_up(tmp_path):
    engine = InlineEngine(lost=[0, None, 0, 0], retries=2)
    with pytest.raises(lab.TaskError, match=r"kolen-pollack: its worker was lost 3 .*"):
        compared(out=tmp_path, engine=engine, **ASKED)
    assert engine.cancelled
    # The other rule had no turn any more, or is kept; a local run ends both.
    found = compared(out=tmp_path, resume=True, **ASKED)
    assert {row.status for row in found.rows} == {"ok"}


@pytest.mark.parametrize("engine", [None, InlineEngine()])
def test_a_driver_that_was_killed_resumes_with_any_engine(tmp_path, local, engine):
    def kill(event):
        if event.rule == "kolen-pollack" and event.epoch == 1:
            raise Killed

    begun = InlineEngine()
    with pytest.raises(Killed):
        compared(out=tmp_path, engine=begun, callbacks=[kill], **ASKED)
    assert begun.cancelled and contents(tmp_path) != local
    compared(out=tmp_path, engine=engine, resume=True, **ASKED)
    assert contents(tmp_path) == local


class Counting(eqx.Module):
    """Counts its calls in training as a running statistic."""

    weight: jax.Array

    def __call__(self, x, count, training):
        return x.reshape(len(x), -1) @ self.weight, count + training


def counting(key, shape, classes):
    return Counting(jax.random.normal(key, (16, classes))), jnp.zeros(())


def test_callbacks_get_the_trained_models_once():
    asked = {"rules": ["backpropagation"], "models": {"counting": counting}}

    def told(engine):
        found = []
        compared(callbacks=[found.append], engine=engine, **asked)
        return found

    # The worker is lost after it has told everything.
    here, there = told(None), told(InlineEngine(lost=[2]))
    assert [event.epoch for event in there] == [event.epoch for event in here]
    for mine, other in zip(there, here, strict=True):
        assert untimed(mine.records) == untimed(other.records)
        assert mine.layers == other.layers
        assert eqx.tree_equal(mine.trained, other.trained)
    (first, _), (last, count) = here[0].trained[0], here[-1].trained[0]
    assert not eqx.tree_equal(first, last) and count == 10


def test_an_error_comes_back_with_the_rule_and_the_traceback():
    asked = {"rules": [{"mine": Breaks()}], "engine": InlineEngine()}
    with pytest.raises(lab.TaskError) as caught:
        compared(**asked)
    text = str(caught.value)
    assert text.startswith("mlp · mine failed on ")
    assert "TypeError: a mistake of the user" in text
    assert "test_driver.py" in text and "in credit" in text
    assert asked["engine"].cancelled


def test_what_the_lab_refuses_elsewhere_is_said_without_a_traceback():
    def factory(key, shape, classes):
        raise KeyError("none")

    asked = {"models": {"mine": factory}, "rules": ["backpropagation"]}
    with pytest.raises(
        lab.LabError, match=r"mine · backprop.*cannot be built"
    ) as caught:
        compared(engine=InlineEngine(), **asked)
    assert "Traceback" not in str(caught.value)


def test_workers_with_another_version_are_refused():
    engine = InlineEngine(told={"jax": "9.9"})
    with pytest.raises(lab.LabError, match=r"workers have jax = '9.9', and this pro"):
        compared(engine=engine, **ASKED)


def test_the_device_is_that_of_the_workers_and_of_every_one():
    engine = InlineEngine(told={"device": "another"})
    # Here the workers are this process, and find that they were described wrongly.
    with pytest.raises(lab.LabError, match=r"this node has device = .*, and the comp"):
        compared(engine=engine, **ASKED)


def test_what_a_script_defines_is_refused(monkeypatch):
    monkeypatch.setattr(Breaks, "__module__", "__main__")
    with pytest.raises(
        lab.LabError, match=r"rules: mine is made by Breaks, .*a module"
    ):
        compared(rules=[{"mine": Breaks()}], engine=InlineEngine())
    monkeypatch.setattr(counting, "__module__", "__main__")
    with pytest.raises(lab.LabError, match=r"models: mine is made by counting, which"):
        compared(
            models={"mine": counting}, engine=InlineEngine(), rules="backpropagation"
        )
