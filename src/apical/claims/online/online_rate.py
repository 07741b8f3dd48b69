"""How fast may the task change while a network learns it, step by step?"""

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
from apical.claims.online._drifting_task import (
    EPROP,
    READOUT,
    RTRL,
    RULES,
    TAU,
    WINDOWS,
    Form,
    Run,
    relative_errors,
)
from apical.claims.online._levels_of_change import (
    LOST,
    MARGIN,
    Compared,
    at_an_end,
    collapse,
    findings_by_level,
    last_errors,
)
from apical.lab.storage._jsonl import Line
from apical.lab.training._tuning import SEEDS

SLOW = (1e-4, 1e-3, 1e-2)  # angle of the teacher's weights in a time constant
FAST = (0.1, 1.0, 10.0)
_LEVELS = (*SLOW, *FAST)
_MEASURED = 1 / 3  # of the steps, the last ones


class Size(NamedTuple):
    """Seeds, tried step sizes, rates of change and the form of a run."""

    seeds: int
    rates: tuple[float, ...]
    levels: tuple[float, ...]
    form: Form


_TRIED = tuple(float(rate) for rate in np.geomspace(0.003, 10, 12).round(4))
SIZES: dict[Scale, Size] = {
    "full": Size(10, _TRIED, _LEVELS, Form(4, 8, 16, 30_000, 40)),
    "quick": Size(5, (0.03, 0.1, 0.3), _LEVELS, Form(4, 8, 16, 3_000, 40)),
    "smoke": Size(2, (0.3,), (1e-3,), Form(2, 2, 3, 800, 40)),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each rule."""
    size = SIZES[scale]
    for rule in RULES if scale != "smoke" else (EPROP, READOUT):
        yield Task(rule.replace(" ", "-"), partial(_followed, size, rule))


def _followed(size: Size, rule: str, context: TaskContext) -> Iterator[Line]:
    """Each step size on seeds that are not shown, then the best on all others."""
    del context
    levels, rates, seeds = (
        grid.ravel()
        for grid in np.meshgrid(size.levels, size.rates, SEEDS, indexing="ij")
    )
    trials = _errors(size, rule, seeds.astype(int), levels, rates)
    table = trials.reshape(len(size.levels), len(size.rates), -1).mean(axis=2)
    best = table.argmin(axis=1)
    chosen = np.asarray(size.rates)[best]
    seeds = np.tile(np.arange(size.seeds), len(size.levels))
    levels, rates = (np.repeat(a, size.seeds) for a in (size.levels, chosen))
    errors = _errors(size, rule, seeds, levels, rates)
    for seed, level, rate, error in zip(seeds, levels, rates, errors, strict=True):
        found = {"rule": rule, "level": float(level), "seed": int(seed)}
        yield {**found, "learning_rate": float(rate), "error": float(error)}
    for i, level in enumerate(size.levels):
        for j, rate in enumerate(size.rates):
            yield {
                **{"rule": rule, "level": level, "trial": j, "learning_rate": rate},
                **{"numbers": "{}", "error": float(table[i, j])},
                "chosen": bool(j == best[i]),
            }


def _errors(
    size: Size, rule: str, seeds: np.ndarray, levels: np.ndarray, rates: np.ndarray
) -> np.ndarray:
    """The mean error of the last steps in percent, at most that of the answer 0."""
    runs = Run(*map(jnp.asarray, (seeds, levels / TAU, rates)))
    found = np.asarray(relative_errors(rule, size.form, runs), float)
    return last_errors(found, _MEASURED)


# ---- The verdict


_COMPARED = Compared("change", _LEVELS, SLOW, EPROP, RTRL, READOUT, WINDOWS, _TRIED)


def judge(lines: Lines) -> Verdict:
    """From the errors at each rate of change, beside the exact gradient and control."""
    found = decide(list(findings_by_level(lines, _COMPARED)))
    return found.with_refusals(at_an_end(lines, _COMPARED))


def _collapses(lines: Lines) -> str:
    found = {rule: collapse(lines, rule) for rule in RULES}
    if not lines:
        return NOT_RUN
    return "; ".join(
        f"{rule}: {'not crossed' if at is None else f'at {at:.2g}'}"
        for rule, at in found.items()
    )


def draw(lines: Lines) -> Figure:
    """The error against the rate of change times the time constant."""
    curves = [Curve.of(r, lines_where(lines, rule=r), "level", "error") for r in RULES]
    level = (LOST, "the answer 0") if lines else None
    title = "error while learning (percent of the variance)"
    panel = Panel(title, curves, "error (percent)", level)
    x = "angle of the teacher's weights in a time constant (radians)"
    return curve_figure([panel], x, 1, "log")


CLAIM = Claim(
    id="online-rate",
    sentence=(
        "A recurrent network that learns by e-prop, with an update at every step, "
        "follows a task that changes meanwhile as closely as by the exact gradient."
    ),
    source=(
        "Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020, Nature "
        "Communications 11:3625 (learning while the network runs); how fast the input "
        "may change is asked in comments on Millidge, Tschantz & Buckley 2020"
    ),
    work=(
        "16 leaky tanh units with the time constant tau = 10 steps follow a network "
        "of 8 such units, whose weights all turn by the angle omega at each step; 4 "
        "inputs are new at each step, one output is compared at each step. omega tau "
        "from 1e-4 to 10 in decades; runs of 30,000 steps, of which the last third "
        "counts: squared error before the update over the variance of the target. "
        "Gradient descent, one stream, an update at every step by e-prop, by RTRL (the "
        "exact gradient), and of the read-out alone; and backpropagation in windows of "
        "40 steps, an update after each. Each at the best of 12 step sizes for each "
        "omega, by the mean error on three seeds that are not shown; 10 seeds."
    ),
    published=(
        Published(
            "how fast the task may change",
            "not stated",
            "from memory: Bellec et al. 2020",
            _collapses,
        ),
    ),
    differences=(
        "The source has no such experiment. Tanh units, so that the exact gradient is "
        "one; a single output; no noise. In a run before this one a single seed chose "
        "the step sizes, and some of them diverged on others."
    ),
    rule=(
        f"Slow is omega tau of {', '.join(f'{x:g}' for x in SLOW)}, fast "
        f"{', '.join(f'{x:g}' for x in FAST)}. Holds if, paired by seed at each of the "
        "six, the error of e-prop is at most as high as that of RTRL (m = "
        f"{MARGIN:g} percent of the variance) and lower than with untrained hidden "
        "units. Holds within limits (of slow change) if that is so at the slow three. "
        "Does not hold if one of these is against the claim and the limits do not hold "
        "either. What diverged, or has a larger error, counts as the answer 0. "
        "Intervals are corrected for the two comparisons. Refused if at a slow change "
        "the best step size of e-prop, RTRL or the control is an end of those tried. "
        "The rate where the error reaches half of that of the answer 0, and "
        "backpropagation in windows, are shown only."
    ),
    remaining=(
        "Up to a tenth of a radian in a time constant e-prop follows to within a tenth "
        "of the variance; at one radian a quarter is left, and at ten nothing is "
        "learned. The exact gradient needs step sizes a quarter as large, and is not "
        "closer. The control is unstable: at the step sizes that three seeds chose, "
        "its read-out diverged on 4 or 5 of the 10 others, which count as the answer 0 "
        "and make most of its mean error of 46 to 59 percent. On those where it did "
        "not, it has 9, 3, 46, 14 and 14 percent at the slowest change where e-prop "
        "has 3, 1, 5, 4 and 4. More seeds in the trials, or a normalised step, may "
        "narrow that difference. Backpropagation in windows has a fortieth of the "
        "updates, and diverges as well."
    ),
    margin=(
        "5 percent of the variance, a twentieth of the error of an answer that has "
        "learned nothing; against the control no margin, as it is tuned alike."
    ),
    trials=len(_TRIED),
    hours=0.2,
    tasks=tasks,
    judge=judge,
    draw=draw,
    paper="bellec2020",
)
