"""Measured figures, as text, that are shown next to published ones."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from apical.claims._claim import Lines
from apical.claims._effect_size import final_values, in_percent, lines_where

Measured = Callable[[Lines], str]
NOT_RUN = "not run at this scale"


def final_error(rule: str, **where: Any) -> Measured:
    """The test error after the last epoch: mean and standard deviation of seeds."""

    def say(lines: Lines) -> str:
        right = list(in_percent(final_values(lines, rule=rule, **where)).values())
        if not right:
            return NOT_RUN
        spread = f" ± {np.std(right, ddof=1):.2f}" if len(right) > 1 else ""
        return f"{100 - np.mean(right):.2f}{spread} % error"

    return say


def joined_figures(parts: dict[str, Measured]) -> Measured:
    """Several figures in one cell, each with its name."""
    return lambda lines: "; ".join(
        f"{name}: {say(lines)}" for name, say in parts.items()
    )


def accuracy_by_epoch(rules: Sequence[str], **where: Any) -> Measured:
    """The accuracy of each rule after every epoch, the mean of the seeds."""

    def say(lines: Lines) -> str:
        return "; ".join(f"{rule} {_course(lines, rule, where)}" for rule in rules)

    return say


def _course(lines: Lines, rule: str, where: dict[str, Any]) -> str:
    found: dict[int, list[float]] = {}
    for line in lines_where(lines, rule=rule, **where):
        if line["test_accuracy"] is not None:
            found.setdefault(line["epoch"], []).append(100 * line["test_accuracy"])
    points = [f"{np.mean(found[epoch]):.1f}" for epoch in sorted(found)]
    return f"{', '.join(points)} %" if points else NOT_RUN
