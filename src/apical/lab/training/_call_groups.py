"""Which training runs share a compiled call, and several calls at a time."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from apical.lab.training._setup import TrainSetup


def faster_apart(setup: TrainSetup) -> bool:
    """Whether runs are faster in a call each than all in one vmapped call.

    On CPUs that is so of large convolutions and of loops. A convolution with an axis of
    runs becomes a grouped convolution, which XLA runs slowly: per run 1.2 times faster
    on images of 8 x 8, but 3 to 4 times slower on those of 28 x 28 and 32 x 32. Eight
    LSTMs take 6 to 10 times as long as one on two cores (`python -m benchmarks --only
    lstm --lines seeds`), and separate calls have a core each: the model `gru` on
    `mnist-rows` trains twice as fast.
    """
    if jax.default_backend() != "cpu":
        return False
    small = np.prod(setup.config.data.shape[1:]) <= 8 * 8
    return (setup.config.model.convolves and not small) or _has_loops(setup)


def _has_loops(setup: TrainSetup) -> bool:
    params, statistics = setup.weights((0,))
    one = (jax.tree.map(lambda leaf: leaf[0], tree) for tree in (params, statistics))
    return _loops(jax.make_jaxpr(setup.loss.training)(*one, *setup.batch))


def _loops(program: Any) -> bool:
    """Whether a jaxpr contains a loop, at any depth."""
    return any(
        equation.primitive.name in ("scan", "while")
        or any(map(_loops, filter(_is_program, jax.tree.leaves(equation.params))))
        for equation in program.eqns
    )


def _is_program(x: Any) -> bool:
    return hasattr(x, "eqns")


def called(compiled: Callable, arguments: Sequence[tuple]) -> list[Any]:
    """The results of a compiled function, of as many calls at a time as CPUs."""

    def call(args: tuple) -> Any:
        return jax.block_until_ready(compiled(*args))

    if len(arguments) == 1:
        return [call(arguments[0])]
    with ThreadPoolExecutor(_cpus()) as pool:
        return list(pool.map(call, arguments))


def _cpus() -> int:
    """The CPUs that this process may use."""
    limited = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    return len(os.sched_getaffinity(0)) if limited else os.cpu_count() or 1
