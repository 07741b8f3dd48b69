"""A dense layer and LIF neurons over many steps, against spyx, snntorch and norse.

Each library runs in its own process and environment, on the same arrays. The dense
layer is one product of all steps ("folded"), or one in each step. Before anything is
timed the spikes of all steps and the gradients are compared with apical's, since every
library has its own convention:

    subtract    v <- decay v + I - s,      s of the step before      snntorch, spyx
    zero        v <- decay v (1 - s) + (1 - decay) I                 norse, snntorch

spyx and norse differentiate the reset, snntorch does not: apical is asked for what it
is compared with.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._environments import Library, UnavailableError, Worker
from ._lines import Budget
from ._models import Model
from ._peers import UnequalError, in_turn, left_out, read
from ._records import Record, timed
from .peers._problem import Problem

_LIMIT = 1.1
_DECAY = 0.9
# Spikes whose potential is within rounding of the threshold may differ.
_SPIKES = 1e-4  # of all entries
_GRADS = 1e-2  # of the length of the gradient

_SERVER = f"jax[cpu]=={jax.__version__}"  # what the server of a worker needs
APICAL = Library("apical", "apical_spiking_worker.py")
SPYX = Library("spyx", "spyx_worker.py", ((_SERVER, "spyx==1.0.0"),))
SNNTORCH = Library(
    "snntorch", "snntorch_worker.py", ((_SERVER, "torch==2.13.0", "snntorch==1.0.0"),)
)
NORSE = Library(
    "norse", "norse_worker.py", ((_SERVER, "torch==2.13.0", "norse==1.1.0"),)
)


@dataclass(frozen=True)
class _Against:
    """A peer, the convention that both have, and where both have the dense layer."""

    library: Library
    reset: str
    detached: bool
    slope: float = 25.0
    gain: float = 1.0
    folded: bool = True

    @property
    def what(self) -> str:
        """Its name in the table."""
        where = "folded" if self.folded else "in the loop"
        return f"{self.library.name}, {self.reset}, {where}"

    @property
    def told(self) -> dict[str, Any]:
        """What a worker is asked for."""
        names = ("reset", "detached", "slope", "gain", "folded")
        return {"decay": _DECAY, **{name: getattr(self, name) for name in names}}


AGAINST = (
    _Against(SPYX, "subtract", False),
    _Against(SPYX, "subtract", False, folded=False),
    _Against(SNNTORCH, "subtract", True),
    # norse has a slope of 1, whatever it is told.
    _Against(NORSE, "zero", False, slope=1.0, gain=1 - _DECAY),
    _Against(SNNTORCH, "zero", True, gain=1 - _DECAY),
)
_SIZES = {(100, 32, 256): "LIF 256", (100, 64, 512): "LIF 512"}


def models() -> Iterator[Model]:
    """Each size: steps, examples, inputs and neurons."""
    for (steps, examples, width), name in _SIZES.items():
        problem = problem_of(steps, examples, width)
        told = f"{name}, T={steps}, B={examples}"
        yield Model(told, lambda w, x, y: jnp.sum((x @ w) * y), problem, problem.args)


def problem_of(steps: int, examples: int, width: int) -> Problem:
    """Weights, input spikes, and a weight of each spike in the loss."""
    draw = np.random.default_rng(0)
    w = 1.5 * draw.normal(size=(width, width)) / np.sqrt(width)
    x = draw.random((steps, examples, width)) < 0.3
    weights = draw.normal(size=x.shape)
    weights[-1] = 0  # spyx makes this spike after the end
    arrays = (each.astype(np.float32) for each in (w, x, weights))
    w, x, weights = arrays
    return Problem([w], [np.zeros(width, np.float32)], x, weights)


def measured(model: Model, budget: Budget) -> Iterator[Record]:
    """Forward, and forward and backward, against each peer."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        paths = {gain: str(folder / f"{gain:.3f}.npz") for gain in (1.0, 1 - _DECAY)}
        for gain, path in paths.items():
            (w,) = model.params.weights
            model.params._replace(weights=[(w / gain).astype(np.float32)]).save(path)
        mine = stack.enter_context(Worker(APICAL))
        others: dict[str, Worker] = {}
        for library in (SPYX, SNNTORCH, NORSE):
            try:
                others[library.name] = stack.enter_context(Worker(library))
            except UnavailableError as error:
                yield left_out(model.name, error)
        for against in AGAINST:
            if against.library.name in others:
                other = others[against.library.name]
                path = paths[against.gain]
                yield from _pair(model.name, against, (mine, other), path, budget)


def _pair(
    name: str,
    against: _Against,
    workers: tuple[Worker, Worker],
    path: str,
    budget: Budget,
) -> Iterator[Record]:
    for way, limit in (("forward", None), ("both", _LIMIT)):
        found: list[list[np.ndarray]] = []
        for worker in workers:
            told = worker.ask("build", name=way, way=way, problem=path, **against.told)
            found.append(read(told["values" if way == "forward" else "grads"]))
        (one,), (other,) = found
        check = require_equal_spikes if way == "forward" else require_equal_gradients
        note = check(one, other, against.what)
        names = ("apical", against.library.name)
        calls = {n: (w, way) for n, w in zip(names, workers, strict=True)}
        timings = in_turn(calls, budget.rounds)
        mine, theirs = (timings[n] for n in names)
        what = f"{'forward' if way == 'forward' else 'with gradient'}: {against.what}"
        note = f"{note}; {mine.told(theirs)}"
        pair = mine.wall, theirs.wall
        yield timed("spiking", name, what, pair, names[1], limit, note=note)


def require_equal_spikes(one: np.ndarray, other: np.ndarray, what: str) -> str:
    """The fraction of spikes that differ, in a word.

    Args:
      one: apical's, of all steps.
      other: the peer's, of all steps or (spyx) of all but the last.
      what: the peer, for the message.

    Raises:
      UnequalError: if more differ than rounding explains, or hardly any neuron spikes.
    """
    other = other[: len(one)]
    apart = float(np.mean(one[: len(other)] != other))
    if not 0.01 < one.mean() < 0.9:
        raise UnequalError(f"{one.mean():.0%} of the neurons spike in a step.")
    if not apart <= _SPIKES or len(other) < len(one) - 1:
        raise UnequalError(f"{apart:.1e} of all spikes of {what} are not apical's.")
    return f"spikes equal but for {apart:.0e}, {one.mean():.0%} of neurons in a step"


def require_equal_gradients(one: np.ndarray, other: np.ndarray, what: str) -> str:
    """The distance of the gradients, in a word.

    Raises:
      UnequalError: if the peer has another gradient.
    """
    size = np.linalg.norm(one)
    apart = float(np.linalg.norm(one - other) / size)
    if not apart <= _GRADS:
        raise UnequalError(
            f"The gradient of {what} is {apart:.1e} of its length from apical's."
        )
    return f"gradients within {apart:.0e}"
