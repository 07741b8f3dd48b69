"""A trained spiking network learns a new function with fixed weights (Bellec 2018)."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._effect_size import effect, lines_where
from apical.claims._plots import draw_line, panel_figure, rules_in
from apical.claims._published_numbers import NOT_RUN
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.online._episodes import Form, learn
from apical.lab._registry import BASELINE
from apical.lab.storage._jsonl import Line
from apical.lab.training._tuning import SEEDS

EPROP = "e-prop-symmetric"
_RULES: dict[str, rules.Rule] = {
    BASELINE: rules.Backpropagation(),
    EPROP: rules.EProp(),
}
MISLED, LINEAR = "values of another function", "linear fit"
MARGIN = 20.0  # percent of the variance of the values
LAST = 1 / 4  # of the trials of an episode, at its end
NOTHING = 100.0  # the error of the best answer without examples


class Size(NamedTuple):
    """Seeds, step sizes that are tried, and the form of episodes and training."""

    seeds: int
    rates: tuple[float, ...]
    form: Form


SIZES: dict[Scale, Size] = {
    "full": Size(
        5, (0.0003, 0.001, 0.003, 0.01, 0.03), Form(24, 10, 8, 80, 64, 4000, 1000)
    ),
    "quick": Size(5, (0.003,), Form(8, 6, 5, 24, 16, 60, 200)),
    "smoke": Size(2, (0.003,), Form(4, 2, 3, 4, 2, 2, 4)),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each rule."""
    for rule in _RULES if scale != "smoke" else (BASELINE,):
        yield Task(rule, partial(_learned, SIZES[scale], rule))


def _learned(size: Size, rule: str, context: TaskContext) -> Iterator[Line]:
    """Each step size on one seed that is not shown, then the best on all others."""
    del context
    tried = size.rates if len(size.rates) > 1 else ()
    trials = [_ended(learn(_RULES[rule], SEEDS[0], r, size.form).errors) for r in tried]
    best = int(np.argmin(np.nan_to_num(trials, nan=np.inf))) if trials else 0
    rate = size.rates[best]
    for seed in range(size.seeds):
        course = learn(_RULES[rule], seed, rate, size.form)
        percent = 100 / course.variance
        for k in range(size.form.trials):
            yield {
                **{"rule": rule, "seed": seed, "learning_rate": rate},
                **{"place": k + 1, "places": size.form.trials},
                "error": percent * float(course.errors[k]),
                "misled": percent * float(course.misled[k]),
                "linear": percent * float(course.linear[k]),
            }
    for i, found in enumerate(trials):
        made = {"trial": i, "learning_rate": size.rates[i], "numbers": "{}"}
        yield {"rule": rule, **made, "error": float(found), "chosen": i == best}


def _ended(errors: np.ndarray) -> float:
    return float(np.mean(errors[-max(1, int(LAST * len(errors))) :]))


# ---- The verdict


def at_end(lines: Lines, rule: str, field: str = "error") -> dict[int, float]:
    """The mean over the last trials of an episode (percent), by seed."""
    found: dict[int, list[float]] = {}
    for line in lines_where(lines, rule=rule):
        if line["place"] > (1 - LAST) * line["places"]:
            found.setdefault(line["seed"], []).append(line[field])
    return {seed: float(np.mean(values)) for seed, values in found.items()}


def at_start(lines: Lines, rule: str) -> dict[int, float]:
    """The error of the first trial, before any value was shown, by seed."""
    return {
        line["seed"]: line["error"] for line in lines_where(lines, rule=rule, place=1)
    }


def judge(lines: Lines) -> Verdict:
    """From the errors at the end of episodes, at their start, and when misled."""
    findings = []
    for rule in _RULES:
        end = at_end(lines, rule)
        for what, other in (
            ("the best answer without examples", dict.fromkeys(end, NOTHING)),
            ("at the start", at_start(lines, rule)),
            (f"with {MISLED}", at_end(lines, rule, "misled")),
        ):
            found = effect(f"{rule}, at the end - {what}", end, other, MARGIN)
            says = "lower" if rule == BASELINE else None
            findings.append(Finding(found, says, unit="percent"))
    beside = effect(
        f"{EPROP} - {BASELINE}, at the end",
        at_end(lines, EPROP),
        at_end(lines, BASELINE),
        MARGIN,
    )
    findings.append(Finding(beside, unit="percent"))
    return decide(findings).with_refusals(_at_an_end(lines))


def _at_an_end(lines: Lines) -> list[str]:
    """Whether the best step size of backpropagation was the lowest or highest."""
    tried = SIZES["full"].rates
    chosen = {line["learning_rate"] for line in lines_where(lines, rule=BASELINE)}
    return [
        f"the best step size of {BASELINE} is an end of those tried ({rate:g})"
        for rate in chosen
        if rate in (tried[0], tried[-1])
    ]


def _measured(lines: Lines) -> str:
    told = []
    for rule in _RULES:
        end, start = at_end(lines, rule), at_start(lines, rule)
        if end:
            first, last = (np.mean(list(of.values())) for of in (start, end))
            told.append(f"{rule}: from {first:.0f} to {last:.0f} % of the variance")
    return "; ".join(told) or NOT_RUN


def draw(lines: Lines) -> Figure:
    """The error in each trial of an episode with a new function."""
    names = (*_RULES, MISLED, LINEAR)
    ran = rules_in(lines)
    figure, axes, look = panel_figure(
        1, names, {*ran, *((MISLED, LINEAR) if ran else ())}
    )
    curves = [(rule, rule, "error") for rule in _RULES]
    curves += [(MISLED, BASELINE, "misled"), (LINEAR, BASELINE, "linear")]
    for name, rule, field in curves:
        points: dict[float, list[float]] = {}
        for line in lines_where(lines, rule=rule):
            points.setdefault(line["place"], []).append(line[field])
        draw_line(axes[0], points, look[name])
    axes[0].axhline(NOTHING, linewidth=0.8, color="grey")
    axes[0].set(title="error (percent of the variance)", xlabel="trial of an episode")
    return figure


CLAIM = Claim(
    id="lsnn-learns-to-learn",
    sentence=(
        "A recurrent network of spiking neurons with adaptive thresholds, trained on "
        "many functions, learns a new one from examples within an episode, with fixed "
        "weights."
    ),
    source=(
        "Bellec, Salaj, Subramoney, Legenstein & Maass 2018, Long short-term memory "
        "and learning-to-learn in networks of spiking neurons, NeurIPS, "
        "arXiv:1803.09574"
    ),
    work=(
        "80 leaky integrate-and-fire units, half of them with an adaptive threshold, "
        "recurrent, under a leaky read-out. Episodes of 24 trials of 10 steps with one "
        "function of two numbers, tanh(2 (a . x + b)), drawn for the episode: in each "
        "trial a new x and the value of the trial before are shown. 4,000 iterations "
        "of Adam on 64 new episodes, gradients clipped to the norm 1, by "
        "backpropagation through time and by e-prop, each at the best of 5 step sizes "
        "on a seed that is not shown; 5 seeds, 1,000 new episodes with fixed weights. "
        "Beside it the same network where the shown values are those of another "
        "function, and a linear fit to the examples so far."
    ),
    published=(
        Published(
            "error in an episode falls below that of a linear fit to 500 examples",
            "after about 7 examples (figure only)",
            "from memory: Bellec et al. 2018",
            _measured,
        ),
    ),
    differences=(
        "Functions with two parameters (an angle and an offset, with a fixed slope) in "
        "place of networks with 10 hidden units; trials of 10 steps in place of 20; "
        "fewer units; inputs that are shown as currents, not as spikes; no delays, no "
        "refractory period, no rewiring, no regularisation of rates."
    ),
    rule=(
        "Errors are in percent of the variance of the values, of the last quarter of "
        "the trials. Holds if, by seed, that of the network trained by backpropagation "
        "is lower by more than m = "
        f"{MARGIN:g} than (a) {NOTHING:g}, the best answer without examples, (b) that "
        "of the first trial, and (c) that of the same network when it is shown the "
        "values of another function. Does not hold if one of these is against the "
        "claim. Refused if the best step size is an end of those tried. e-prop and the "
        "linear fit are shown only."
    ),
    margin=(
        "20 percent of the variance: a network that learns the function well leaves "
        "less than half of it."
    ),
    trials=5,
    hours=2.0,
    tasks=tasks,
    judge=judge,
    draw=draw,
    paper="bellec2018",
)
