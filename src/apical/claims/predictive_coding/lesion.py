"""Predictive coding continues to function when the network is cut in half."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import Claim, Lines, Scale, Task, TaskContext
from apical.claims._data import data_names, first_examples
from apical.claims._effect_size import Effect, effect, lines_where, paired_difference
from apical.claims._plots import draw_rows, panel_figure
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.predictive_coding._halved_network import (
    CLASSES,
    HALVES,
    Answers,
    CutTraining,
    Runs,
    classes_of,
    left_pixels,
)
from apical.lab._registry import BASELINE
from apical.lab._rule_spec import RuleSpec
from apical.lab.data._load import Data, load
from apical.lab.storage._jsonl import Line
from apical.lab.training._optimizers import find_optimizer
from apical.lab.training._tuning import SEEDS, choice, draw_trials

CODING, FEEDBACK = "predictive-coding-free", "feedback-alignment"
FROZEN = "predictive coding, hidden layers frozen at the cut"
OLD, NEW = range(5), range(5, CLASSES)
MARGIN = 0.5  # points, on MNIST
CHANCE = 100 / CLASSES
FUNCTION = 10.0  # points above chance: right after the cut
_STEPS = 20


def _coding() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(_STEPS, 0.1, prediction="free")


RULES: dict[str, RuleSpec] = {
    CODING: RuleSpec(_coding),
    FROZEN: RuleSpec(_coding),
    BASELINE: RuleSpec(rules.Backpropagation),
    FEEDBACK: RuleSpec(rules.FeedbackAlignment),
}


class Size(NamedTuple):
    """The size of a run.

    Attributes:
        data: the name of the data set.
        trained: training examples of all classes, of which some are held out.
        held_out: of these, on which trials are scored.
        tested: test examples; None: all.
        width: of each hidden layer, both halves together.
        updates: before the cut, and after it.
        seeds: of the reported runs.
        trials: of each rule.
    """

    data: str
    trained: int | None
    held_out: int
    tested: int | None
    width: int
    updates: int
    seeds: int
    trials: int


SIZES: dict[Scale, Size] = {
    "full": Size("mnist", 20_000, 4_000, None, 256, 1_000, 10, 16),
    "quick": Size("digits", None, 400, None, 32, 200, 5, 2),
    "smoke": Size("digits", 200, 100, 100, 4, 3, 1, 1),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each rule."""
    for name in RULES:
        said = name.replace(",", "").replace(" ", "-")
        yield Task(said, partial(_trained, SIZES[scale], name))


def _trained(size: Size, name: str, context: TaskContext) -> Iterator[Line]:
    """Every trial on a held-out part, then every seed with the best."""
    pictures = load(size.data, context.data_dir, context.download)
    left = left_pixels(pictures.shape)
    data = _as_vectors(first_examples(pictures, size.trained, size.tested))
    spec = RULES[name]
    sizes = (len(left), size.width, size.width, 2 * CLASSES)
    train = CutTraining(spec, sizes, left, size.updates, frozen=name == FROZEN)
    span = find_optimizer("adam", None).span
    trials = draw_trials(size.trials, span, spec.search_space, spec.rate_scale)
    rates = jnp.asarray(trials.learning_rates)
    numbers = {k: jnp.asarray(v) for k, v in trials.numbers.items()}
    seed = jax.random.key(SEEDS[0])
    keys = jnp.broadcast_to(seed, (size.trials,))
    apart = [classes_of(data, part, size.held_out) for part in (OLD, NEW)]
    scores = train(Runs(keys, rates, numbers), *apart).ended.mean(1)
    best = int(np.argmax(scores))
    keys = jax.vmap(jax.random.key)(jnp.arange(size.seeds))
    chosen = jax.tree.map(
        lambda leaf: jnp.full(size.seeds, leaf[best]), (rates, numbers)
    )
    # Trained without the examples that were held out, as the trials were.
    kept = data._replace(
        train_x=data.train_x[: -size.held_out], train_y=data.train_y[: -size.held_out]
    )
    whole = [classes_of(kept, part, 0) for part in (OLD, NEW)]
    found = train(Runs(keys, *chosen), *whole)
    common = {"rule": name, "data": size.data}
    yield from _lines(found, common | {"learning_rate": float(rates[best])})
    for half in HALVES:
        for i, score in enumerate(scores):
            drawn = choice(trials, i)
            yield common | {
                **{"half": half, "trial": i, "chosen": i == best},
                **{"learning_rate": drawn.learning_rate},
                **{"numbers": json.dumps(drawn.numbers)},
                "held_out_accuracy": float(score),
            }


def _lines(found: Answers, common: dict[str, Any]) -> Iterator[Line]:
    """Two lines for each seed and half: after 4 and after 5 fifths of training."""
    for seed in range(len(found.whole)):
        for place, half in enumerate(HALVES):
            said = {
                **{"half": half, "seed": seed, "epochs": 5, "status": "ok"},
                "before_the_cut": float(found.whole[seed]),
                "after_the_cut": float(found.function[seed, place]),
            }
            for epoch, accuracies in ((4, found.earlier), (5, found.ended)):
                score = float(accuracies[seed, place])
                yield common | said | {"epoch": epoch, "test_accuracy": score}


def _as_vectors(data: Data) -> Data:
    return data._replace(
        kind="vectors",
        train_x=data.train_x.reshape(len(data.train_x), -1),
        test_x=data.test_x.reshape(len(data.test_x), -1),
    )


# ---- The verdict


def judge(lines: Lines) -> Verdict:
    """From what each half does after the cut, and what it learns then."""
    findings = []
    for half in HALVES:

        def beside(other: str, name: str, half: str = half) -> Effect:
            runs = ({"rule": CODING, "half": half}, {"rule": other, "half": half})
            what = f"{data_names(lines)}, new classes, {half} half: predictive coding"
            return paired_difference(f"{what} - {name}", lines, runs, MARGIN, 2)

        findings += [
            Finding(_function(lines, half), "higher", unit="percent"),
            Finding(beside(FROZEN, "hidden layers frozen at the cut"), "higher", True),
            Finding(beside(BASELINE, "backprop")),
            Finding(beside(FEEDBACK, "feedback alignment")),
        ]
    return decide(findings)


def accuracies(lines: Lines, rule: str, half: str, field: str) -> dict[int, float]:
    """A measure in percent, by seed, in the lines of the end."""
    here = lines_where(lines, rule=rule, half=half)
    return {e["seed"]: 100 * e[field] for e in here if e["epoch"] == e["epochs"]}


def _function(lines: Lines, half: str) -> Effect:
    mine = accuracies(lines, CODING, half, "after_the_cut")
    what = f"right after the cut, {half} half: old classes - chance"
    return effect(what, mine, dict.fromkeys(mine, CHANCE), FUNCTION, 2)


def draw(lines: Lines) -> Figure:
    """The accuracy of each half: on old classes before and after the cut, on new."""
    figure, axes, _ = panel_figure(3, (), (), sharey=True)
    titles = {
        "before_the_cut": "old classes,\nbefore the cut (%)",
        "after_the_cut": "old classes,\nright after the cut (%)",
        "test_accuracy": "new classes,\nlearned after the cut (%)",
    }
    for panel, (field, title) in zip(axes, titles.items(), strict=True):
        rows = {
            f"{_wrapped(rule)}\n({half})": accuracies(lines, rule, half, field)
            for rule in RULES
            for half in HALVES
        }
        draw_rows(panel, rows)
        panel.axvline(CHANCE, lw=0.8, color="0.6")
        panel.set(title=title, xlim=(0, 100))
    axes[0].set_xlabel(f"{data_names(lines)}; thin: chance")
    return figure


def _wrapped(rule: str) -> str:
    return rule.replace(", ", ",\n")


CLAIM = Claim(
    id="pc-lesion",
    sentence=(
        "A network that learns by predictive coding continues to function, and to "
        "learn, when it is cut in half."
    ),
    source="LessWrong 2021 (a discussion of predictive coding and backpropagation)",
    work=(
        "MNIST, the first 20,000 training pictures, 4,000 of them held out; "
        "784-256-256, tanh, two halves: each sees its half of the picture, has half of "
        "the units of each hidden layer and ten outputs of its own. Squared error, "
        "Adam, batches of 50. 1,000 updates on the digits 0 to 4; then every synapse "
        "between the halves is cut, in every layer, and so is feedback; then 1,000 "
        "updates on the digits 5 to 9. Predictive coding with free predictions (20 "
        "steps), feedback alignment, backprop, and predictive coding whose hidden "
        "layers stay as they are from the cut on; 16 trials of each on the held-out "
        "part (step size, and the numbers of the rule), 10 seeds."
    ),
    published=(),
    differences=(
        "The source makes a statement about brains and names no experiment. A cut "
        "between halves that see different parts of the picture and answer on their "
        "own is what a split brain is; a network without outputs in both halves could "
        "answer with one alone."
    ),
    rule=(
        "Holds if, paired by seed, of each half (a) the accuracy on the old classes "
        "right after the cut, before any more learning, is higher than chance (10 %, m "
        "= 10 points), and (b) the accuracy on the new classes at the end is higher "
        "than with hidden layers that are frozen at the cut (m = 0.5 points). Holds "
        "within limits (of learning alone) if (b) is so of both halves. Does not hold "
        "if one of these is against the claim and the limits do not hold either. "
        "Intervals are corrected for two halves. Beside backprop and feedback "
        "alignment with the same cut: shown only."
    ),
    margin=(
        "Of function 10 points above chance, as much as chance itself: a half that "
        "answers no more than that does nothing useful."
    ),
    trials=16,
    hours=0.5,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("mnist",),
)
