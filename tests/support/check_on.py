"""`check_rule` on a loss function given with its description."""

from collections.abc import Callable, Collection
from typing import Any

from apical import value_and_grad
from apical.rules import Rule
from apical.testing import check_rule


def check_on(
    rule: Rule,
    loss_fn: Callable[..., Any],
    params: Any,
    args: tuple[Any, ...],
    skip: Collection[str] = (),
    **description: Any,
) -> None:
    """Check a rule on this loss function."""
    learner = value_and_grad(loss_fn, rule, **description)
    check_rule(learner, params, *args, skip=skip)
