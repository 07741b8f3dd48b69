"""Compiled functions of a training run, and calls of several at a time."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np


class CompiledCalls:
    """Compiles each function once for each shape of its arguments.

    Attributes:
        at_a_time: how many calls are made at a time: one for each CPU.
        seconds_compiling: the time that compilation has taken, with first calls.
    """

    def __init__(self) -> None:
        self.at_a_time = available_cpus()
        self.seconds_compiling = 0.0
        self._compiled: dict[tuple, Any] = {}
        self._warm: set[tuple] = set()

    def compile(self, function: Callable, *args: Any) -> Any:
        """The compiled function."""
        key = _key(function, args)
        if key not in self._compiled:
            began = time.perf_counter()
            self._compiled[key] = jax.jit(function).lower(*args).compile()
            self.seconds_compiling += time.perf_counter() - began
        return self._compiled[key]

    def prepare(self, function: Callable, arguments: Sequence[tuple]) -> list[Callable]:
        """The calls for each of these arguments, compiled, and warm.

        The first call of a compiled function is slower, and is made here.
        """
        calls = []
        for args in arguments:
            key = _key(function, args)
            call = partial(self.compile(function, *args), *args)
            if key not in self._warm:
                began = time.perf_counter()
                jax.block_until_ready(call())
                self._warm.add(key)
                self.seconds_compiling += time.perf_counter() - began
            calls.append(call)
        return calls

    def run(self, calls: Sequence[Callable]) -> list[Any]:
        """The results of calls."""
        workers = min(len(calls), self.at_a_time)
        if workers == 1:
            return [jax.block_until_ready(call()) for call in calls]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(lambda call: jax.block_until_ready(call()), calls))

    def __call__(self, function: Callable, arguments: Sequence[tuple]) -> list[Any]:
        """The results of a function for each of these arguments."""
        return self.run(self.prepare(function, arguments))


def _key(function: Callable, args: tuple) -> tuple[Any, ...]:
    return function.__name__, *(np.shape(leaf) for leaf in jax.tree.leaves(args))


def available_cpus() -> int:
    """The CPUs that this process may use."""
    limited = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    return len(os.sched_getaffinity(0)) if limited else os.cpu_count() or 1
