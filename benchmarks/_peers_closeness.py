"""The time until an update is close to the equilibrium's, against FabricPC's.

    closeness = the smallest cosine over parameters to the update at the equilibrium

Each method takes the fewest steps, at the best of the given rates, that are close
enough; then whole training steps are timed in turn. PCX takes the same steps of the
values as FabricPC, and is compared at equal steps.
"""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from sklearn.datasets import load_digits

from ._closeness import CLOSE, closeness, equilibrium
from ._environments import APICAL, FABRICPC, UnavailableError, Worker
from ._lines import Budget
from ._models import Model
from ._peers import in_turn, left_out, read
from ._records import Record, timed
from .peers._problem import Problem, loss_fn

_DEPTHS = (4, 8, 20)  # layers of weights
_WIDTH, _BATCH = 128, 128
_FEW = (1, 2, 3, 4, 5, 6, 8, 10, 14, 20, 30)
_MANY = (10, 20, 30, 40, 50, 70, 100, 140, 200, 280, 400, 560, 800, 1120, 1600)


class Way(NamedTuple):
    """A method of inference: what is tried, and the largest ratio for apical."""

    worker: Worker
    way: str
    rates: Sequence[float]
    counts: Sequence[int]
    limit: float | None = None


class Found(NamedTuple):
    """The fewest steps that are close enough, or the most that were tried."""

    name: str
    steps: int
    rate: float
    closeness: float

    def __str__(self) -> str:
        is_close = "" if self.closeness >= CLOSE else "not close, "
        return f"{is_close}{self.steps} steps of {self.rate}: {self.closeness:.4f}"


def _problem(depth: int) -> Problem:
    """Handwritten digits and initial weights."""
    draw = np.random.default_rng(0)
    images, labels = load_digits(return_X_y=True)
    x = ((images - images.mean()) / images.std())[:_BATCH].astype(np.float32)
    sizes = (x.shape[1], *[_WIDTH] * (depth - 1), 10)
    pairs = list(itertools.pairwise(sizes))
    weights = [draw.normal(size=(m, n)) / np.sqrt(m) for m, n in pairs]
    return Problem(
        [w.astype(np.float32) for w in weights],
        [np.zeros(n, np.float32) for _, n in pairs],
        x,
        np.eye(10, dtype=np.float32)[labels[:_BATCH]],
    )


def models() -> Iterator[Model]:
    """Networks of tanh on handwritten digits, half the squared error."""
    for depth in _DEPTHS:
        problem = _problem(depth)
        yield Model(f"tanh x {depth}", loss_fn, problem.params, problem.args)


def measured(model: Model, budget: Budget) -> Iterator[Record]:
    """Errors as variables, relative to each method of FabricPC."""
    with tempfile.TemporaryDirectory() as folder, Worker(APICAL) as mine:
        path = str(Path(folder) / "problem.npz")
        _problem(len(model.params)).save(path)
        goal = jax.tree.leaves(equilibrium(model))
        try:
            with Worker(FABRICPC) as theirs:
                ways = {
                    "values": Way(theirs, "values", (0.1, 0.2, 0.4), _MANY, 0.1),
                    "errors": Way(theirs, "errors", (0.05, 0.1, 0.2, 0.4), _FEW, 1.0),
                    "apical": Way(mine, "errors", (0.3,), _FEW),
                }
                yield from _compared(model.name, ways, path, goal, budget)
        except UnavailableError as error:
            yield left_out(model.name, error)


def _compared(
    name: str, ways: dict[str, Way], path: str, goal: list, budget: Budget
) -> Iterator[Record]:
    found = {what: _fewest(what, way, path, goal) for what, way in ways.items()}
    calls = {what: (way.worker, found[what].name) for what, way in ways.items()}
    timings = in_turn(calls, budget.rounds)
    for what in ("values", "errors"):
        one, other, base = timings["apical"], timings[what], f"FabricPC, {what}"
        pair = one.wall, other.wall
        note = f"apical: {found['apical']}; {base}: {found[what]}; {one.told(other)}"
        told = "errors as variables"
        yield timed("closeness", name, told, pair, base, ways[what].limit, note=note)


def _fewest(what: str, way: Way, path: str, goal: list) -> Found:
    """The fewest steps over all rates; the call that takes them is kept."""
    best: Found | None = None
    for rate in way.rates:
        for steps in way.counts:
            if best is not None and best.closeness >= CLOSE and steps >= best.steps:
                break
            name = f"{what} {steps} {rate}"
            told = {"steps": steps, "rate": rate, "way": way.way, "grads": True}
            answer = way.worker.ask("build", name=name, problem=path, **told)
            here = Found(name, steps, rate, closeness(read(answer["grads"]), goal))
            kept = best is None or _is_better(here, best)
            dropped = best.name if kept and best is not None else name
            if best is not None:
                way.worker.ask("forget", name=dropped)
            best = here if kept else best
            if here.closeness >= CLOSE:
                break
    assert best is not None
    return best


def _is_better(one: Found, other: Found) -> bool:
    """Close and sooner; while none is close, closer."""
    if one.closeness >= CLOSE and other.closeness >= CLOSE:
        return one.steps < other.steps
    return one.closeness > other.closeness
