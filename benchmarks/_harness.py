"""Times, first calls and FLOPs of several callables, always side by side.

The speed of a shared machine changes from second to second. So the callables are
called in turn (A, B, A, B, then B, A, ...), and each round gives one ratio. The median
of these ratios is reported, with both medians and the interquartile range.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

Call = Callable[[], Any]
Maker = Callable[[], Call]


@dataclass(frozen=True)
class Prepared:
    """A function compiled for its arguments, with the compiler's analysis."""

    fun: Callable[..., Any]
    compiled: Any
    args: tuple[Any, ...]

    def __call__(self) -> Any:
        return self.compiled(*self.args)

    @cached_property
    def flops(self) -> float:
        """XLA's count, in which the body of a loop counts once (unlike `_count.py`)."""
        cost = self.compiled.cost_analysis()
        cost = cost[0] if isinstance(cost, list | tuple) else cost
        return float((cost or {}).get("flops", float("nan")))


@dataclass(frozen=True)
class Timing:
    """Seconds per call in every round."""

    seconds: np.ndarray

    @property
    def median(self) -> float:
        """The median over rounds, in seconds."""
        return float(np.median(self.seconds))

    @property
    def fastest(self) -> float:
        """The fastest round, in seconds: the least affected by other work."""
        return float(np.min(self.seconds))

    def ratio(self, base: "Timing") -> tuple[float, float, float]:
        """The quartiles of the ratio to `base`, round by round: (25, 50, 75) %."""
        low, middle, high = np.percentile(self.seconds / base.seconds, (25, 50, 75))
        return float(low), float(middle), float(high)


def prepare(fun: Callable[..., Any], *args: Any) -> Prepared:
    """Compile `fun` for `args`, so that no timed call can trace or compile."""
    return Prepared(fun, jax.jit(fun).lower(*args).compile(), args)


def paired(
    calls: dict[str, Call], rounds: int, shortest: float = 2e-3
) -> dict[str, Timing]:
    """Time all `calls` in turn, `rounds` times.

    A call shorter than `shortest` seconds is repeated within its turn, since the
    clock and the dispatch would otherwise take as long as the work.
    """
    repeats = {name: _repeats(call, shortest) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for index in range(rounds):
            # In reverse every other round: the call after one that cleared the
            # caches out should not always be the same one.
            for name in list(calls)[:: 1 if index % 2 == 0 else -1]:
                seconds[name].append(_timed(calls[name], repeats[name]))
    finally:
        gc.enable()
    return {name: Timing(np.array(values)) for name, values in seconds.items()}


@dataclass(frozen=True)
class FirstCalls:
    """Seconds to make each callable, of its first call, and of its second."""

    making: dict[str, Timing]
    first: dict[str, Timing]
    second: dict[str, Timing]
    errors: dict[str, Exception]


def first_calls(makers: dict[str, Maker], rounds: int) -> FirstCalls:
    """Time the first two calls of each callable.

    The first call is trace, lower, compile and run; the second is to run. Makers build
    new functions, and every cache of JAX is cleared before each measurement.
    """
    seconds: dict[str, list[tuple[float, ...]]] = {name: [] for name in makers}
    errors: dict[str, Exception] = {}
    for index in range(rounds):
        for name in list(seconds)[:: 1 if index % 2 == 0 else -1]:
            try:
                seconds[name].append(_first_call(makers[name]))
            except Exception as error:
                errors[name] = error
                del seconds[name]

    def part(index: int) -> dict[str, Timing]:
        return {n: Timing(np.array(rows)[:, index]) for n, rows in seconds.items()}

    return FirstCalls(part(0), part(1), part(2), errors)


def _first_call(make: Maker) -> tuple[float, ...]:
    _forget()
    start = time.perf_counter()
    call = make()
    making = time.perf_counter() - start
    _forget()
    return making, _timed(call, 1), _timed(call, 1)


def _forget() -> None:
    jax.clear_caches()
    gc.collect()


def _timed(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(call())
    return (time.perf_counter() - start) / repeats


def _repeats(call: Call, shortest: float) -> int:
    _timed(call, 2)  # warm up
    return max(1, int(np.ceil(shortest / _timed(call, 1))))
