"""Is evolution slower than backpropagation, and does it get there all the same?"""

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._data import DATA_NAMES, vector_loader
from apical.claims._effect_size import LEAST_SEEDS, effect, lines_where
from apical.claims._plots import Curve, Panel, curve_figure
from apical.claims._published_numbers import NOT_RUN
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.efficiency._races import (
    BACKPROP,
    EVALUATIONS,
    EVOLUTION,
    PAIRS,
    WANTED,
    Lanes,
    Race,
)
from apical.lab.storage._jsonl import Line
from apical.lab.training._tuning import SEEDS

MARGIN, SLOPE = 0.3, 0.25  # powers of ten: a factor of two; and of the slope
UNIT = "powers of ten"


class Size(NamedTuple):
    """The size of a run.

    Attributes:
        hidden: units of the hidden layer, each a network.
        seeds: of weights and batches; lanes of a compiled call.
        trials: of each rule and network, a multiple of the seeds.
        updates: at most, by rule.
        looks: updates between two looks at the accuracy, by rule.
    """

    hidden: tuple[int, ...]
    seeds: int
    trials: int
    updates: dict[str, int]
    looks: dict[str, int]


SIZES: dict[Scale, Size] = {
    "full": Size(
        (8, 16, 32, 64, 128),
        *(8, 16, {BACKPROP: 2000, EVOLUTION: 20_000}, {BACKPROP: 2, EVOLUTION: 25}),
    ),
    "quick": Size(
        (8, 32),
        *(5, 5, {BACKPROP: 500, EVOLUTION: 1000}, {BACKPROP: 5, EVOLUTION: 25}),
    ),
    "smoke": Size((2,), 2, 2, {BACKPROP: 4, EVOLUTION: 4}, {BACKPROP: 2, EVOLUTION: 2}),
}


def trials_of(rule: str, number: int) -> list[tuple[float, float]]:
    """Step sizes and, for evolution, sizes of the noise (0 for backpropagation)."""
    if rule == BACKPROP:
        return [(float(rate), 0.0) for rate in np.geomspace(0.02, 20.0, number)]
    rates = np.geomspace(0.004, 4.0, -(-number // 2))
    return [(float(r), noise) for noise, r in product((0.03, 0.1), rates)][:number]


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each rule and network."""
    for rule, hidden in product((BACKPROP, EVOLUTION), SIZES[scale].hidden):
        yield Task(
            f"{rule.replace(' ', '-')}-{hidden}",
            partial(_measured, SIZES[scale], rule, hidden),
        )


def _measured(
    size: Size, rule: str, hidden: int, context: TaskContext
) -> Iterator[Line]:
    """The trial that gets there first, on a seed that is not shown; then all seeds."""
    data = vector_loader("digits")(context)
    race = Race(data, rule, hidden, size.looks[rule])
    trials, count = trials_of(rule, size.trials), size.seeds
    most = size.updates[rule]
    found = []
    for begin in range(0, len(trials), count):
        part = trials[begin : begin + count]
        part = part + part[-1:] * (count - len(part))  # one shape
        limit = min([most, *(each[0] for each in found)])
        tried = race(_lanes([SEEDS[0]] * count, part), int(limit), first=True)
        found += list(zip(tried.updates, tried.accuracy, strict=True))
    found = found[: len(trials)]
    best = min(range(len(trials)), key=lambda i: (found[i][0], -found[i][1]))
    reached = race(_lanes(list(range(count)), [trials[best]] * count), most)
    rates = [rate for rate, _ in trials]
    common = {"rule": rule, "data": "digits", "hidden": hidden}
    common |= {"parameters": race.parameters}
    for seed in range(count):
        updates = float(reached.updates[seed])
        known = np.isfinite(updates)
        yield common | {
            **{
                "seed": seed,
                "learning_rate": trials[best][0],
                "noise": trials[best][1],
            },
            "at_an_end": trials[best][0] in (min(rates), max(rates)),
            "evaluations": updates * EVALUATIONS[rule] if known else None,
            "accuracy": float(reached.accuracy[seed]),
        }
    for i, (updates, accuracy) in enumerate(found):
        yield common | {
            **{"trial": i, "learning_rate": rates[i], "numbers": "{}"},
            "updates": float(updates) if np.isfinite(updates) else None,
            **{"test_accuracy": float(accuracy) / 100, "chosen": i == best},
        }


def _lanes(seeds: list[int], trials: list[tuple[float, float]]) -> Lanes:
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    rates, noise = map(jnp.asarray, zip(*trials, strict=True))
    return Lanes(keys, rates, noise)


# ---- The verdict


def evaluations(lines: Lines, rule: str, hidden: int) -> dict[int, float]:
    """The logarithm to base 10 of the evaluations, by seed that got there."""
    here = lines_where(lines, rule=rule, hidden=hidden)
    return {
        line["seed"]: float(np.log10(line["evaluations"]))
        for line in here
        if line["evaluations"] is not None
    }


def slopes(lines: Lines, rule: str) -> dict[int, float]:
    """The slope of log evaluations over log parameters, by seed."""
    by_seed: dict[int, dict[float, float]] = {}
    for line in lines_where(lines, rule=rule):
        if line["evaluations"] is not None:
            at = float(np.log10(line["parameters"]))
            by_seed.setdefault(line["seed"], {})[at] = np.log10(line["evaluations"])
    return {
        seed: float(np.polyfit(list(of), list(of.values()), 1)[0])
        for seed, of in by_seed.items()
        if len(of) > 1
    }


def judge(lines: Lines) -> Verdict:
    """From the evaluations at every size, and from their slopes."""
    sizes = SIZES["full"].hidden
    findings = []
    for hidden in sizes:
        mine, other = (evaluations(lines, r, hidden) for r in (EVOLUTION, BACKPROP))
        what = f"evaluations, evolution - backprop, {hidden} units"
        found = effect(what, mine, other, MARGIN, compared=len(sizes))
        findings.append(Finding(found, "higher", True, UNIT))
    mine, other = (slopes(lines, rule) for rule in (EVOLUTION, BACKPROP))
    what = "slope over the number of parameters, evolution - backprop"
    findings.append(Finding(effect(what, mine, other, SLOPE), "higher", unit=UNIT))
    for rule, found in ((EVOLUTION, mine), (BACKPROP, other)):
        alone = effect(f"slope, {rule}", found, dict.fromkeys(found, 0.0), SLOPE)
        findings.append(Finding(alone, unit=UNIT))
    return decide(findings).with_refusals(list(_refusals(lines)))


def _refusals(lines: Lines) -> Iterator[str]:
    for rule in (BACKPROP, EVOLUTION):
        lost = [x for x in lines_where(lines, rule=rule) if x["evaluations"] is None]
        if lost:
            where = sorted({line["hidden"] for line in lost})
            yield (
                f"{rule} did not reach {WANTED:g} % within the updates on "
                f"{len(lost)} runs (units: {', '.join(map(str, where))})"
            )
        ends = {x["hidden"] for x in lines_where(lines, rule=rule) if x["at_an_end"]}
        for hidden in sorted(ends):
            yield f"the best step size of {rule} for {hidden} units is an end"


def _measured_in_words(lines: Lines) -> str:
    told = []
    for rule in (BACKPROP, EVOLUTION):
        found = list(slopes(lines, rule).values())
        if found:
            told.append(f"evaluations of {rule} ~ N^{np.mean(found):.2f}")
    return "; ".join(told) or NOT_RUN


def draw(lines: Lines) -> Figure:
    """Evaluations to the accuracy against the number of parameters."""
    curves = [
        Curve.of(rule, lines_where(lines, rule=rule), "parameters", "evaluations")
        for rule in (BACKPROP, EVOLUTION)
    ]
    title = f"{DATA_NAMES['digits']}: evaluations of the loss to {WANTED:g} %"
    return curve_figure([Panel(title, curves, "")], "number of parameters", 1, "log")


CLAIM = Claim(
    id="evolution-slower",
    sentence=(
        "Evolution is slower than backpropagation, the more so the more parameters "
        "there are, but gets there all the same."
    ),
    source="said in discussions of evolution as an optimiser; Salimans et al. 2017",
    work=(
        f"The 8 x 8 digits; networks 64-h-10 (tanh, without biases) with h from 8 to "
        "128 units, 592 to 9,472 parameters. Gradient descent on batches of 64 by "
        f"backpropagation and by an evolution strategy with {PAIRS} antithetic pairs, "
        f"until {WANTED:g} % of the 360 test images are right. 16 trials for each rule "
        "and network (step size; for evolution two sizes of the noise), of which the "
        "first to get there is taken, on a seed that is not shown; 8 seeds. Counted: "
        "evaluations of the loss of a batch; a backward pass counts as two."
    ),
    published=(
        Published(
            "loss evaluations against the number of parameters",
            "not stated",
            "Salimans et al. 2017, who find that the intrinsic dimension matters",
            _measured_in_words,
        ),
    ),
    differences=(
        "One strategy, with a fixed number of pairs and plain gradient descent; small "
        "networks."
    ),
    rule=(
        "The logarithm to base 10 of the evaluations, paired by seed, 95 % intervals "
        "(corrected for five comparisons), m = "
        f"{MARGIN:g} (a factor of two). Holds if evolution needs more at each size, "
        "and if the slope over the logarithm of the number of parameters is higher by "
        f"more than {SLOPE:g} than that of backpropagation. Holds within limits if it "
        "needs more at each size. Does not hold if one of these is against the claim "
        "and the limits do not hold either. Otherwise, or with fewer than "
        f"{LEAST_SEEDS} seeds, not settled. Refused if a run did not get there within "
        "its updates, or if a best step size is an end of those tried."
    ),
    margin="a factor of two, in evaluations; a quarter in the slope, which is 0 or 1.",
    data=("digits",),
    trials=16,
    hours=0.4,
    tasks=tasks,
    judge=judge,
    draw=draw,
)
