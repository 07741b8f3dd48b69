"""The search for hyper-parameters: the same number of trials for every rule.

Trials are drawn from the optimiser's span of step sizes and from the rule's own
`search_space`, by the same low-discrepancy sequence for every rule, so that trial 3 has
the same step size whatever the rule (or ten times that: `Rule.rate_scale`). Each is
trained on a part of the training set and scored after its last epoch on the rest of it,
by which one is chosen. What each has on the test part is written down, and tells later
how far another draw of trials would have led elsewhere; the choice does not see it.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import qmc

from apical.lab.data._labels import HELD_OUT, scored
from apical.lab.storage._jsonl import Line
from apical.lab.training._setup import Lanes
from apical.lab.training._train import Scores
from apical.rules._base import SearchSpace

# Of weights and batches in trials: none of those that are reported.
SEEDS = (1_000_003, 1_000_004, 1_000_005)
_FEW_EXAMPLES = 2_000
_DIMENSIONS = 16


class Choice(NamedTuple):
    """The hyper-parameters that a rule is run with."""

    learning_rate: float
    numbers: dict[str, float]


def draw_trials(
    number: int, span: tuple[float, float], space: SearchSpace, scale: float = 1.0
) -> Lanes:
    """The trials of one rule, a lane for each.

    Args:
        number: how many.
        span: the lowest and highest step size, drawn on a logarithmic scale.
        space: the numbers of the rule: low, high, and `"log"` or `"linear"`.
        scale: how many times these step sizes the rule's own are.
    """
    # Of fixed dimension: the first column is the same for every rule.
    points = qmc.Halton(_DIMENSIONS, scramble=True, rng=0).random(number)
    rates, *columns = points.T[: 1 + len(space)]
    numbers = {
        name: tuple(_scaled(column, *bounds).tolist())
        for column, (name, bounds) in zip(columns, space.items(), strict=True)
    }
    drawn = tuple((scale * _scaled(rates, *span, "log")).tolist())
    return Lanes(SEEDS[:1] * number, drawn, numbers)


def seeds_of_trials(examples: int) -> tuple[int, ...]:
    """The seeds of every trial: several where one score would be mostly luck.

    On 300 held-out examples of which 95 % are right, a score has a standard error of
    1.3 points; on 2,000 one of 0.5.
    """
    return SEEDS if examples < _FEW_EXAMPLES else SEEDS[:1]


def averaged(scores: Scores, seeds: int) -> Scores:
    """The scores of trials, of lanes in which each trial has so many seeds in a row."""
    loss, accuracy, diverged = (part.reshape(-1, seeds) for part in scores)
    return Scores(loss.mean(1), accuracy.mean(1), np.any(diverged, axis=1))


def best(scores: Scores) -> int:
    """The trial that was right most often; of several, the one with the lowest loss."""
    accuracy = np.where(scores.diverged, -1.0, scores.accuracy)
    loss = np.where(scores.diverged, np.inf, scores.loss)
    return int(np.lexsort((loss, -accuracy))[0])


def choice(lanes: Lanes, trial: int) -> Choice:
    """The hyper-parameters of one trial."""
    numbers = {name: values[trial] for name, values in lanes.numbers.items()}
    return Choice(lanes.learning_rates[trial], numbers)


def _scaled(points: np.ndarray, low: float, high: float, scale: str) -> Any:
    if scale == "log":
        return low * (high / low) ** points
    return low + (high - low) * points


# ---- How much of a score is the draw of the trials: the choice among them, repeated.
#
#     as many trials are drawn, with replacement, from those that there were; the best
# of
#     them on the held-out part is chosen; what it has on the test part is one more
# answer
#
# Every rule is given the same draws, as it was given the same trials: a difference
# between two rules is repeated as a difference.

_DRAWS = 2_000
_WITHIN = (2.5, 97.5)  # percent


def repeated(trials: list[Line]) -> np.ndarray | None:
    """Test scores by draw; None without trials, or where none came to one.

    Example:
        >>> line = {"status": "ok", "held_out_loss": 0.1, "test_accuracy": 0.9}
        >>> found = repeated([line | {"held_out_accuracy": x} for x in (0.8, 0.9)])
        >>> len(found), set(found.tolist())
        (2000, {0.9})
    """
    if not any(map(_is_known, trials)):
        return None
    best_first = sorted(range(len(trials)), key=lambda i: _rank(trials[i]))
    ranks = np.argsort(best_first)
    # One that diverged is chosen where all did: it is right on nothing.
    right = [scored(t) if _is_known(t) else 0.0 for t in trials]
    drawn = np.random.default_rng(0).integers(len(trials), size=(_DRAWS, len(trials)))
    chosen = drawn[np.arange(_DRAWS), ranks[drawn].argmin(axis=1)]
    return np.array(right)[chosen]


def half_width(answers: np.ndarray) -> float:
    """Half of what 95 % of the answers lie within."""
    low, high = np.percentile(answers, _WITHIN)
    return float(high - low) / 2


def _is_known(trial: Line) -> bool:
    measured = (scored(trial, HELD_OUT), scored(trial))
    return trial["status"] == "ok" and None not in measured


def _rank(trial: Line) -> tuple[Any, ...]:
    if not _is_known(trial):
        return (1,)
    return (0, -scored(trial, HELD_OUT), trial["held_out_loss"])
