"""The server of every worker: build the requested call, and time it.

A worker reads one JSON object a line and answers with one:

    {"do": "build", "name": ..., "problem": path, ...}   make a call, and call it once
    {"do": "time", "name": ..., "repeats": n}            seconds per call, by two clocks
    {"do": "forget", "name": ...}
    {"do": "stop"}

A request to build has `way` ("values" or "errors" as variables, or "backprop"),
`steps` and `rate`.

It must run with any version of JAX, without importing from this repository.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from _problem import Problem


@dataclass
class Built:
    """A call that can be timed, and the results of the first one.

    Attributes:
      call: one call, whose result is awaited.
      values: the value of each node after the first call, from the input on.
      grads: the gradients of that call, weights and biases by turns; or None.
    """

    call: Callable[[], Any]
    values: Callable[[], list[np.ndarray]] | None = None
    grads: Callable[[], list[np.ndarray]] | None = None


Build = Callable[[Problem, dict[str, Any]], Built]


def serve(build: Build) -> None:
    """Answer until told to stop."""
    with _answers() as answer:
        answer({"jax": jax.__version__, "backend": jax.default_backend()})
        calls: dict[str, Built] = {}
        for line in sys.stdin:
            told = json.loads(line)
            if told["do"] == "stop":
                return
            try:
                answer(_done(build, calls, told))
            except Exception as error:
                answer({"error": f"{type(error).__name__}: {error}".splitlines()[0]})


@contextmanager
def _answers() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Only answers reach standard output: what a library prints goes elsewhere."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)

        def answer(told: dict[str, Any]) -> None:
            out.write(json.dumps(told) + "\n")
            out.flush()

        yield answer


def _done(build: Build, calls: dict[str, Built], told: dict[str, Any]) -> Any:
    name = told["name"]
    if told["do"] == "time":
        before = time.process_time()
        seconds = _timed(calls[name].call, told["repeats"])
        used = (time.process_time() - before) / told["repeats"]
        return {"seconds": seconds, "processor": used}
    if told["do"] == "forget":
        del calls[name]
        return {}
    problem = Problem.read(told["problem"])
    built = calls[name] = build(problem, told)
    first = _timed(built.call, 1)
    found: dict[str, Any] = {"first": first}
    for what in ("values", "grads"):
        read = getattr(built, what)
        if read is not None:
            path = f"{told['problem']}.{what}.npz"
            np.savez(path, *map(np.asarray, read()))
            found[what] = path
    return found


def _timed(call: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(call())
    return (time.perf_counter() - start) / repeats
