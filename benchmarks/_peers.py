"""Whole training steps of free predictions, against FabricPC and PCX.

Each library runs in its own process and environment, on the same arrays: T
plain steps of the values at the same rate from the feed-forward ones, then Adam on the
weights. Timing starts after all have settled at the same values. Rounds alternate
between the processes; each round gives one ratio.
"""

import itertools
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax

import apical
from apical import rules
from apical.rules import tools

from . import _calls
from ._environments import APICAL, PEERS, UnavailableError, Worker
from ._harness import Prepared, Timing, paired
from ._lines import Budget
from ._models import Model
from ._records import Record, timed
from .peers._problem import Problem, loss_fn

_RATE = 0.1
_SAME = 1e-4  # of the largest value
_SAME_MOVE = 1e-3  # of the length of all moves
_FIRST_CALL = 3.0  # seconds, at the deepest and longest
_MEMORY = 3.0
_TURN = 20e-3  # seconds that a turn takes at least
# Steps, and the largest ratio to any peer.
TASKS = {
    "mlp": {20: 1.0},
    "deep": {20: 1 / 1.5, 64: 1 / 1.05},
    "cnn": {8: 1.0, 20: 1.0},
}
# As many steps as convolutional nets are published with (Pinchetti et al. 2025: 7 or
# 8). The products of 20 steps alone are more than four times those of backprop.
_OVER_BACKPROP = {("cnn", 8): 4.0}
_STEP = "backprop step"

Values = list[np.ndarray]


class UnequalError(ValueError):
    """Two libraries that did not do the same work."""


def problem_of(name: str) -> Problem:
    """A network and a batch."""
    draw = np.random.default_rng(0)
    shapes, inputs = _SHAPES[name]
    weights = [draw.normal(size=s) / np.sqrt(np.prod(s[:-1])) for s in shapes]
    biases = [np.zeros(shape[-1], np.float32) for shape in shapes]
    x, labels = draw.normal(size=inputs), draw.integers(0, 10, inputs[0])
    narrow = [w.astype(np.float32) for w in weights]
    return Problem(narrow, biases, x.astype(np.float32), np.eye(10, dtype="f")[labels])


def _dense(*sizes: int) -> list[tuple[int, ...]]:
    return list(itertools.pairwise(sizes))


_SHAPES: dict[str, tuple[list[tuple[int, ...]], tuple[int, ...]]] = {
    "mlp": (_dense(784, 256, 256, 10), (128, 784)),
    "deep": (_dense(*[128] * 20, 10), (128, 128)),
    "cnn": (
        [(5, 5, 3, 6), (5, 5, 6, 16), *_dense(400, 120, 84, 10)],
        (64, 32, 32, 3),
    ),
}


def models() -> Iterator[Model]:
    """The networks that are timed."""
    for name in _SHAPES:
        problem = problem_of(name)
        yield Model(name, loss_fn, problem.params, problem.args, name == "cnn")


def measured(model: Model, budget: Budget) -> Iterator[Record]:
    """A step against those of each peer and of backprop; first calls; memory."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers: list[Worker] = []
        for library in (APICAL, *PEERS):
            try:
                workers.append(stack.enter_context(Worker(library)))
            except UnavailableError as error:
                yield left_out(model.name, error)
        for steps, limit in TASKS[model.name].items():
            yield from _task(model, workers, steps, limit, folder, budget)
    yield from _lever(model, budget)
    yield from memory(model)


def left_out(model: str, error: UnavailableError) -> Record:
    """A record for a library that is not available."""
    return Record("peers", model, "left out", float("nan"), note=str(error))


def _task(
    model: Model,
    workers: list[Worker],
    steps: int,
    limit: float,
    folder: Path,
    budget: Budget,
) -> Iterator[Record]:
    name, path = f"{model.name}, T={steps}", folder / "problem.npz"
    problem_of(model.name).save(str(path))
    told = {"problem": str(path), "steps": steps, "rate": _RATE}
    start, settled, firsts, timed_calls = _start(model), {}, {}, {}
    for worker in workers:
        library = worker.library.name
        try:
            found = worker.ask("build", name=name, way="values", **told)
        except UnavailableError as error:
            yield left_out(name, error)
            continue
        settled[library], firsts[library] = read(found["values"]), found["first"]
        timed_calls[library] = worker, name
    apart = require_equal(start, settled)
    mine = timed_calls[APICAL.name][0]
    mine.ask("build", name=_STEP, way="backprop", **told)
    timed_calls[_STEP] = mine, _STEP
    timings = in_turn(timed_calls, budget.rounds)
    one = timings[APICAL.name]
    for library, distance in apart.items():
        other, what = timings[library], f"against {library}"
        note = f"values within {distance:.0e} of apical's; {one.told(other)}"
        pair = one.wall, other.wall
        bound = reached(len(model.params), steps)
        yield timed("peers", name, what, pair, library, limit, bound, note)
    other, over = timings[_STEP], _OVER_BACKPROP.get((model.name, steps))
    pair, note = (one.wall, other.wall), one.told(other)
    yield timed("peers", name, "against backprop", pair, _STEP, over, note=note)
    for library, seconds in firsts.items():
        longest = library == APICAL.name and len(model.params) * steps > 1000
        pair = Timing(np.array([seconds])), Timing(np.ones(1))
        what, most = f"first call of {library}", _FIRST_CALL if longest else None
        yield timed("peers", name, what, pair, "a second", most)


def _start(model: Model) -> Values:
    circuit = apical.trace(model.loss)(model.params, *model.args)
    sites = circuit.run(model.params, model.args).sites
    return [np.asarray(sites[node.name]) for node in circuit.nodes]


def read(path: str) -> Values:
    """The arrays that a worker wrote to a file, in order."""
    with np.load(path) as found:
        return [found[name] for name in found.files]


def require_equal(start: Values, settled: Mapping[str, Values]) -> dict[str, float]:
    """The distance of each library's values from those of the first.

    Args:
      start: the feed-forward values.
      settled: by library, where each settled.

    Returns:
      The largest distance of a value, relative to the largest.

    Raises:
      UnequalError: if values, or how far they have moved, are not the same.
    """
    (first, mine), *others = settled.items()
    size = max(float(np.abs(v).max()) for v in mine)
    move = _length(mine, start)
    found: dict[str, float] = {}
    for library, values in others:
        if [v.shape for v in values] != [v.shape for v in mine]:
            raise UnequalError(f"{library} has other nodes than {first}.")
        pairs = zip(values, mine, strict=True)
        found[library] = max(float(np.abs(a - b).max()) for a, b in pairs) / size
        apart = _length(values, mine) / move
        if not (found[library] <= _SAME and apart <= _SAME_MOVE):
            raise UnequalError(
                f"{library} settled elsewhere than {first}: values are within "
                f"{found[library]:.0e} of the largest, moves within {apart:.0e} of "
                "their length, so their times say nothing."
            )
    return found


def _length(values: Values, origin: Values) -> float:
    pairs = zip(values, origin, strict=True)
    return float(np.sqrt(sum(np.sum((a - b) ** 2, dtype=float) for a, b in pairs)))


class Turns(NamedTuple):
    """Wall-clock time and processor time of each round.

    On a shared machine the second varies less.
    """

    wall: Timing
    processor: Timing

    def told(self, base: "Turns") -> str:
        """The ratio by the processor's clock, for a note."""
        return f"{self.processor.ratio(base.processor)[1]:.2f} by processor time"


def in_turn(calls: Mapping[str, tuple[Worker, str]], rounds: int) -> dict[str, Turns]:
    """The time of each call in every round, as the worker that runs it measured."""

    def taken(name: str, repeats: int) -> tuple[float, float]:
        worker, call = calls[name]
        told = worker.ask("time", name=call, repeats=repeats)
        return told["seconds"], told["processor"]

    repeats = {n: max(1, round(_TURN / min(taken(n, 2)[0], _TURN))) for n in calls}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for index in range(rounds):
        for name in list(calls)[:: 1 if index % 2 == 0 else -1]:
            found[name].append(taken(name, repeats[name]))
    pairs = {name: np.array(rows).T for name, rows in found.items()}
    return {
        name: Turns(Timing(wall), Timing(own)) for name, (wall, own) in pairs.items()
    }


def reached(layers: int, steps: int) -> float:
    """The fraction of all layers' steps that a signal has reached."""
    reached = sum(min(step, layers) for step in range(1, steps + 1))
    return reached / (layers * steps)


@dataclass(frozen=True)
class _AllNodes(tools.AbstractInference):
    """Plain steps that compute the slope of every node at every step."""

    def settle(self, energy: tools.AbstractEnergy, budget: tools.Budget) -> Any:
        """Descend from the feed-forward values."""
        stages = [(energy.slope, budget.steps)]
        plain = optax.sgd(budget.rate)
        return energy.settled(*tools.relax(energy.circuit, stages, energy.start, plain))


def _lever(model: Model, budget: Budget) -> Iterator[Record]:
    """The time that the active front saves."""
    for steps in TASKS[model.name]:
        name = f"{model.name}, T={steps}"
        ways = {"active front": None, "without it": _AllNodes()}
        calls = {
            what: _calls.learner(
                model, rules.PredictiveCoding(steps, _RATE, "free", inference=way)
            )
            for what, way in ways.items()
        }
        one, other = paired(calls, budget.rounds).values()
        bound = reached(len(model.params), steps)
        yield timed(
            "peers", name, "active front", (one, other), "without it", bound=bound
        )


def memory(model: Model) -> Iterator[Record]:
    """The memory that the compiler allocates, relative to backprop, by prediction."""
    least = _bytes(_calls.backprop(model))
    for prediction in ("fixed", "free"):
        rule = rules.PredictiveCoding(20, _RATE, prediction)
        ratio = _bytes(_calls.learner(model, rule)) / least
        what = f"memory, {prediction}, 20 steps"
        yield Record("peers", model.name, what, ratio, limit=_MEMORY)


def _bytes(call: Prepared) -> int:
    stats = call.compiled.memory_analysis()
    kinds = ("argument", "output", "temp")
    return sum(getattr(stats, f"{kind}_size_in_bytes") for kind in kinds)
