"""A comparison that is killed at a given moment; without costs, which take long."""

import math

import pytest

from apical.lab.run import _runner
from apical.lab.storage import _checkpoint
from apical.lab.storage._results import ResultStore


class Killed(BaseException):
    """An exception that nothing catches."""


@pytest.fixture(scope="module", autouse=True)
def no_cost():
    """Costs are measured elsewhere: here they would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_runner, "cost_line", lambda *args: {"depth": 1})
        yield


@pytest.fixture
def save_every_step(monkeypatch):
    monkeypatch.setattr(_checkpoint, "EVERY", 0.0)
    monkeypatch.setattr(_checkpoint, "SHARE", math.inf)
    given = _runner.ModelRunner._callbacks
    saved = []

    def counted(self, stage, runs, reporter):
        callbacks = given(self, stage, runs, reporter)

        def on_progress(progress):
            callbacks.on_progress(progress)
            saved.append(1)

        return callbacks._replace(on_progress=on_progress)

    monkeypatch.setattr(_runner.ModelRunner, "_callbacks", counted)
    return saved


def kill_at(monkeypatch, number):
    """Kill the next comparison after this many writes of checkpoints and stages."""
    count = iter(range(10_000))
    write, save = _checkpoint.replace_file, ResultStore.finish

    def step():
        if next(count) == number:
            raise Killed

    def before_saving(path, content):
        step()
        write(path, content)
        step()

    def before_finishing(self, stage):
        step()
        save(self, stage)
        step()

    monkeypatch.setattr(_checkpoint, "replace_file", before_saving)
    monkeypatch.setattr(ResultStore, "finish", before_finishing)
