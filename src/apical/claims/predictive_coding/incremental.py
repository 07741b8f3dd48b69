"""Incremental predictive coding with its published numbers (Pinchetti et al. 2025)."""

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import (
    Claim,
    EarlierSetup,
    Lines,
    Published,
    Scale,
    Task,
    TaskContext,
)
from apical.claims._data import data_names, vector_loader
from apical.claims._effect_size import paired_difference
from apical.claims._plots import draw_over_epochs, panel_figure, rules_in
from apical.claims._published_numbers import NOT_RUN
from apical.claims._tasks import RECORD_FIELDS
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.networks import mlp
from apical.lab._registry import BASELINE
from apical.lab._rule_spec import RuleSpec
from apical.lab.data._load import Data
from apical.lab.models import Model
from apical.lab.run._records import epoch_lines, run_line
from apical.lab.storage._jsonl import Line
from apical.lab.training._setup import TrainConfig, TrainSetup, VmappedRuns
from apical.lab.training._train import Trainer, train
from apical.lab.training._tuning import Choice

INCREMENTAL = "incremental-predictive-coding"
PUBLISHED = {INCREMENTAL: 98.45, BASELINE: 98.29}  # percent, as the source counts
MARGIN = 0.1  # points, below the advantage of 0.16 that the source reports
RAN, COUNTED = 7, 5  # seeds that the source ran, and those that it counts
NOT_SEARCHED = (
    "whether the source searched the numbers of backprop as thoroughly as those of the "
    "rule is not known: both have the numbers that its code gives for them, and "
    "nothing was tuned here"
)
SOURCE = (
    "Pinchetti et al. 2025, Benchmarking Predictive Coding Networks - Made Simple, "
    "ICLR, arXiv:2407.01163"
)


class PublishedNumbers(NamedTuple):
    """The hyper-parameters that the code of the source has for a rule.

    Attributes:
        rule: the learning rule.
        activation: of the hidden units.
        rate: of AdamW, before its schedule.
        decay: of its weights.
        updates: of the weights on each batch.
    """

    rule: rules.Rule
    activation: Callable[..., Any]
    rate: float
    decay: float
    updates: int = 1


TICKS = 8
NUMBERS = {
    INCREMENTAL: PublishedNumbers(
        rules.IncrementalPredictiveCoding(
            TICKS, inference=optax.sgd(0.8495322487988946, momentum=0.35)
        ),
        jax.nn.leaky_relu,
        0.0002525584875644335,
        0.032533390000821956,
        TICKS,
    ),
    BASELINE: PublishedNumbers(
        rules.Backpropagation(),
        jax.nn.gelu,
        0.00027487989229471686,
        0.0051207238497154115,
    ),
}


class Size(NamedTuple):
    """The size of the runs: data, width of hidden layers, epochs, seeds."""

    data: str
    trained: int | None
    tested: int | None
    width: int
    epochs: int
    seeds: int


_SIZES: dict[Scale, Size] = {
    "full": Size("mnist", None, None, 128, 25, 16),
    "quick": Size("digits", None, None, 128, 25, 2),
    "smoke": Size("digits", 256, 160, 16, 1, 1),
}


def tasks(scale: Scale) -> Iterable[Task]:
    """One for each rule and seed, so that an interrupted run repeats little."""
    size = _SIZES[scale]
    for name, seed in product(NUMBERS, range(size.seeds)):
        yield Task(f"{name}-{seed}", _trained(size, name, seed))


def _trained(
    size: Size, name: str, seed: int
) -> Callable[[TaskContext], Iterator[Line]]:
    numbers = NUMBERS[name]

    def run(context: TaskContext) -> Iterator[Line]:
        data = rescaled(vector_loader(size.data, size.trained, size.tested)(context))
        work = make_work(size, numbers, data)
        entry = RuleSpec(lambda: numbers.rule)
        training = Trainer(
            TrainSetup(work),
            entry,
            VmappedRuns.with_seeds((seed,), work.learning_rate, {}),
        )
        shared = run_line(work, name, entry, Choice(work.learning_rate, {}))
        for epoch in train(training, training.begin()):
            for line in epoch_lines(epoch, (seed,)):
                full = {**shared, **line, "optimizer": "adamw, warm-up and cosine"}
                yield {key: full[key] for key in RECORD_FIELDS}

    return run


def rescaled(data: Data) -> Data:
    """The data with inputs from -1 to 1 over the training part."""
    low, high = data.train_x.min(), data.train_x.max()

    def scale(part: np.ndarray) -> np.ndarray:
        return (2 * (part - low) / (high - low) - 1).astype(np.float32)

    return data._replace(train_x=scale(data.train_x), test_x=scale(data.test_x))


def make_work(size: Size, numbers: PublishedNumbers, data: Data) -> TrainConfig:
    """The training of a rule: its network, and AdamW with its schedule."""
    batch_size = 128
    steps = len(data.train_y) // batch_size
    model = Model(mlp(numbers.activation, *(size.width,) * 3), ("vectors",), steps)
    updates = steps * size.epochs * numbers.updates
    pace = optax.warmup_cosine_decay_schedule(1.0, 1.1, updates // 10, updates, 0.1)

    def optimizer(rate: Any) -> optax.GradientTransformation:
        return optax.adamw(lambda count: rate * pace(count), weight_decay=numbers.decay)

    return TrainConfig(
        data,
        f"three hidden layers of {size.width}",
        model,
        optimizer,
        numbers.rate,
        size.epochs,
        batch_size,
        "squared-error",
    )


def judge(lines: Lines) -> Verdict:
    """From the accuracy after the last epoch, beside backprop's."""
    what = f"{data_names(lines)}, last epoch: incremental - backprop"
    runs = ({"rule": INCREMENTAL}, {"rule": BASELINE})
    found = decide(
        [Finding(paired_difference(what, lines, runs, MARGIN, lost=0.0), "higher")]
    )
    return found._replace(unknown=(NOT_SEARCHED,))


def _by_seed(lines: Lines, rule: str) -> dict[int, list[float]]:
    """The accuracies (percent) after each epoch; one that diverged is 0."""
    found: dict[int, list[float]] = {}
    for line in sorted(lines, key=lambda line: line["epoch"]):
        if line["rule"] == rule and line["epoch"]:
            value = 100 * line["test_accuracy"] if line["status"] == "ok" else 0.0
            found.setdefault(line["seed"], []).append(value)
    return found


def ended(lines: Lines, rule: str) -> dict[int, float]:
    """The accuracy after the last epoch, of every seed."""
    return {seed: values[-1] for seed, values in _by_seed(lines, rule).items()}


def best_seeds(lines: Lines, rule: str) -> dict[int, float]:
    """The best epoch of the best of the first seven seeds: as the source counts."""
    every = _by_seed(lines, rule).items()
    best = {seed: max(values) for seed, values in every if seed < RAN}
    return dict(sorted(best.items(), key=lambda each: each[1])[-COUNTED:])


def _counted_twice(rule: str) -> Callable[[Lines], str]:
    def say(lines: Lines) -> str:
        every = list(ended(lines, rule).values())
        best = list(best_seeds(lines, rule).values())
        if not every:
            return NOT_RUN
        spread = f" ± {np.std(every, ddof=1):.2f}" if len(every) > 1 else ""
        return (
            f"{np.mean(every):.2f}{spread} % after the last epoch, all seeds; "
            f"{np.mean(best):.2f} % as the source counts"
        )

    return say


def draw(lines: Lines) -> Figure:
    """Test accuracy over the epochs, and the cosine to backprop."""
    figure, axes, look = panel_figure(2, NUMBERS, rules_in(lines))
    learned = [line for line in lines if line["epoch"]]
    draw_over_epochs(axes[0], learned, look, "test_accuracy")
    draw_over_epochs(axes[1], lines, {INCREMENTAL: look[INCREMENTAL]}, "alignment", 1)
    axes[0].axhline(PUBLISHED[INCREMENTAL], color=look[INCREMENTAL].colour, lw=0.8)
    axes[0].set_title(f"{data_names(lines)}: test accuracy (%); thin: published")
    axes[1].set(title="cosine to backprop's gradient", ylim=(0, 1.05))
    return figure


CLAIM = Claim(
    id="pc-incremental",
    sentence=(
        "Incremental predictive coding with its published numbers learns MNIST better "
        "than backprop with its own."
    ),
    source=SOURCE,
    work=(
        "MNIST, inputs from -1 to 1, 784-128-128-128-10, squared error to one-hot, "
        "batches of 128, 25 epochs, 16 seeds. Incremental predictive coding as the "
        "source's code has it: leaky ReLU, 8 steps on each batch, values from the "
        "feed-forward ones by gradient descent at rate 0.850 with momentum 0.35, "
        "weights at every step by AdamW (rate 2.53e-4, decay 3.25e-2; warm-up to 1.1 "
        "times that over a tenth of the steps, then a cosine to a tenth). Beside it "
        "backprop with the numbers that the same code has for it: GELU, AdamW (rate "
        "2.75e-4, decay 5.12e-3), the same schedule."
    ),
    published=(
        Published(
            "MNIST, incremental: best epoch on the test part, best five of seven seeds",
            f"{PUBLISHED[INCREMENTAL]} %",
            "Pinchetti et al. 2025, table 1",
            _counted_twice(INCREMENTAL),
        ),
        Published(
            "MNIST, backprop with squared error, counted in the same way",
            f"{PUBLISHED[BASELINE]} %",
            "from memory: Pinchetti et al. 2025, table 1",
            _counted_twice(BASELINE),
        ),
    ),
    differences=(
        "No other network, data or number: nothing was tuned here. The source takes "
        "the best epoch on the test part and the best five of seven seeds, and leaves "
        "out the last 16 test pictures, which do not fill a batch; here the last epoch "
        "of all seeds and all pictures count, and its way of counting is shown beside. "
        "The initial weights are drawn from the same distribution by another "
        "generator."
    ),
    rule=(
        "Holds if, over all 16 seeds, paired, the test accuracy after the last epoch "
        "is higher than that of backprop with its own published numbers (m = 0.1 "
        "points). Does not hold if it is against the claim: wholly below 0.1 points "
        "more. A seed that diverges counts as 0 %. That nothing was tuned here refuses "
        "no verdict: the sentence is about the numbers that the source gives each of "
        "the two, and no control is compared. The published figures, counted as in the "
        "source, stand beside it and decide nothing."
    ),
    remaining=(
        "With each rule's own numbers both end at the same accuracy, to 0.03 points, "
        "and seven seeds do not tell whether the advantage is 0.1: with mean and "
        "scatter as they are about 16 seeds would. Counted as in the source, backprop "
        "gives what was published to 0.02 points, and the incremental rule 0.11 less. "
        "No difference of the set-up is known that would explain it: in double "
        "precision the weights move as by the source's equations written out by hand. "
        "The source ran on graphics cards, whose matrix products are less precise, and "
        "with an earlier version of its code. There is no control with untrained "
        "hidden layers."
    ),
    margin=(
        "0.1 points: the source reports an advantage of 0.16 (98.45 against 98.29 %, "
        "of which the latter is from memory), which half a point would hide."
    ),
    corrected=(
        "It was held against an absolute figure, with a margin of 0.3 points, which is "
        "more than the advantage that the source reports."
    ),
    earlier_setup=EarlierSetup(
        "It had 7 seeds, whose interval lies on both sides of the margin: 16 have been "
        "asked for since.",
        seeds=7,
    ),
    hours=0.9,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("mnist",),
    paper="pinchetti2025",
)
