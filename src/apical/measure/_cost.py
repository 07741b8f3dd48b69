"""The cost of a rule relative to backpropagation: time, FLOPs, memory, depth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..circuit import Partition, is_concrete, trace_program
from ..rules import Backpropagation
from ..rules._learner import Learner
from ._flops import product_flops
from ._learner_argument import takes_learner
from ._sequential_depth import sequential_depth

# ---- Timing: calls are interleaved, so that other load affects all of them alike.

# The minimum time of a turn: shorter ones would measure the clock and the dispatch.
_SHORTEST_TURN = 2e-3


def in_turn(calls: Sequence[Callable[[], Any]], rounds: int) -> np.ndarray:
    """Seconds per call: one row for each of the calls, one column for each round.

    Every other round is reversed, so that no call always follows the same one. Short
    calls are repeated within their turn.
    """
    repeats = [_repeats(call) for call in calls]
    seconds = np.zeros((len(calls), rounds))
    for turn in range(rounds):
        for which in range(len(calls))[:: 1 if turn % 2 == 0 else -1]:
            seconds[which, turn] = _seconds(calls[which], repeats[which])
    return seconds


def _repeats(call: Callable[[], Any]) -> int:
    _seconds(call, 2)  # the first calls are slower
    return max(1, math.ceil(_SHORTEST_TURN / _seconds(call, 1)))


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(call())
    return (time.perf_counter() - start) / repeats


class Expense(NamedTuple):
    """The cost of one call; None where it is not known.

    Attributes:
      seconds: the median time of a call.
      quartiles: the first and the third quartile of that time.
      compile_seconds: the time to trace, lower and compile, once.
      flops: floating-point operations of matrix products and convolutions, with every
        step of a loop; None if a `while_loop` contains one or a solver is used.
      xla_flops: XLA's count of all floating-point operations, which counts the body of
        a loop once, regardless of the number of steps.
      xla_bytes: XLA's count of bytes read and written, with the same limit.
      memory_bytes: the memory that XLA allocates: arguments, results and temporary
        arrays. (XLA's own peak leaves out temporary arrays on a CPU.)
      depth: the sequential depth: the longest chain of matrix products, convolutions
        and solvers that depend on one another; None if a `while_loop` contains one. All
        steps of a loop count whose result depends on that of the step before.
    """

    seconds: float
    quartiles: tuple[float, float]
    compile_seconds: float | None
    flops: float | None
    xla_flops: float | None
    xla_bytes: float | None
    memory_bytes: float | None
    depth: float | None


class Cost(NamedTuple):
    """The cost of a rule relative to backpropagation.

    Attributes:
      rule: the cost of one call of the rule's learner.
      backpropagation: the same for backpropagation, timed in turn with it.
      ratio: the ratio of the two. For times, the median and quartiles of the ratios of
        all rounds, which are robust to other load on the machine.
    """

    rule: Expense
    backpropagation: Expense
    ratio: Expense


@takes_learner
def cost(learner: Learner, *, repeats: int = 20) -> Callable[..., Cost]:
    """Measure the cost of a rule relative to backpropagation, in the same process.

        ratio = median over rounds of (seconds of the rule / seconds of backpropagation)

    One call of the learner is measured: value, aux, gradients and new state, without
    the diagnostics and without the optimiser. For a rule that needs
    `apical.train_step`, the work of its training step is not included.

    Args:
      learner: what `apical.value_and_grad` returned, or `step.learner` of a training
        step: the loss function, its description and the rule.
      repeats: the number of timed rounds; each calls both learners.

    Returns:
      A function of `(params, state, *args)` that compiles, runs and returns a `Cost`.
      `state` is the rule's state, of `learner.init` or `state.rule` of a training step.

    Raises:
      TypeError: for a loss function or a rule in place of a learner.
      ValueError: for `repeats` below 1, or if the function is called inside a
        transformation such as `jax.jit`.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}, jnp.ones((5, 3))
      >>> rule = apical.rules.PredictiveCoding(20, prediction="free")
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> found = apical.measure.cost(learner)(w, (), x)
      >>> found.backpropagation.depth, found.rule.depth
      (4, 43)
    """
    if not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"`repeats` must be a whole number above 0, not {repeats!r}.")
    learners = learner, learner.with_rule(Backpropagation())

    def measure(params: Any, state: Any, *args: Any) -> Cost:
        if not is_concrete((params, state, args)):
            raise ValueError(
                "`apical.measure.cost` times real calls: call it outside of `jax.jit`, "
                "`jax.vmap` and `jax.grad`, with arrays for `params`, `state` and data."
            )
        pairs = zip(learners, (state, ()), strict=True)
        calls = [_Call(each, (params, s, *args)) for each, s in pairs]
        seconds = in_turn(calls, repeats)
        ours, theirs = (c.expense(s) for c, s in zip(calls, seconds, strict=True))
        return Cost(ours, theirs, _ratio(ours, theirs, seconds[0] / seconds[1]))

    return measure


class _Call:
    """A call of a learner, compiled for its arguments."""

    def __init__(self, learner: Learner, args: tuple[Any, ...]) -> None:
        given = Partition.of(args, learn=False)
        self.arrays = given.split(args)[1]

        def results(*arrays: Any) -> list[Any]:
            credit = learner.credit(*given.combine([], arrays))
            kept = jax.tree.leaves((credit.value, credit.aux, credit.grads))
            kept += jax.tree.leaves(credit.state)
            return [leaf for leaf in kept if isinstance(leaf, jax.Array)]

        # Traced before the clock starts, so that JAX's caches of inner functions favour
        # neither learner.
        self.program = trace_program(results, *self.arrays)[0]
        start = time.perf_counter()
        lowered = jax.jit(lambda *arrays: results(*arrays)).lower(*self.arrays)
        self.compiled = lowered.compile()
        self.compile_seconds = time.perf_counter() - start

    def __call__(self) -> Any:
        return self.compiled(*self.arrays)

    def expense(self, seconds: np.ndarray) -> Expense:
        low, middle, high = (float(q) for q in np.percentile(seconds, (25, 50, 75)))
        counted = _counts(self.compiled)
        return Expense(
            seconds=middle,
            quartiles=(low, high),
            compile_seconds=self.compile_seconds,
            flops=product_flops(self.program),
            xla_flops=counted.get("flops"),
            xla_bytes=counted.get("bytes accessed"),
            memory_bytes=_memory(self.compiled),
            depth=sequential_depth(self.program),
        )


def _counts(compiled: Any) -> dict[str, float]:
    """XLA's figures, which older versions of JAX return as a list, one per device."""
    counted = compiled.cost_analysis()
    return (counted[0] if isinstance(counted, list) else counted) or {}


def _memory(compiled: Any) -> int | None:
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    whole = stats.argument_size_in_bytes + stats.output_size_in_bytes
    return whole + stats.temp_size_in_bytes - stats.alias_size_in_bytes


def _ratio(ours: Expense, theirs: Expense, seconds: np.ndarray) -> Expense:
    low, middle, high = (float(q) for q in np.percentile(seconds, (25, 50, 75)))
    rest = Expense._fields[2:]
    ratios = {name: _over(getattr(ours, name), getattr(theirs, name)) for name in rest}
    return Expense(middle, (low, high), **ratios)


def _over(ours: float | None, theirs: float | None) -> float | None:
    """The ratio; None if one of them is unknown, or the second is 0."""
    return None if ours is None or not theirs else ours / theirs
