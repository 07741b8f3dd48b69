"""Exact spike times and their gradient, against jaxsnn and eventax.

Each library runs in its own process and environment, on the same weights and inputs: a
network 5-100-3 of LIF neurons with several spikes per neuron, and a weighted sum of the
first spikes of its outputs. A time counts only if first spikes and gradients are the
same, within what a library's own method allows.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ._environments import EVENTAX, JAXSNN, SPIKES, UnavailableError, Worker
from ._lines import Budget
from ._models import Model
from ._peers import UnequalError, Values, in_turn, left_out, read
from ._records import Record, timed
from .peers._problem import Problem

_NAME = "spikes 5-100-3"
_BATCH = 32
# jaxsnn's solver needs tau_m = 2 tau_s; its buffers and eventax's steps are as long as
# the network needs; eventax integrates by Euler's method, with its default steps.
SETUP = {
    "tau_m": 20.0,
    "tau_s": 10.0,
    "until": 60.0,
    "max_spikes": 5,
    "events": [260, 420],
    "step": 0.01,
}


class Peer(NamedTuple):
    """What is asked of a library.

    Attributes:
      limit: the largest ratio of apical's time to its time.
      same: how far first spikes and gradients may be apart, relative to their length.
    """

    limit: float
    same: float


PEERS = {JAXSNN: Peer(1 / 3, 1e-4), EVENTAX: Peer(1 / 10, 1e-1)}


def problem(batch: int = _BATCH) -> Problem:
    """Weights [5, 100] and [100, 3], input times, and the coefficients of the loss."""
    draw = np.random.default_rng(0)
    weights = [draw.normal(1.5, 0.8, (5, 100)), draw.normal(0.5, 0.3, (100, 3))]
    times = np.concatenate([draw.uniform(0, 20, (batch, 4)), np.zeros((batch, 1))], 1)
    coefficients = np.tile([1.0, -2.0, 0.5], (batch, 1))
    return Problem(
        [w.astype(np.float32) for w in weights],
        [np.zeros(w.shape[1], np.float32) for w in weights],
        times.astype(np.float32),
        coefficients.astype(np.float32),
    )


def models() -> Iterator[Model]:
    """The network, by its name; its calls are built by the workers."""
    yield Model(_NAME, lambda *_: None, (), ())


def measured(model: Model, budget: Budget) -> Iterator[Record]:
    """The loss and its gradient, a batch in one call, against each peer."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers, found = {}, {}
        for library in (SPIKES, *PEERS):
            path = folder / f"{library.name}.npz"
            problem().save(str(path))
            try:
                worker = stack.enter_context(Worker(library))
                told = worker.ask("build", name=_NAME, problem=str(path), **SETUP)
            except UnavailableError as error:
                yield left_out(model.name, error)
                continue
            workers[library.name] = worker, _NAME
            found[library.name] = [*read(told["values"]), *read(told["grads"])]
        mine = found.pop(SPIKES.name)
        apart = require_same(mine, found)
        timings = in_turn(workers, budget.rounds)
        one = timings[SPIKES.name]
        for library, peer in PEERS.items():
            if library.name in apart:
                other = timings[library.name]
                note = f"{apart[library.name]}; {one.told(other)}"
                yield timed(
                    "spike times",
                    model.name,
                    f"against {library.name}",
                    (one.wall, other.wall),
                    library.name,
                    peer.limit,
                    note=note,
                )


def require_same(mine: Values, found: Mapping[str, Values]) -> dict[str, str]:
    """How far the first spikes and gradients of each library are from apical's.

    Raises:
      UnequalError: if they are further apart than the library's method allows.
    """
    told = {}
    for library, peer in PEERS.items():
        if library.name not in found:
            continue
        pairs = zip(found[library.name], mine, strict=True)
        apart = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs]
        if not max(apart) <= peer.same:
            raise UnequalError(
                f"{library.name} has other spikes or gradients than apical: within "
                f"{max(apart):.0e}, where {peer.same:.0e} is allowed, so their times "
                "say nothing."
            )
        told[library.name] = (
            f"first spikes within {apart[0]:.0e}, gradients within {max(apart[1:]):.0e}"
        )
    return told
