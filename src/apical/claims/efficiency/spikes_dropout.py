"""Do spikes, drawn with the rate as their probability, act like dropout?"""

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._data import DATA_NAMES, data_names, vector_loader
from apical.claims._effect_size import effect, lines_where
from apical.claims._plots import draw_line, log_x_axis, panel_figure, rules_in
from apical.claims._published_numbers import NOT_RUN
from apical.claims._verdict import Finding, Says, Verdict, decide
from apical.claims.efficiency._few_examples_runs import drawn_examples
from apical.claims.efficiency._stochastic_units import (
    DROPOUT,
    KINDS,
    RATES,
    SPIKES,
    Runs,
    Trainer,
)
from apical.lab.storage._jsonl import Line
from apical.lab.training._tuning import SEEDS

COUNTS, WIDTHS = (100, 300, 1000), (100, 400)
FEW = (100, 300)  # the limits
MARGIN = 0.5
_RATES = tuple(float(f"{rate:.2g}") for rate in np.geomspace(3e-4, 0.3, 16))


class Size(NamedTuple):
    """The size of a run.

    Attributes:
        data: the data set.
        pool: training images from which examples are drawn; the rest is held out.
        rest: images that are held out, which score the step sizes.
        tested: test images.
        counts: of examples.
        widths: of both hidden layers.
        seeds: of a run.
        rates: that are tried; as many as seeds, as one compiled function does both.
        updates: of each training.
    """

    data: str
    pool: int
    rest: int
    tested: int
    counts: tuple[int, ...]
    widths: tuple[int, ...]
    seeds: int
    rates: tuple[float, ...]
    updates: int


SIZES: dict[Scale, Size] = {
    "full": Size("mnist", 5000, 2000, 5000, COUNTS, WIDTHS, 16, _RATES, 4000),
    "quick": Size("digits", 1000, 400, 360, (100,), (50,), 6, _RATES[4::2], 300),
    "smoke": Size("digits", 100, 50, 50, (20,), (6,), 1, (0.01,), 3),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each width and kind of units."""
    for width, kind in product(SIZES[scale].widths, KINDS):
        yield Task(f"{kind}-{width}", partial(_measured, SIZES[scale], kind, width))


def _measured(
    size: Size, kind: str, width: int, context: TaskContext
) -> Iterator[Line]:
    """For each number of examples the best step size, then every seed with it."""
    data = vector_loader(size.data, size.pool + size.rest, size.tested)(context)
    train = Trainer(data, kind, (width, width), size.updates)
    held, test = slice(size.pool, size.pool + size.rest), slice(len(data.train_y), None)
    seeds = list(range(size.seeds))
    for count in size.counts:
        tried = train(_runs([SEEDS[0]] * size.seeds, count, size.rates, size.pool))
        scores = tried.accuracy[:, held].mean(1)
        best = int(np.argmax(scores))
        rate = size.rates[best]
        found = train(_runs(seeds, count, [rate] * size.seeds, size.pool))
        common = {"rule": kind, "data": size.data, "examples": count, "width": width}
        for seed in seeds:
            used = drawn_examples(seed, count, size.pool).order[:count]
            yield common | {
                **{"seed": seed, "learning_rate": rate},
                "at_an_end": len(size.rates) > 1 and best in (0, len(size.rates) - 1),
                "train_accuracy": float(found.accuracy[seed, used].mean()),
                "test_accuracy": float(found.accuracy[seed, test].mean()),
                "train_loss": float(found.loss[seed, used].mean()),
                "test_loss": float(found.loss[seed, test].mean()),
            }
        for i, score in enumerate(scores):
            yield common | {
                **{"trial": i, "learning_rate": size.rates[i], "numbers": "{}"},
                **{"held_out_accuracy": float(score), "chosen": i == best},
            }


def _runs(seeds: list[int], count: int, rates: object, pool: int) -> Runs:
    drawn = [drawn_examples(seed, count, pool) for seed in seeds]
    return Runs(
        jax.vmap(jax.random.key)(jnp.asarray(seeds)),
        jnp.asarray(np.stack([each.order for each in drawn])),
        jnp.asarray([each.number for each in drawn]),
        jnp.asarray(rates),
    )


# ---- The verdict


def gaps(lines: Lines, kind: str, count: int, width: int) -> dict[int, float]:
    """The accuracy on the examples minus that on test images in percent, by seed."""
    here = lines_where(lines, rule=kind, examples=count, width=width)
    return {
        line["seed"]: 100 * (line["train_accuracy"] - line["test_accuracy"])
        for line in here
    }


def judge(lines: Lines) -> Verdict:
    """From the gap between training and test, against rates and against dropout."""
    findings = []
    places = list(product(COUNTS, WIDTHS))
    said: dict[str, Says] = {RATES: "lower", DROPOUT: "equal"}
    for (count, width), (other, says) in product(places, said.items()):
        mine, theirs = (gaps(lines, kind, count, width) for kind in (SPIKES, other))
        what = f"gap, spikes - {other}, {count} examples, width {width}"
        found = effect(what, mine, theirs, MARGIN, compared=len(places))
        findings.append(Finding(found, says, count in FEW, "percent"))
    return decide(findings).with_refusals(list(_at_an_end(lines)))


def _at_an_end(lines: Lines) -> Iterator[str]:
    ends = {
        (line["rule"], line["examples"], line["width"])
        for line in lines
        if line["at_an_end"]
    }
    for kind, count, width in sorted(ends):
        yield (
            f"the best step size of {kind} ({count} examples, width {width}) is an end "
            "of those tried"
        )


def _measured_in_words(lines: Lines) -> str:
    told = []
    for count, width in product(COUNTS, WIDTHS):
        means = [
            f"{kind} {np.mean(list(found.values())):.1f}"
            for kind in KINDS
            if (found := gaps(lines, kind, count, width))
        ]
        if means:
            told.append(f"{count} examples, width {width}: {', '.join(means)}")
    return f"gap in percent: {'; '.join(told)}" if told else NOT_RUN


def draw(lines: Lines) -> Figure:
    """The gap in accuracy and in loss against the number of examples, by width."""
    widths = sorted({line["width"] for line in lines}) or list(WIDTHS)
    ran = rules_in(lines)
    figure, axes, look = panel_figure(2 * len(widths), KINDS, ran)
    fields = (
        ("accuracy", "gap in accuracy (%)", 100),
        ("loss", "gap in loss (nats)", -1),
    )
    for panel, (width, (field, label, scale)) in zip(
        axes, product(widths, fields), strict=True
    ):
        for kind in KINDS:
            points: dict[float, list[float]] = {}
            for line in lines_where(lines, rule=kind, width=width):
                gap = line[f"train_{field}"] - line[f"test_{field}"]
                points.setdefault(line["examples"], []).append(scale * gap)
            draw_line(panel, points, look[kind])
        panel.set(title=f"width {width}", xlabel="examples", ylabel=label)
        log_x_axis(panel, (line["examples"] for line in lines))
    figure.suptitle(data_names(lines), fontsize=9)
    return figure


CLAIM = Claim(
    id="spikes-dropout",
    sentence="Sending real numbers as the probabilities of spikes acts like dropout.",
    source=(
        "Hinton 2016, Can the brain do back-propagation? (talk): the noise of spikes "
        "regularises; Wager, Wang & Liang 2013 on dropout as a penalty"
    ),
    work=(
        f"{DATA_NAMES['mnist']}, 100, 300 and 1,000 examples drawn anew for each seed "
        "from the first 5,000; two hidden layers of 100 or 400 sigmoid units, whose "
        "rates are sent as they are, as spikes with the rate as their probability "
        "(gradients straight through), or with dropout that has the variance of the "
        "spikes, layer by layer and batch by batch. 4,000 updates of Adam on 16 of the "
        "examples; for each kind, width and number of examples 16 step sizes, scored "
        "on 2,000 images that are held out; 16 seeds. The trained networks are tested "
        "with rates, on their examples and on 5,000 test images."
    ),
    published=(
        Published(
            "the train/test gap of spiking units",
            "not stated",
            "Hinton 2016",
            _measured_in_words,
        ),
    ),
    differences=(
        "The source has no experiment. The held-out images are more than the examples, "
        "so that the choice of a step size adds little noise; they are the same for "
        "all kinds."
    ),
    rule=(
        "The gap is the accuracy on the examples minus that on test images, in "
        f"percent; by seed, 95 % intervals corrected for {len(COUNTS) * len(WIDTHS)} "
        f"comparisons, m = {MARGIN:g}. Holds if, for each number of examples and each "
        "width, the gap with spikes is lower than that with rates, and equal to that "
        "with dropout. Holds within limits if this is so for 100 and 300 examples. "
        "Does not hold if one of these is against the claim and the limits do not hold "
        "either. Otherwise not settled. Refused if a best step size is an end of those "
        "tried. Losses are shown only."
    ),
    margin="half a percent, as for accuracies on the same data; a gap is of these.",
    data=("mnist",),
    trials=16,
    hours=0.5,
    tasks=tasks,
    judge=judge,
    draw=draw,
)
