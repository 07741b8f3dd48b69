"""A comparison that is killed at a given moment."""

import math

import pytest

from apical.lab.run import _runner
from apical.lab.storage import _checkpoint
from apical.lab.storage._results import Ledger


class Killed(BaseException):
    """What nothing catches."""


@pytest.fixture
def keep_every_place(monkeypatch):
    monkeypatch.setattr(_checkpoint, "EVERY", 0.0)
    monkeypatch.setattr(_checkpoint, "SHARE", math.inf)
    given = _runner.Bench._watch
    places = []

    def in_small_pieces(self, stage, lanes, progress):
        watch = given(self, stage, lanes, progress)
        return watch._replace(place=lambda p: (watch.place(p), places.append(1)))

    monkeypatch.setattr(_runner.Bench, "_watch", in_small_pieces)
    return places


def kill_at(monkeypatch, number):
    """Kill the next comparison when it has made so many places or lines."""
    count = iter(range(10_000))
    write, save = _checkpoint.replace_file, Ledger.finish

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
    monkeypatch.setattr(Ledger, "finish", before_finishing)
