"""Which training runs share a compiled call: all, one each, or as many as fit."""

import itertools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from apical.lab.training._setup import TrainSetup

_SHARE = 0.9  # of the memory of the device; the rest is for what is not counted
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def faster_apart(setup: TrainSetup) -> bool:
    """Whether runs are faster in a call each than all in one vmapped call.

    On CPUs that is so of large convolutions and of loops. A convolution with an axis of
    runs becomes a grouped convolution, which XLA runs slowly: per run 1.2 times faster
    on images of 8 x 8, but 3 to 4 times slower on those of 28 x 28 and 32 x 32. Eight
    LSTMs take 6 to 10 times as long as one on two cores (`python -m benchmarks --only
    lstm --lines seeds`), and separate calls have a core each: the model `gru` on
    `mnist-rows` trains twice as fast.
    """
    if setup.device.platform != "cpu":
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


# ---- Groups of runs


def slices(runs: int, size: int) -> list[slice]:
    """Groups of at most this many runs, of sizes that differ by one at most.

    Example:
        >>> slices(5, 3)
        [slice(0, 2, None), slice(2, 5, None)]
    """
    ends = np.linspace(0, runs, math.ceil(runs / size) + 1).round().astype(int).tolist()
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def size_that_fits(
    runs: int, bytes_of: Callable[[int], int], memory: int | None
) -> int:
    """How many runs a call may have: all, or a half, a quarter, ... of them.

    Args:
        runs: how many there are.
        bytes_of: what a call with this many runs needs.
        memory: of the device, in bytes. None: not known.

    Example:
        >>> size_that_fits(12, lambda runs: runs * 2**30, 4 * 2**30)
        3
    """
    size = runs
    while memory is not None and size > 1 and bytes_of(size) > memory:
        size = math.ceil(size / 2)
    return size


def bytes_of_call(compiled: Any) -> int:
    """What arguments, results and intermediate values of a compiled call need."""
    found = compiled.memory_analysis()
    if found is None:  # not known on this platform
        return 0
    kinds = ("argument", "output", "temp")
    total = sum(getattr(found, f"{kind}_size_in_bytes") for kind in kinds)
    return total - found.alias_size_in_bytes


def memory_of(device: Any) -> int | None:
    """The bytes of memory that may be used on a device; None where not known."""
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return int(_SHARE * stats["bytes_limit"])
    if device.platform != "cpu" or not hasattr(os, "sysconf"):
        return None
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _CGROUP.read_text().strip() if _CGROUP.exists() else "max"
    return int(_SHARE * (total if limit == "max" else min(total, int(limit))))
