"""Values and weights in lockstep while input and label change at every tick."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._effect_size import lines_where
from apical.claims._plots import Curve, Panel, curve_figure
from apical.claims._published_numbers import NOT_RUN
from apical.claims._verdict import Verdict, decide
from apical.claims.online._levels_of_change import (
    LOST,
    MARGIN,
    Compared,
    at_an_end,
    collapse,
    findings_by_level,
    last_errors,
)
from apical.claims.predictive_coding._input_stream import (
    BACKPROP,
    LOCKSTEP,
    READOUT,
    RULES,
    SETTLED,
    SETTLING_STEPS,
    VALUE_RATE,
    Form,
    Run,
    relative_errors,
    settling_time,
)
from apical.lab.storage._jsonl import Line
from apical.lab.training._tuning import SEEDS

SLOW = (0.01, 0.03, 0.1)  # the settling time over the time in which the input changes
FAST = (0.3, 1.0, 10.0)
LEVELS = (*SLOW, *FAST)
_MEASURED = 1 / 3  # of the ticks, the last ones


class Size(NamedTuple):
    """Seeds, tried step sizes, levels and the form of a run."""

    seeds: int
    rates: tuple[float, ...]
    levels: tuple[float, ...]
    form: Form


TRIED = tuple(float(rate) for rate in np.geomspace(0.001, 1.0, 10).round(4))
SIZES: dict[Scale, Size] = {
    "full": Size(10, TRIED, LEVELS, Form(4, 4, 16, 60_000)),
    "quick": Size(3, (0.03, 0.1), (0.01, 0.1, 1.0), Form(4, 4, 16, 2_000)),
    "smoke": Size(2, (0.1,), (0.1,), Form(2, 2, 3, 100)),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each rule."""
    for rule in RULES if scale != "smoke" else (LOCKSTEP, READOUT):
        yield Task(rule.replace(" ", "-"), partial(_followed, SIZES[scale], rule))


def _followed(size: Size, rule: str, context: TaskContext) -> Iterator[Line]:
    """Each step size on seeds that are not shown, then the best on all others."""
    del context
    settling = settling_time(size.form, SEEDS)
    shape = len(size.levels), len(size.rates), len(SEEDS)
    levels, rates, seeds = (
        grid.ravel()
        for grid in np.meshgrid(size.levels, size.rates, SEEDS, indexing="ij")
    )
    trials = _errors(size, rule, seeds.astype(int), settling / levels, rates)
    table = trials.reshape(shape).mean(axis=2)
    best = table.argmin(axis=1)
    for i, level in enumerate(size.levels):
        tau, rate = settling / level, size.rates[best[i]]
        common = {"rule": rule, "level": level, "settling_time": settling}
        every = np.arange(size.seeds)
        taus, steps = (np.full(size.seeds, value) for value in (tau, rate))
        errors = _errors(size, rule, every, taus, steps)
        for seed, error in zip(every, errors, strict=True):
            found = {"seed": int(seed), "learning_rate": rate, "error": float(error)}
            yield common | found
        for j, tried in enumerate(size.rates):
            yield common | {
                **{"trial": j, "learning_rate": tried, "numbers": "{}"},
                **{"error": float(table[i, j]), "chosen": bool(j == best[i])},
            }


def _errors(
    size: Size, rule: str, seeds: np.ndarray, taus: np.ndarray, rates: np.ndarray
) -> np.ndarray:
    """The mean error of the last ticks in percent, at most that of a constant."""
    runs = Run(*map(jnp.asarray, (seeds, taus, rates)))
    found = np.asarray(relative_errors(rule, size.form, runs), float)
    return last_errors(found, _MEASURED)


# ---- The verdict


_COMPARED = Compared("level", LEVELS, SLOW, LOCKSTEP, SETTLED, READOUT, BACKPROP, TRIED)


def judge(lines: Lines) -> Verdict:
    """From the errors at each level, beside settled values and the control."""
    found = decide(list(findings_by_level(lines, _COMPARED)))
    return found.with_refusals(at_an_end(lines, _COMPARED))


def _collapses(lines: Lines) -> str:
    if not lines:
        return NOT_RUN
    found = {rule: collapse(lines, rule) for rule in RULES}
    settling = f"values settle in {lines[0]['settling_time']:.1f} ticks"
    places = [
        f"{rule}: {'half is not crossed' if at is None else f'half at {at:.2g}'}"
        for rule, at in found.items()
    ]
    return "; ".join([settling, *places])


def draw(lines: Lines) -> Figure:
    """The error against the settling time over the time in which the input changes."""
    curves = [Curve.of(r, lines_where(lines, rule=r), "level", "error") for r in RULES]
    level = (LOST, "a constant answer") if lines else None
    title = "error while learning (percent of the variance)"
    panel = Panel(title, curves, "error (percent)", level)
    figure = curve_figure([panel], "settling time / time of change", 1, "log")
    if lines:
        figure.axes[0].set_xticks(LEVELS)
    return figure


CLAIM = Claim(
    id="pc-streaming",
    sentence=(
        "With values and weights updated in lockstep, while input and label change at "
        "every tick, predictive coding learns as with values that settle."
    ),
    source=(
        "A comment on Millidge, Tschantz & Buckley 2020, which asks whether it would: "
        "the paper's algorithm waits until values have settled"
    ),
    work=(
        "A network of two hidden layers of 16 tanh units learns from a teacher of 4 "
        "such units; 4 inputs and the label change at every tick. The input is normal "
        "and forgets its past in tau ticks. Predictive coding with free predictions: "
        f"one step of the values (rate {VALUE_RATE:g}) and one of the weights at every "
        "tick, nothing reset. Beside it "
        f"{SETTLING_STEPS} steps of the values at every tick, from a forward pass; "
        "backprop; and the read-out alone. Levels are the settling time of the values "
        "(at the initial weights, to 1/e) over tau, from 0.01 to 10. Runs of 60,000 "
        "ticks, of which the last third counts: the squared error of a forward pass "
        "before the update, over the variance of the label. Gradient descent, each at "
        f"the best of {len(TRIED)} step sizes for each level, by the mean error on "
        "three seeds that are not shown; 10 seeds."
    ),
    published=(
        Published(
            "how fast the input may change",
            "not stated",
            "the comment",
            _collapses,
        ),
    ),
    differences="The comment names no network and no task.",
    rule=(
        f"Slow levels are {', '.join(f'{x:g}' for x in SLOW)}, fast ones "
        f"{', '.join(f'{x:g}' for x in FAST)}. Holds if, paired by seed at each of the "
        "six, the error in lockstep is at most as high as with values that settle (m = "
        f"{MARGIN:g} percent of the variance) and lower than with untrained hidden "
        "layers. Holds within limits (of slow change) if that is so at the slow three. "
        "Does not hold if one of these is against the claim and the limits do not hold "
        "either. What diverged, or has a larger error, counts as a constant answer. "
        "Intervals are corrected for the two comparisons. Refused if at a slow level "
        "the best step size of one of the three is an end of those tried. Backprop, "
        "and the level where the error is half that of a constant, are shown only."
    ),
    margin=(
        "5 percent of the variance, a twentieth of the error of an answer that has "
        "learned nothing; against the control no margin, as it is tuned alike."
    ),
    trials=len(TRIED),
    hours=0.5,
    tasks=tasks,
    judge=judge,
    draw=draw,
)
