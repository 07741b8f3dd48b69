"""The law of rules through time, on a sequence that is cut into calls.

    whole = sum over calls [ (steps of the call) / (steps) * gradients of the call ]

for any calls that the state joins. The same calls without the past give something else,
and so does backpropagation through time unless recurrent synapses pass back everything,
or may do so ("some").
"""

from __future__ import annotations

import dataclasses
from itertools import accumulate, pairwise
from typing import Any

import jax
import jax.numpy as jnp

from ..circuit import at_path
from ..rules import Rule
from ..rules._learner import Learner
from ._case import CLOSE, SEEDS, Case, require_close
from ._problem import Stream

# The least distance, relative to the size, of gradients that differ.
APART = 1e-3


def through_time(case: Case) -> None:
    """Calls joined by the state add up; backpropagation differs where it should."""
    if case.stream is None or not case.rule.through_time:
        return
    steps, passes = case.stream.steps, case.rule.passes
    each = (1,) * steps
    calls = _Calls(case, case.stream, case.learner)
    whole = calls.joined((steps,))
    for lengths in (each, (steps - 2, 2)):
        what = f"in calls of {lengths} steps, joined by the state, against one call"
        require_close(calls.joined(lengths), whole, what, 10 * CLOSE)
    one_by_one = _with_chunk(case.rule, 1)
    if one_by_one is not None:
        others = _Calls(case, case.stream, case.learner.with_rule(one_by_one))
        require_close(others.joined((steps,)), whole, "with `chunk=1`", 10 * CLOSE)
    if _distance(whole, calls.joined(each, past=False)) < APART:
        raise AssertionError(
            "the gradients are those of each step without its past: it is "
            "backpropagation through time that is cut off at each step"
        )
    exact = _backpropagation(case)
    if passes == "everything":
        what = "`passes` is 'everything', and against backpropagation through time"
        require_close(whole, exact, what, 10 * CLOSE)
    elif passes != "some" and _distance(whole, exact) < APART:
        raise AssertionError(
            f"`passes` is {passes!r}, and the gradients are those of backpropagation "
            "through time"
        )


class _Calls:
    """A sequence in calls of some steps."""

    def __init__(self, case: Case, stream: Stream, learner: Learner) -> None:
        self.case, self.stream, self.learner = case, stream, learner
        self.call = jax.jit(learner.credit)
        key = jax.random.key(SEEDS[0])
        self.state = learner.init(key, case.params, *case.args)

    def joined(self, lengths: tuple[int, ...], past: bool = True) -> Any:
        """The mean over all steps of the gradients of calls of so many steps each."""
        case, state, carry, total = self.case, self.state, self.case.args[0], None
        _, path = case.circuit.spec.carry or (0, ())
        for begin, end in pairwise(accumulate(lengths, initial=0)):
            args = self.stream.window(case.args, carry, begin, end)
            if not past:
                state = self.learner.reset(case.params, state, *args)
            credit = self.call(case.params, state, *args)
            state, carry = credit.state, at_path(credit.aux, path)
            share = (end - begin) / self.stream.steps
            part = jax.tree.map(lambda g, share=share: share * g, credit.grads)
            total = part if total is None else jax.tree.map(jnp.add, total, part)
        return total


def _with_chunk(rule: Rule, chunk: int) -> Rule | None:
    """The rule with another length of chunks; None if it has no such field."""
    if "chunk" not in {f.name for f in dataclasses.fields(rule)}:  # type: ignore[arg-type]
        return None
    return dataclasses.replace(rule, chunk=chunk)  # type: ignore[type-var, call-arg]


def _backpropagation(case: Case) -> Any:
    gradient = jax.grad(case.learner.loss_fn, has_aux=True)
    return jax.jit(gradient)(case.params, *case.args)[0]


def _distance(found: Any, other: Any) -> float:
    """The norm of the difference of two trees, relative to that of the second."""
    difference = jax.tree.map(jnp.subtract, found, other)

    def size(tree: Any) -> float:
        return float(sum(jnp.sum(jnp.abs(x) ** 2) for x in jax.tree.leaves(tree)))

    return (size(difference) / max(size(other), 1e-30)) ** 0.5
