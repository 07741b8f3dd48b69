"""Do brains need fewer examples because of their learning rule?"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._data import DATA_NAMES, vector_loader
from apical.claims._effect_size import LEAST_SEEDS, effect, lines_where
from apical.claims._plots import draw_line, log_x_axis, panel_figure, rules_in
from apical.claims._published_numbers import NOT_RUN
from apical.claims._verdict import Finding, Verdict, Word, finding_in_words
from apical.claims.efficiency._few_examples_runs import (
    Examples,
    FewExamples,
    Runs,
    drawn_examples,
    folds_of,
)
from apical.claims.efficiency._other_learners import LEARNERS
from apical.lab._registry import BASELINE, CONTROL, RULES
from apical.lab.storage._jsonl import Line
from apical.lab.training._optimizers import find_optimizer
from apical.lab.training._tuning import SEEDS, choice, draw_trials

# One rule, or two, of every family of those that train a network from a loss.
FAMILIES = (
    *("feedback-alignment", "kolen-pollack", "sign-concordance"),
    *("direct-feedback-alignment", "predictive-coding-free"),
    *("equilibrium-propagation", "dual-propagation"),
    *("difference-target-propagation", "synthetic-gradients"),
    *("local-losses", "forward-forward", "pepita", "node-perturbation"),
)
FEW = (50, 100, 200)  # examples, at which the claim is judged
FEWEST = FEW[0]
MARGIN = 1.0
WANTED = 90.0


class Size(NamedTuple):
    """The size of a run.

    Attributes:
        rules: that are compared.
        others: learners without a network.
        numbers: of examples.
        seeds: of examples, weights and batches, and trials of each rule: as many, so
            that one compiled function does both.
        folds: in which each trial is scored, within the examples in use.
        hidden: units of the hidden layers.
        updates: of each training.
    """

    rules: tuple[str, ...]
    others: tuple[str, ...]
    numbers: tuple[int, ...]
    seeds: int
    folds: int
    hidden: tuple[int, ...]
    updates: int


_OTHERS = tuple(LEARNERS)
SIZES: dict[Scale, Size] = {
    "full": Size(
        (BASELINE, CONTROL, *FAMILIES),
        _OTHERS,
        (*FEW, 400, 800, 1437),
        16,
        4,
        (32, 32),
        3000,
    ),
    "quick": Size(
        (BASELINE, "feedback-alignment"), _OTHERS, (50, 200), 5, 2, (16, 16), 200
    ),
    "smoke": Size((BASELINE,), _OTHERS[:2], (50,), 2, 2, (8,), 3),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each rule and each other learner."""
    size = SIZES[scale]
    for rule in size.rules:
        yield Task(rule, partial(_of_rule, size, rule))
    for name in size.others:
        yield Task(name.replace(" ", "-"), partial(_of_other, size, name))


def _of_rule(size: Size, name: str, context: TaskContext) -> Iterator[Line]:
    """For each number of examples the best trial in folds, then every seed with it."""
    data = vector_loader("digits")(context)
    spec = RULES[name]
    train = FewExamples(data, spec, size.hidden, size.updates)
    span = find_optimizer("adam", None).span
    trials = draw_trials(size.seeds, span, spec.search_space, spec.rate_scale)
    rates = jnp.asarray(trials.learning_rates)
    numbers = {k: jnp.asarray(v) for k, v in trials.numbers.items()}
    among = len(data.train_y)
    for count in size.numbers:
        scores = np.zeros(size.seeds)
        for part, within in folds_of(
            drawn_examples(SEEDS[0], count, among), size.folds
        ):
            runs = _runs([SEEDS[0]] * size.seeds, [part] * size.seeds, rates, numbers)
            scores += train(runs).ended[:, within].sum(1)
        best = int(np.argmax(scores))
        chosen = choice(trials, best)
        seeds = list(range(size.seeds))
        parts = [drawn_examples(seed, count, among) for seed in seeds]
        same = jax.tree.map(lambda leaf, i=best: jnp.full_like(leaf, leaf[i]), numbers)
        found = train(_runs(seeds, parts, jnp.full_like(rates, rates[best]), same))
        common = {"rule": name, "data": "digits", "examples": count}
        for seed in seeds:
            after, before = (
                float(each[seed, among:].mean())
                for each in (found.ended, found.earlier)
            )
            yield common | {
                **{
                    "seed": seed,
                    "test_accuracy": after,
                    "risen": 100 * (after - before),
                },
                "learning_rate": chosen.learning_rate,
                "at_an_end": best in (rates.argmin(), rates.argmax()),
            }
        for i, score in enumerate(scores):
            drawn = choice(trials, i)
            yield common | {
                **{"trial": i, "learning_rate": drawn.learning_rate},
                **{"numbers": json.dumps(drawn.numbers), "chosen": i == best},
                "held_out_accuracy": float(score) / count,
            }


def _runs(seeds: list[int], parts: list[Examples], rates: Any, numbers: Any) -> Runs:
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    orders = jnp.asarray(np.stack([part.order for part in parts]))
    counts = jnp.asarray([part.number for part in parts])
    return Runs(keys, orders, counts, rates, numbers)


def _of_other(size: Size, name: str, context: TaskContext) -> Iterator[Line]:
    """The same for a learner without a network."""
    data, learner = vector_loader("digits")(context), LEARNERS[name]
    among = len(data.train_y)

    def right(numbers: Any, part: Examples, x: Any, y: Any) -> np.ndarray:
        used = part.order[: part.number]
        given = data.train_x[used], data.train_y[used]
        return learner.classes_of(numbers, *given, x) == y

    for count in size.numbers:
        folds = folds_of(drawn_examples(SEEDS[0], count, among), size.folds)
        scores = [
            sum(
                right(numbers, part, data.train_x[within], data.train_y[within]).sum()
                for part, within in folds
            )
            for numbers in learner.trials
        ]
        best = int(np.argmax(scores))
        common = {"rule": name, "data": "digits", "examples": count}
        for seed in range(size.seeds):
            part = drawn_examples(seed, count, among)
            found = right(learner.trials[best], part, data.test_x, data.test_y)
            yield common | {"seed": seed, "test_accuracy": float(found.mean())}
        for i, (numbers, score) in enumerate(zip(learner.trials, scores, strict=True)):
            yield common | {
                **{"trial": i, "numbers": json.dumps(numbers), "chosen": i == best},
                "held_out_accuracy": float(score) / count,
            }


# ---- The verdict


def accuracies(lines: Lines, rule: str, count: int) -> dict[int, float]:
    """The test accuracy in percent, by seed."""
    here = lines_where(lines, rule=rule, examples=count)
    return {line["seed"]: 100 * line["test_accuracy"] for line in here}


def examples_to(lines: Lines, rule: str, wanted: float) -> float | None:
    """The examples at which the mean accuracy is as wanted; None: not reached.

    It is interpolated over the logarithm of the number of examples.
    """
    counts = sorted({line["examples"] for line in lines_where(lines, rule=rule)})
    means = [np.mean(list(accuracies(lines, rule, n).values())) for n in counts]
    for i, (count, mean) in enumerate(zip(counts, means, strict=True)):
        if mean >= wanted:
            if i == 0:
                return float(count)
            share = (wanted - means[i - 1]) / (mean - means[i - 1])
            logs = np.log(counts[i - 1 : i + 1])
            return float(np.exp(logs[0] + share * (logs[1] - logs[0])))
    return None


def judge(lines: Lines) -> Verdict:
    """Whether some rule is higher than backpropagation with few examples."""
    findings = {rule: [_against(lines, rule, n) for n in FEW] for rule in FAMILIES}
    others = [_against(lines, name, n, None) for name in LEARNERS for n in FEW]
    ran = [rule for rule in FAMILIES if any(f.effect.known for f in findings[rule])]
    every = [each for rule in FAMILIES for each in findings[rule]] + others
    because = "; ".join([*_in_words(lines, findings, ran), *_needed(lines)])
    verdict = Verdict(_word(findings), because, tuple(every))
    return verdict.with_refusals(list(_refusals(lines, verdict.word, findings)))


def _against(lines: Lines, rule: str, count: int, says: Any = "higher") -> Finding:
    mine, other = (accuracies(lines, each, count) for each in (rule, BASELINE))
    compared = len(FAMILIES) * len(FEW)
    found = effect(
        f"{rule} - backprop, {count} examples", mine, other, MARGIN, compared
    )
    return Finding(found, says, count == FEWEST, "percent")


def _word(findings: dict[str, list[Finding]]) -> Word:
    if any(all(each.fits for each in of) for of in findings.values()):
        return "holds"
    if any(each.fits for of in findings.values() for each in of if each.inside):
        return "holds within limits"
    against = (any(each.fits is False for each in of) for of in findings.values())
    return "does not hold" if all(against) else "not settled"


def _in_words(
    lines: Lines, findings: dict[str, list[Finding]], ran: list[str]
) -> Iterator[str]:
    """The rule with the highest accuracies, at every number that decides."""
    if ran:
        best = max(
            ran, key=lambda rule: np.nanmean([f.effect.mean for f in findings[rule]])
        )
        yield from (finding_in_words(each) for each in findings[best])
        higher = [rule for rule in ran if any(each.fits for each in findings[rule])]
        yield f"of {len(ran)} rules {len(higher)} are higher somewhere"


def _needed(lines: Lines) -> Iterator[str]:
    for rule in (BASELINE, *LEARNERS):
        if accuracies(lines, rule, FEWEST):
            yield f"{rule}: {_number(examples_to(lines, rule, WANTED))} to {WANTED:g} %"


def _number(count: float | None) -> str:
    return "not enough examples" if count is None else f"{count:.0f} examples"


def _refusals(
    lines: Lines, word: str, findings: dict[str, list[Finding]]
) -> Iterator[str]:
    """Backprop that was not tuned or trained to the end; rules that may be higher."""
    decided = [line for line in lines if line["examples"] in FEW]
    ends = {
        (line["rule"], line["examples"])
        for line in decided
        if line.get("at_an_end") and line["rule"] in (BASELINE, *FAMILIES)
    }
    for rule, count in sorted(ends):
        if rule == BASELINE or word == "does not hold":
            yield f"the best step size of {rule} for {count} examples is an end"
    for count in FEW:
        here = lines_where(lines, rule=BASELINE, examples=count)
        risen = np.mean([line["risen"] for line in here]) if here else 0.0
        if risen > MARGIN:
            yield (
                f"backprop is undertrained on {count} examples: it rises by "
                f"{risen:.2f} percent over the last fifth of training"
            )


def _measured(lines: Lines) -> str:
    told = [
        f"{rule} {_number(examples_to(lines, rule, WANTED))}"
        for rule in (BASELINE, *FAMILIES, *LEARNERS)
        if lines_where(lines, rule=rule)
    ]
    return "; ".join(told) or NOT_RUN


def draw(lines: Lines) -> Figure:
    """Test accuracy against the number of examples."""
    ran = rules_in(lines)
    names = (BASELINE, CONTROL, *FAMILIES, *LEARNERS)
    figure, axes, look = panel_figure(2, names, ran, height=4.6, sharey=True)
    panels = {
        "rules": (BASELINE, CONTROL, *FAMILIES),
        "without a network": (BASELINE, *LEARNERS),
    }
    for panel, (title, shown) in zip(axes, panels.items(), strict=True):
        for rule in shown:
            points: dict[float, list[float]] = {}
            for line in lines_where(lines, rule=rule):
                points.setdefault(line["examples"], []).append(
                    100 * line["test_accuracy"]
                )
            draw_line(panel, points, look[rule])
        panel.set(title=f"{DATA_NAMES['digits']}: {title}", xlabel="examples")
        log_x_axis(panel, (line["examples"] for line in lines))
    axes[0].set_ylabel("test accuracy (%)")
    return figure


CLAIM = Claim(
    id="few-examples",
    sentence=(
        "Brains need fewer examples than networks that are trained by backpropagation "
        "because of their learning rule."
    ),
    source=(
        "asked in discussions of brain-like learning; Song et al. 2024, Nature "
        "Neuroscience 27, on predictive coding with little data"
    ),
    work=(
        "n of the 8 x 8 digits, drawn anew for each seed: 50, 100, 200, 400, 800 and "
        "all 1,437. A network 64-32-32-10 (ReLU), 3,000 updates of Adam on 16 of them; "
        "backpropagation, untrained hidden layers, and 13 rules of all families. For "
        "each rule and each n 16 trials draw the step size and the rule's own numbers, "
        "scored in four folds within n examples that are not shown otherwise; 16 seeds "
        "with the best, 360 test images. Beside them, tuned by as many trials in the "
        "same folds, logistic regression, nearest neighbours, and a Gaussian process "
        "(regression of one-hot labels)."
    ),
    published=(
        Published(
            "error with few examples, predictive coding against backpropagation on "
            "Fashion-MNIST",
            "lower (figure only)",
            "from memory: Song et al. 2024",
            _measured,
        ),
    ),
    differences=(
        "Small images and a small network, so that every rule can be tuned at every n. "
        "Every rule at 3,000 updates, however few the examples."
    ),
    rule=(
        "Test accuracies in percent, paired by seed, against backpropagation; 95 % "
        f"intervals corrected for {len(FAMILIES) * len(FEW)} comparisons, m = "
        f"{MARGIN:g}. Holds if some rule is higher at 50, 100 and 200 examples. Holds "
        "within limits if some rule is at 50. Does not hold if every rule is against "
        "the claim at one of these numbers and the limits do not hold either. "
        "Otherwise not settled. Refused if the best step size of backpropagation (or, "
        "where the claim does not hold, of any rule) is an end of those drawn, or if "
        "backpropagation rises by more than m over the last fifth of training. "
        "Learners without a network, and the examples to "
        f"{WANTED:g} %, are shown only. Fewer than {LEAST_SEEDS} seeds settle nothing."
    ),
    margin=(
        "360 test images: one percent is four of them. Fewer examples would have to "
        "bring more than that for the rule to be the reason."
    ),
    data=("digits",),
    trials=16,
    hours=0.7,
    tasks=tasks,
    judge=judge,
    draw=draw,
)
