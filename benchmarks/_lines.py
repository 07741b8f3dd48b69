"""Lines of the speed table: one function for each kind of measurement.

Each yields records one by one. A rule that cannot be measured on a model gives a
record of the failure, and the others continue.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from apical import rules

from . import _calls
from ._count import multiply_adds, work
from ._harness import FirstCalls, Prepared, Timing, first_calls, paired
from ._models import Model
from ._records import Record, failed, timed

BASE = "jax.value_and_grad"
STEPS = 20
FREE = f"free, {STEPS} steps, rate 0.1"
FIXED_LIMITS = {"mlp": 4.0, "cnn": 4.0, "transformer": 5.0, "lstm": 8.0, "deep": 8.0}
FREE_LIMITS = {"cnn": 5.0, "transformer": 10.0, "lstm": 10.0}  # others: by hand
FEEDBACK = {
    "feedback alignment": rules.FeedbackAlignment(),
    "sign concordance": rules.SignConcordance(),
}
SWEEP = {"back-to-front sweep": rules.PredictiveCoding(inference=rules.Sweep())}
FIXED = {
    f"fixed, {STEPS} steps, rate {rate}": rules.PredictiveCoding(STEPS, rate)
    for rate in (1.0, 0.1)
}
RELAXED = {**FIXED, FREE: rules.PredictiveCoding(STEPS, 0.1, "free")}
UNROLLED = (
    "without a limit: convolutions in a loop run 10-50 times slower on a CPU, so the "
    "library may unroll the steps and compile longer"
)


@dataclass(frozen=True)
class Budget:
    """The number of rounds and repeats."""

    rounds: int = 31
    first: int = 3

    @classmethod
    def quick(cls) -> "Budget":
        """Enough to detect a change of 10 %, not of 5 %."""
        return cls(rounds=7, first=1)


def one_pass(model: Model, budget: Budget) -> Iterator[Record]:
    """Rules that cost one backward pass: time and FLOPs against backprop."""
    calls = {BASE: _calls.backprop(model)}
    for what, rule in (FEEDBACK | SWEEP).items():
        make = partial(_calls.learner, model, rule)
        yield from attempted(calls, "one pass", model.name, what, make)
    timings = paired(calls, budget.rounds)
    for what in list(calls)[1:]:
        pair = (timings[what], timings[BASE])
        yield timed("one pass", model.name, what, pair, limit=1.10, bound=1.0)
    for what in list(calls)[1:]:
        limit = 1.02 if what in FEEDBACK else None
        yield from _operations(model.name, what, calls[what], calls[BASE], limit)


def _operations(
    model: str, what: str, call: Prepared, base: Prepared, limit: float | None
) -> Iterator[Record]:
    """FLOPs as the compiler counts them, multiply-adds as the trace has them."""
    counts = {
        "FLOPs (XLA)": (call.flops, base.flops),
        "multiply-adds": (_traced(call), _traced(base)),
    }
    for unit, (number, other) in counts.items():
        yield Record("FLOPs", model, f"{what}, {unit}", number / other, limit=limit)


def mirrored_step(model: Model, budget: Budget) -> Iterator[Record]:
    """Kolen-Pollack, whose feedback moves with the parameters: a whole step."""
    what, base = "Kolen-Pollack step", "backprop + sgd step"
    calls = {base: _calls.backprop_step(model)}
    make = partial(_calls.rule_step, model, rules.KolenPollack())
    yield from attempted(calls, "one pass", model.name, what, make)
    if what in calls:
        timings = paired(calls, budget.rounds)
        pair = (timings[what], timings[base])
        yield timed("one pass", model.name, what, pair, base, 1.10, 1.0)


def relaxation(model: Model, budget: Budget) -> Iterator[Record]:
    """Twenty steps with fixed and with free predictions."""
    calls = {BASE: _calls.backprop(model)}
    for what, rule in RELAXED.items():
        make = partial(_calls.learner, model, rule)
        yield from attempted(calls, "steps", model.name, what, make)
    by_hand = _calls.loops_by_hand(STEPS, model)
    calls |= by_hand
    timings = paired(calls, budget.rounds)
    least = work(model.loss, model.params, *model.args)
    for what in list(calls)[1:]:
        fixed = what in FIXED
        bound = least.fixed(STEPS) if fixed else least.free(STEPS)
        limits = {} if what in by_hand else FIXED_LIMITS if fixed else FREE_LIMITS
        pair = (timings[what], timings[BASE])
        limit = limits.get(model.name)
        yield timed("steps", model.name, what, pair, limit=limit, bound=bound)
    if by_hand and FREE in calls:
        base = min(by_hand, key=lambda what: timings[what].median)
        note = _distance(calls[FREE]().grads, calls[base]()[1])
        pair = (timings[FREE], timings[base])
        yield timed("steps", model.name, FREE, pair, base, 1.10, 1.0, note)


def first_call(model: Model, budget: Budget) -> Iterator[Record]:
    """The first call: trace, lower, compile and run, with every cache empty."""
    stepping = {
        f"{prediction}, T={steps}": rules.PredictiveCoding(steps, 0.1, prediction)
        for prediction in ("fixed", "free")
        for steps in (8, 64)
    }
    makers = {BASE: partial(_calls.fresh_backprop, model)}
    for what, rule in (FEEDBACK | stepping).items():
        makers[what] = partial(_calls.fresh_learner, model, rule)
    makers[BASE]()()  # the very first compilation also starts the compiler
    times = first_calls(makers, budget.first)
    for what, error in times.errors.items():
        yield failed("first call", model.name, what, error)
    for what in list(times.first)[1:]:
        limit = 2.0 if what in FEEDBACK else None
        pair = (times.first[what], times.first[BASE])
        yield timed("first call", model.name, what, pair, limit=limit)
    for what in (name for name in FEEDBACK if name in times.first):
        whole = Timing(times.making[what].seconds + times.first[what].seconds)
        pair = (whole, times.first[BASE])
        yield timed("first call", model.name, f"{what}, with init", pair)
    yield from _growth(model, times)


def _growth(model: Model, times: FirstCalls) -> Iterator[Record]:
    """First calls of many steps against those of few, with and without the run."""
    limit, note = (None, UNROLLED) if model.convolutional else (1.3, "")
    for prediction in ("fixed", "free"):
        short, long = f"{prediction}, T=8", f"{prediction}, T=64"
        if short in times.first and long in times.first:
            pair = (times.first[long], times.first[short])
            yield timed("first call", model.name, long, pair, short, limit, note=note)
            compiling = (_compiling(times, long), _compiling(times, short))
            what = f"{long}, less a run"
            yield timed("first call", model.name, what, compiling, short)


def _compiling(times: FirstCalls, what: str) -> Timing:
    return Timing(times.first[what].seconds - times.second[what].seconds)


def seeds(
    model: Model, budget: Budget, limit: float | None = None, count: int = 8
) -> Iterator[Record]:
    """Several seeds at once, by `jax.vmap` over every argument, against one."""
    name, base = f"{model.name} x {count}", "one seed"
    measured = {"backpropagation": rules.Backpropagation(), **FEEDBACK, **SWEEP}
    calls = {BASE: (_calls.backprop(model), _calls.seeds_of_backprop(model, count))}
    for what, rule in (measured | RELAXED).items():
        make = partial(_calls.one_and_many, model, rule, count)
        yield from attempted(calls, "seeds", name, what, make)
    for what, (one, many) in calls.items():
        timings = paired({"one": one, "many": many}, budget.rounds)
        pair = (timings["many"], timings["one"])
        yield timed("seeds", name, what, pair, base, None if what == BASE else limit)


def attempted(
    calls: dict[str, Any],
    section: str,
    model: str,
    what: str,
    make: Callable[[], Any],
) -> Iterator[Record]:
    """Add the result of `make` to `calls`, or return the reason of the failure."""
    try:
        calls[what] = make()
    except Exception as error:
        yield failed(section, model, what, error)


def _traced(call: Prepared) -> int:
    return multiply_adds(call.fun, *call.args)


def _distance(grads: Any, others: Any) -> str:
    """The distance of two trees of gradients, which shows equal arithmetic."""
    apart = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), grads, others)
    size = jax.tree.map(lambda a: jnp.max(jnp.abs(a)), others)
    ratio = float(max(jax.tree.leaves(apart)) / max(jax.tree.leaves(size)))
    return f"gradients are within {ratio:.0e} (of the largest) of those by hand"
