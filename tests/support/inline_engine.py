"""An engine whose workers are calls in this process, lost when a test says so."""

import pickle
from collections import deque
from contextlib import contextmanager

from apical.lab.engines._engine import Engine, Lost, StageEnded, Workers
from apical.lab.engines._worker import pack, work
from apical.lab.run._records import environment

_kept = {}


class _Kept:
    """Pickled as a key: the tests do not need a package that pickles functions."""

    def __init__(self, plan):
        self.key = len(_kept)
        _kept[self.key] = plan

    def __reduce__(self):
        return kept, (self.key,)


def kept(key):
    return _kept[key]


class InlineEngine(Engine):
    """Does the last task first.

    Args:
        lost: of each submission, after how many stages its worker is lost, or None.
        retries: as of other engines.
        told: what `environment` says in place of the truth.
    """

    def __init__(self, lost=(), retries=3, told=None):
        self.lost, self.retries, self.told = deque(lost), retries, told or {}
        self.given, self.cancelled = [], False

    @contextmanager
    def connected(self, folder):
        yield InlineWorkers(self)


class InlineWorkers(Workers):
    def __init__(self, engine):
        self.engine, self.waiting = engine, deque()

    def environment(self):
        return environment() | self.engine.told

    def begin(self, plan, follow, resume):
        self.payload = pack(plan, follow, lambda plan: pickle.dumps(_Kept(plan)))

    def submit(self, tasks):
        for number, task in reversed(tasks.items()):
            self.engine.given.append(task)
            sent = []
            work(self.payload, task, lambda m, sent=sent: sent.append(m))
            if self.engine.lost:
                sent = _until(self.engine.lost.popleft(), sent)
            self.waiting += [(number, message) for message in sent]

    def receive(self):
        return self.waiting.popleft()

    def cancel(self):
        self.engine.cancelled = True


def _until(stages, messages):
    """The messages until so many stages have ended, and that the worker was lost."""
    if stages is None:
        return messages
    ended = [i for i, m in enumerate(messages) if isinstance(m, StageEnded)]
    last = ended[stages - 1] if stages else 0
    return [*messages[: last + 1], Lost("the test says so")]
