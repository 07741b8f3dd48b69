"""What claims about pictures in spikes share: sizes, data, and trials of step sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from apical.claims._claim import TaskContext
from apical.claims._data import first_examples
from apical.claims.spiking._winner_take_all import Parts, spike_probabilities
from apical.lab.data._load import load
from apical.lab.storage._jsonl import Line

_TUNING_SEED = 1000  # not among those that are reported


class Size(NamedTuple):
    """The size of the runs."""

    data: str
    trained: int | None
    tested: int | None
    units: int
    steps: int
    epochs: int
    seeds: int
    trials: int


def parts_of(context: TaskContext, size: Size) -> tuple[Parts, Parts]:
    """The pictures that are trained on, and those that are tested, in spikes."""
    data = load(size.data, context.data_dir, context.download)
    return spike_probabilities(first_examples(data, size.trained, size.tested))


def tried(
    rule: str,
    size: Size,
    train: Parts,
    rates: Sequence[float],
    runs: Callable[[Parts, int], Callable[[int, float], Iterable[Any]]],
    score: Callable[[Any, Parts, Parts], float | None],
) -> list[Line]:
    """Every step size for half of the epochs, scored on the last fifth of training.

    Args:
      rule: the name of the rule, for the lines.
      size: of the runs.
      train: the pictures that are trained on.
      rates: the step sizes.
      runs: from pictures and a number of epochs, a run: a function of a seed and a step
        size, with what is trained after each epoch.
      score: of what was trained last, from its pictures and those held out; None if it
        diverged.
    """
    cut = len(train.x) * 4 // 5
    kept = Parts(train.x[:cut], train.y[:cut])
    held = Parts(train.x[cut:], train.y[cut:])
    run = runs(kept, max(1, size.epochs // 2))
    found = []
    for rate in rates:
        *_, last = run(_TUNING_SEED, rate)
        found.append(score(last, kept, held))
    best = int(np.argmax([-1.0 if score is None else score for score in found]))
    return [
        {
            **{"data": size.data, "rule": rule, "trial": i, "learning_rate": rate},
            **{"numbers": "{}", "held_out_accuracy": score, "chosen": i == best},
        }
        for i, (rate, score) in enumerate(zip(rates, found, strict=True))
    ]


def chosen_rate(trials: Iterable[Line]) -> float:
    """The step size of the best trial; 0 without trials."""
    return next((t["learning_rate"] for t in trials if t["chosen"]), 0.0)
