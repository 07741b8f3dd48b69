"""Rules through time against braintrace, which has the same ones under other names.

    braintrace 0.2.6        apical
    D_RTRL                  EProp, symmetric, chunks of 32 steps
    ES_D_RTRL               EfficientTraces, the same decay

Each library runs in its own process and environment, on the same weights and inputs. A
time counts only if the gradients are the same. Read-outs are not learned, and the reset
gate of the GRU is not compared: braintrace finds no gradient of either. (apical finds
that of the reset gate in the same time.)
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ._environments import Library, UnavailableError, Worker
from ._lines import Budget
from ._models import Model
from ._peers import UnequalError, Values, in_turn, left_out, read
from ._records import Record, timed
from .peers._problem import Problem

APICAL = Library("apical", "apical_online_worker.py")
BRAINTRACE = Library(
    "braintrace",
    "braintrace_worker.py",
    ((f"jax[cpu]=={jax.__version__}", "braintrace==0.2.6"),),
)
STEPS, EXAMPLES, INPUTS, UNITS, OUTPUTS = 128, 16, 64, 128, 10
GATES = {"leaky rate": 1, "gru": 3}
RESET = 1  # the gate of the GRU that is not compared
# What is asked for, and the limit of the time. Both libraries do ES_D_RTRL by a product
# or two in each step: there is nothing to gain.
RULES: dict[str, tuple[dict[str, Any], float | None]] = {
    "e-prop against D_RTRL": ({"algorithm": "D_RTRL"}, 1 / 5),
    "efficient traces against ES_D_RTRL": (
        {"algorithm": "ES_D_RTRL", "decay": 0.9},
        None,
    ),
}
_SAME = 1e-4  # of the length of the gradient


def problem_of(cell: str) -> Problem:
    """Weights of each gate and of the read-out, inputs `[steps, examples, inputs]`."""
    draw = np.random.default_rng(0)
    shapes = [(INPUTS + UNITS, UNITS)] * GATES[cell] + [(UNITS, OUTPUTS)]
    weights = [draw.normal(size=s) / np.sqrt(s[0]) for s in shapes]
    biases = [draw.normal(size=s[1]) / 4 for s in shapes]
    x = draw.normal(size=(STEPS, EXAMPLES, INPUTS))
    y = draw.normal(size=(STEPS, EXAMPLES, OUTPUTS))
    return Problem(
        [w.astype(np.float32) for w in weights],
        [b.astype(np.float32) for b in biases],
        x.astype(np.float32),
        y.astype(np.float32),
    )


def models() -> Iterator[Model]:
    """The cells, by their names; their calls are built by the workers."""
    for name in GATES:
        yield Model(name, lambda *_: None, (), ())


def measured(model: Model, budget: Budget) -> Iterator[Record]:
    """The gradient of a sequence by each rule."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = str(Path(folder) / "problem.npz")
        problem_of(model.name).save(path)
        told = {"problem": path, "cell": model.name, "chunk": 32}
        workers: list[Worker] = []
        for library in (APICAL, BRAINTRACE):
            try:
                workers.append(stack.enter_context(Worker(library)))
            except UnavailableError as error:
                yield left_out(model.name, error)
                return
        for what, (asked, limit) in RULES.items():
            found: list[Values] = []
            for worker in workers:
                answer = worker.ask("build", name=what, **told, **asked)
                found.append(read(answer["grads"]))
            apart = require_same(model.name, *found)
            calls = {worker.library.name: (worker, what) for worker in workers}
            mine, theirs = in_turn(calls, budget.rounds).values()
            note = f"gradients within {apart:.0e}; {mine.told(theirs)}"
            pair, base = (mine.wall, theirs.wall), BRAINTRACE.name
            yield timed("online", model.name, what, pair, base, limit, note=note)


def require_same(cell: str, mine: Values, theirs: Values) -> float:
    """The distance of the gradients of weights and biases that both find.

    Raises:
      UnequalError: if they are not the same.
    """
    kept = [i for i in range(2 * GATES[cell]) if cell != "gru" or i // 2 != RESET]
    one, other = (
        np.concatenate([np.ravel(g[i]) for i in kept]) for g in (mine, theirs)
    )
    apart = float(np.linalg.norm(one - other) / np.linalg.norm(one))
    if not apart <= _SAME:
        raise UnequalError(
            f"The gradients of braintrace are {apart:.0e} of their length from "
            "apical's, so their times say nothing."
        )
    return apart
