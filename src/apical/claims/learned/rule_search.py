"""Do evolution and random search find learning rules as good as gradient descent?"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._data import DATA_NAMES
from apical.claims._effect_size import effect, lines_where
from apical.claims._plots import draw_line, log_x_axis, panel_figure, rules_in
from apical.claims._published_numbers import NOT_RUN
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.learned._lives import Form, class_split, images_by_class
from apical.claims.learned._rule_search import (
    Find,
    Search,
    by_evolution,
    by_gradient,
    by_one_rate,
    by_random_search,
    lived_by,
)
from apical.lab.storage._jsonl import Line
from apical.lab.training._tuning import SEEDS

SGD, GRADIENT = "SGD, one rate", "gradient"
EVOLUTION, SEARCH = "evolution", "random search"
WAYS: dict[str, Find] = {
    SGD: by_one_rate,
    GRADIENT: by_gradient,
    EVOLUTION: by_evolution,
    SEARCH: by_random_search,
}
KNOWN, NEW = "classes of the search", "new classes"
MARGIN = 0.5


def _grid(**numbers: tuple[float, ...]) -> tuple[dict[str, float], ...]:
    return tuple(
        dict(zip(numbers, each, strict=True))
        for each in zip(*numbers.values(), strict=True)
    )


# Nine trials of each way; those of a grid of two numbers are three of each.
TRIALS: dict[str, tuple[dict[str, float], ...]] = {
    SGD: _grid(rate=(0.05, 0.1, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 2.5)),
    GRADIENT: _grid(
        rate=(0.0003, 0.0006, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
    ),
    EVOLUTION: _grid(
        rate=(0.003, 0.003, 0.003, 0.01, 0.01, 0.01, 0.03, 0.03, 0.03),
        noise=(0.006, 0.02, 0.06) * 3,
    ),
    SEARCH: _grid(
        terms=(1, 1, 1, 2, 2, 2, 4, 4, 4),
        largest=(0.5, 1.5, 5.0) * 3,
    ),
}


class Size(NamedTuple):
    """The size of a run.

    Attributes:
        ways: that search.
        seeds: of the search.
        trials: of each way, at most.
        tasks: lives of each rule that is tried.
        evaluations: of each search.
        looks: at the rule during the search.
        tested: lives of each look.
        form: of a life.
    """

    ways: tuple[str, ...]
    seeds: int
    trials: int
    tasks: int
    evaluations: int
    looks: int
    tested: int
    form: Form


_ALL = tuple(WAYS)
SIZES: dict[Scale, Size] = {
    "full": Size(_ALL, 5, 9, 8, 24_576, 32, 400, Form()),
    "quick": Size(_ALL, 5, 1, 2, 1536, 8, 40, Form(10)),
    "smoke": Size((SGD, SEARCH), 2, 1, 2, 64, 1, 4, Form(2, 4, (4,), 3, 10)),
}
_USUAL = 4  # the trial whose numbers a run without trials has


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each way."""
    for way in SIZES[scale].ways:
        yield Task(way, partial(_measured, SIZES[scale], way))


def _measured(size: Size, name: str, context: TaskContext) -> Iterator[Line]:
    """Each trial on a seed that is not shown, then the best on all others."""
    images = images_by_class("digits", context)

    @jax.jit
    def run(key: Array, numbers: Any, known: Array, new: Array) -> Any:
        of_search, of_looks = jax.random.split(key)
        shared = (size.form, size.tasks, size.evaluations, size.looks)
        search = Search(images, known, *shared)
        found = WAYS[name](search, of_search, numbers)

        def seen(rule: Array) -> Any:
            return lived_by(search, rule, of_looks, size.tested)

        after = lived_by(search._replace(among=new), found[-1], of_looks, size.tested)
        return found, jax.lax.map(seen, found), after

    def ran(seed: int, numbers: dict[str, float]) -> Any:
        key, split = jax.random.key(seed), class_split(seed)
        given = {k: jnp.asarray(v, float) for k, v in numbers.items()}
        return jax.device_get(run(key, given, *split))

    trials = TRIALS[name] if size.trials > 1 else (TRIALS[name][_USUAL],)
    scores = (
        [float(ran(SEEDS[0], t)[1].accuracy[-1].mean()) for t in trials]
        if len(trials) > 1
        else [0.0]
    )
    best = int(np.argmax(scores))
    common = {"rule": name, "data": "digits", "numbers": json.dumps(trials[best])}
    part = size.evaluations // size.looks
    for seed in range(size.seeds):
        found, seen, after = ran(seed, trials[best])
        here = common | {"seed": seed, "lives": size.tested}
        for i, rule in enumerate(found):
            yield here | {
                **{"place": KNOWN, "evaluations": (i + 1) * part},
                "accuracy": 100 * float(seen.accuracy[i].mean()),
                "loss": float(seen.loss[i].mean()),
                "found": rules.Plasticity(jnp.asarray(rule)).formula(2, 0.02)
                if i + 1 == size.looks
                else "",
            }
        yield here | {
            **{"place": NEW, "evaluations": size.looks * part},
            "accuracy": 100 * float(after.accuracy.mean()),
            "loss": float(after.loss.mean()),
        }
    if len(trials) > 1:
        for i, (numbers, score) in enumerate(zip(trials, scores, strict=True)):
            yield {
                **{"rule": name, "trial": i, "numbers": json.dumps(numbers)},
                **{"accuracy": 100 * score, "chosen": i == best},
            }


# ---- The verdict


def at_end(lines: Lines, rule: str, place: str) -> dict[int, float]:
    """The accuracy with the rule at the end of the search, by seed."""
    found: dict[int, Line] = {}
    for line in lines_where(lines, rule=rule, place=place):
        if line["evaluations"] >= found.get(line["seed"], line)["evaluations"]:
            found[line["seed"]] = line
    return {seed: line["accuracy"] for seed, line in found.items()}


def evaluations_until(lines: Lines, rule: str) -> dict[int, float]:
    """The evaluations until a rule is within m of gradient descent; inf: never."""
    wanted = at_end(lines, SGD, KNOWN)
    found: dict[int, float] = {}
    for line in lines_where(lines, rule=rule, place=KNOWN):
        seed = line["seed"]
        if seed in wanted:
            reached = line["accuracy"] >= wanted[seed] - MARGIN
            here = line["evaluations"] if reached else np.inf
            found[seed] = min(found.get(seed, np.inf), here)
    return found


def judge(lines: Lines) -> Verdict:
    """From the accuracies with the rules found, against gradient descent."""
    findings = []
    for rule in (EVOLUTION, SEARCH, GRADIENT):
        for place in (KNOWN, NEW):
            mine, sgd = (at_end(lines, each, place) for each in (rule, SGD))
            compared = 1 if rule == GRADIENT else 4
            found = effect(f"{rule} - SGD, {place}", mine, sgd, MARGIN, compared)
            says = None if rule == GRADIENT else "at least as high"
            findings.append(Finding(found, says, place == KNOWN, "percent"))
    verdict = decide(findings)
    because = "; ".join([verdict.because, *_evaluations_in_words(lines)])
    return verdict._replace(because=because).with_refusals(
        list(_at_an_end(lines, findings))
    )


def _evaluations_in_words(lines: Lines) -> Iterator[str]:
    for rule in (GRADIENT, EVOLUTION, SEARCH):
        needed = list(evaluations_until(lines, rule).values())
        if needed:
            reached = [each for each in needed if np.isfinite(each)]
            said = f"{rule}: SGD reached by {len(reached)} of {len(needed)} seeds"
            if reached:
                said += f", after {np.median(reached):,.0f} evaluations (median)"
            yield said


def _at_an_end(lines: Lines, findings: list[Finding]) -> Iterator[str]:
    """Where a way missed what more trials might have reached."""
    for rule in (EVOLUTION, SEARCH):
        missed = any(
            finding.says and finding.fits is False and finding.effect.known
            for finding in findings
            if finding.effect.what.startswith(rule)
        )
        if missed:
            yield from _ends(lines, rule)
    yield from _ends(lines, SGD)


def _ends(lines: Lines, rule: str) -> Iterator[str]:
    for text in {line["numbers"] for line in lines_where(lines, rule=rule)}:
        for name, value in json.loads(text).items():
            tried = [each[name] for each in TRIALS[rule]]
            if value in (min(tried), max(tried)):
                yield f"the best {name} of {rule} is an end of those tried ({value:g})"


def _measured_in_words(lines: Lines) -> str:
    return "; ".join(_evaluations_in_words(lines)) or NOT_RUN


def draw(lines: Lines) -> Figure:
    """The accuracy with the rule so far, against the evaluations."""
    figure, axes, look = panel_figure(1, WAYS, rules_in(lines))
    for rule in WAYS:
        points: dict[float, list[float]] = {}
        for line in lines_where(lines, rule=rule, place=KNOWN):
            points.setdefault(line["evaluations"], []).append(line["accuracy"])
        draw_line(axes[0], points, look[rule])
    name = DATA_NAMES["digits"]
    axes[0].set(title=f"{name}: accuracy after a life (%)", xlabel="evaluations")
    shown = {line["evaluations"] for line in lines}
    log_x_axis(axes[0], (x for x in shown if (max(shown) / x).is_integer()))
    return figure


CLAIM = Claim(
    id="rule-search",
    sentence=(
        "Evolution and random search find learning rules too that teach as well as "
        "gradient descent."
    ),
    source=(
        "asked here of rules with coefficients; Confavreux et al. 2020, NeurIPS, "
        "find rules by gradient and by evolution"
    ),
    work=(
        "Lives as in learned-rule, on the 8 x 8 digits. A rule has 24 coefficients, "
        "the same for all layers, of monomials in x, y, w and the delta of "
        "backpropagation; all start at 0. By gradient (Adam through lives), by "
        "evolution (evosax's Open_ES, populations of 32 rules), and by random search "
        "(rules of a few random terms, the best is kept), each with 8 lives for a rule "
        "and 24,576 evaluations: lives, of which a differentiated one counts as three. "
        "SGD has one rate. Nine trials of each, on a seed that is not shown; 5 seeds, "
        "each with its own split of the classes. The rule so far is tested 32 times on "
        "400 new tasks of the same classes, and at the end on 400 of the other classes."
    ),
    published=(
        Published(
            "evaluations until a rule is found",
            "not stated",
            "Confavreux et al. 2020",
            _measured_in_words,
        ),
    ),
    differences=(
        "The source searches for rules of unsupervised learning in single layers, by "
        "CMA-ES."
    ),
    rule=(
        "Accuracies after a life in percent, with the rule at the end of the search, "
        "minus those of SGD at its best rate on the same tasks; by seed, 95 % "
        f"intervals corrected for four comparisons, m = {MARGIN:g}. Holds if evolution "
        "and random search are at least as high, on the classes of the search and on "
        "new ones. Holds within limits if they are on the classes of the search. Does "
        "not hold if one of these is against the claim and the limits do not hold "
        "either. Otherwise not settled. Refused if the best rate of SGD is an end of "
        "those tried, or if a number of a way that is against the claim is. The "
        "search by gradient, and the evaluations until a rule is within m of SGD, are "
        "shown only."
    ),
    margin="half a percent of the test images, as for other sets of digits.",
    data=("digits",),
    trials=9,
    hours=0.6,
    tasks=tasks,
    judge=judge,
    draw=draw,
)
