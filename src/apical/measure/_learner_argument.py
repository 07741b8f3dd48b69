"""Check of the first argument of every measure: a learner."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ..rules import Rule
from ..rules._learner import Learner
from ..rules._train_step import Trainer

P = ParamSpec("P")
T = TypeVar("T")


def takes_learner(measure: Callable[P, T]) -> Callable[P, T]:
    """Require a learner as the first argument of a measure."""

    @functools.wraps(measure)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        given = args[:1] or (kwargs.get("learner"),)
        if not isinstance(given[0], Learner):
            raise TypeError(_message(measure.__name__, given[0]))
        return measure(*args, **kwargs)

    return checked


def _message(name: str, given: Any) -> str:
    if isinstance(given, Trainer):
        return (
            f"`apical.measure.{name}` takes a learner, not a training step: pass "
            "`step.learner`."
        )
    if isinstance(given, (Rule, type)):
        kind = "a rule"
    else:
        kind = "a function" if callable(given) else f"a {type(given).__name__}"
    return (
        f"`apical.measure.{name}` takes a learner, not {kind}. Describe the loss once, "
        "`learner = apical.value_and_grad(loss_fn, rule, ...)` with `has_aux=`, "
        f"`batch_axes=` and the others there, then `apical.measure.{name}(learner)`."
    )
